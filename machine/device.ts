/** A device that does DMA. Its address goes through its SMMU, page by page, and from there to the bus. */

import type { Bus } from './bus.ts';
import type { Receipt } from './smmu-v3/page-requests.ts';
import type { Smmu } from './smmu-v3/smmu.ts';
import type { StallState } from './smmu-v3/stalls.ts';
import type { AtsAnswer, EventRecord, Outcome, PageGroup, PageRequest } from './smmu-v3/types.ts';

/** Choices of the adversary that owns the caches. */
export interface DmaOptions {
  /**
   * Which of the possible outcomes of the access happens (see {@link DmaDevice.possible}), for each page of it; 0, what
   * the tables say now, when left out. A number beyond the last one means the last one.
   */
  readonly outcome?: number;
  /** SubstreamID of the access; none when left out. */
  readonly ssid?: number;
  /** Which of the device's streams the access comes from, by its position among them; the first when left out. */
  readonly stream?: number;
  /** The address is one that the device calls translated (ATS): it claims to have been told it. */
  readonly translated?: boolean;
}

/** An access that did not go through; earlier pages of it may have. `event` is null for a silent abort. */
export interface DmaFault {
  readonly ok: false;
  readonly event: EventRecord | null;
  /** Address at which it ended. */
  readonly iova: number;
  /** See {@link Outcome.via}. */
  readonly via: string;
  /**
   * The device is not told (CD.A is 0): to it the access went through. What lay on the page at {@link iova} read as zero,
   * or was not written; pages after it were accessed. Absent when the device sees an abort.
   */
  readonly ignored?: true;
  /** The access waits under this STAG for software (-1: for a STAG); absent when it has ended. */
  readonly stag?: number;
}

/** Result of {@link DmaDevice.read}. */
export type DmaRead =
  | { readonly ok: true; readonly pa: number; readonly data: Int32Array; readonly via: string }
  | DmaFault;

/** Result of {@link DmaDevice.write}. */
export type DmaWrite = { readonly ok: true; readonly pa: number; readonly via: string } | DmaFault;

const PAGE = 4096;

/** One stream of a device: the SMMU it goes through, and its StreamID there. */
export interface DeviceStream {
  readonly smmu: Smmu;
  readonly sid: number;
}

export class DmaDevice {
  readonly name: string;
  /** StreamID of its first stream. */
  readonly sid: number;
  readonly #streams: readonly DeviceStream[];
  readonly #bus: Bus;

  /** @param streams at least one */
  constructor(name: string, streams: readonly DeviceStream[], bus: Bus) {
    this.name = name;
    this.#streams = streams;
    this.sid = this.#stream(0).sid;
    this.#bus = bus;
  }

  /** @throws RangeError when the device has no such stream */
  #stream(index: number): DeviceStream {
    const stream = this.#streams[index];
    if (stream === undefined)
      throw new RangeError(`${this.name} has ${this.#streams.length} stream(s), not ${index + 1}`);
    return stream;
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
  possible(iova: number, write: boolean, ssid?: number, stream = 0): Outcome[] {
    const { smmu, sid } = this.#stream(stream);
    return smmu.possible(sid, iova, write, ssid);
  }

  /** Asks for the translation of a page ahead (ATS); the device keeps a granted one. */
  requestTranslation(iova: number, write: boolean, ssid?: number): AtsAnswer {
    return this.#stream(0).smmu.translationRequest(this.sid, iova, write, ssid);
  }

  /** Asks for a page (PRI). */
  requestPage(request: PageRequest): Receipt {
    return this.#stream(0).smmu.pageRequest(this.sid, request);
  }

  /** What software, or the SMMU itself, answered to a group of page requests; told once. Null: nothing was asked. */
  pageResponse(group: number): PageGroup | null {
    return this.#stream(0).smmu.collectPageResponse(this.sid, group);
  }

  /** What software decided about an access that stalled; told once. `retry`: do it again. Null: there is none. */
  stallAnswer(stag: number, stream = 0): StallState | null {
    const { smmu, sid } = this.#stream(stream);
    return smmu.collectStall(sid, stag);
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
    const { smmu, sid } = this.#stream(options?.stream ?? 0);
    let first = -1;
    let via = '';
    let ignored: DmaFault | null = null;
    for (let i = 0; i < words; ) {
      const at = iova + 4 * i;
      const outcome =
        options?.translated === true
          ? smmu.translatedAccess(sid, at, write)
          : smmu.transact(sid, at, write, options?.outcome ?? 0, options?.ssid);
      const { ok, pa, event, via: how, stag } = outcome;
      if (outcome.ignored === true) {
        ignored ??= { ok: false, event, iova: at, via: how, ignored: true };
        i = Math.min(words, i + (PAGE - (((at % PAGE) + PAGE) % PAGE)) / 4);
        continue;
      }
      if (!ok) return { ok: false, event, iova: at, via: how, ...(stag === undefined ? {} : { stag }) };
      // Where nothing answers, the device sees an abort.
      if (!this.#bus.decodes(pa)) return { ok: false, event: null, iova: at, via: how };
      if (first < 0) {
        first = pa;
        via = how;
      }
      const end = Math.min(words, i + (PAGE - (pa % PAGE)) / 4);
      for (let k = 0; i < end; i++, k++) each(pa + 4 * k, i);
    }
    return ignored ?? { ok: true, pa: first, via };
  }
}
