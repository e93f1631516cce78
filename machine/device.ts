/** A device that does DMA. Its address goes through its SMMU, page by page, and from there to the bus. */

import type { Bus } from './bus.ts';
import type { Smmu } from './smmu-v3/smmu.ts';
import type { EventRecord, Outcome } from './smmu-v3/types.ts';

/** Choices of the adversary that owns the caches. */
export interface DmaOptions {
  /**
   * Which of the possible outcomes of the access happens (see {@link DmaDevice.possible}), for each page of it; 0, what
   * the tables say now, when left out. A number beyond the last one means the last one.
   */
  readonly outcome?: number;
}

/** An access that did not go through; earlier pages of it may have. `event` is null for a silent abort. */
export interface DmaFault {
  readonly ok: false;
  readonly event: EventRecord | null;
  /** Address at which it ended. */
  readonly iova: number;
  /** See {@link Outcome.via}. */
  readonly via: string;
}

/** Result of {@link DmaDevice.read}. */
export type DmaRead =
  | { readonly ok: true; readonly pa: number; readonly data: Int32Array; readonly via: string }
  | DmaFault;

/** Result of {@link DmaDevice.write}. */
export type DmaWrite = { readonly ok: true; readonly pa: number; readonly via: string } | DmaFault;

const PAGE = 4096;

export class DmaDevice {
  readonly name: string;
  /** Its StreamID. */
  readonly sid: number;
  readonly #smmu: Smmu;
  readonly #bus: Bus;

  constructor(name: string, sid: number, smmu: Smmu, bus: Bus) {
    this.name = name;
    this.sid = sid;
    this.#smmu = smmu;
    this.#bus = bus;
  }

  /**
   * Reads `words` 32-bit words from `iova` (4-byte aligned; negative for the upper half of the space). `pa` is where
   * the first of them came from.
   * @throws RangeError when the address is misaligned or nothing is to be read
   */
  read(iova: number, words: number, options?: DmaOptions): DmaRead {
    const data = new Int32Array(words);
    const done = this.#access(iova, words, false, options, (pa, i) => {
      data[i] = this.#bus.read32(pa);
    });
    return done.ok ? { ok: true, pa: done.pa, data, via: done.via } : done;
  }

  /**
   * Writes 32-bit words at `iova` (4-byte aligned). `pa` is where the first of them went. Pages before a fault have
   * been written.
   * @throws RangeError when the address is misaligned or nothing is to be written
   */
  write(iova: number, words: ArrayLike<number>, options?: DmaOptions): DmaWrite {
    return this.#access(iova, words.length, true, options, (pa, i) => {
      this.#bus.write32(pa, words[i]!);
    });
  }

  /** Everything that could happen to an access now; the first is what the tables say. */
  possible(iova: number, write: boolean): Outcome[] {
    return this.#smmu.possible(this.sid, iova, write);
  }

  #access(
    iova: number,
    words: number,
    write: boolean,
    options: DmaOptions | undefined,
    each: (pa: number, i: number) => void,
  ): DmaWrite {
    if (iova % 4 !== 0 || !(words > 0))
      throw new RangeError('DMA takes a 4-byte aligned address and at least one word');
    let first = -1;
    let via = '';
    for (let i = 0; i < words; ) {
      const at = iova + 4 * i;
      const { ok, pa, event, via: how } = this.#smmu.transact(this.sid, at, write, options?.outcome ?? 0);
      if (!ok) return { ok: false, event, iova: at, via: how };
      // Where nothing answers, the device sees an abort.
      if (!this.#bus.decodes(pa)) return { ok: false, event: null, iova: at, via: how };
      if (first < 0) {
        first = pa;
        via = how;
      }
      const end = Math.min(words, i + (PAGE - (pa % PAGE)) / 4);
      for (let k = 0; i < end; i++, k++) each(pa + 4 * k, i);
    }
    return { ok: true, pa: first, via };
  }
}
