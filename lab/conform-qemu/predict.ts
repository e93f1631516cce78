/**
 * Says what QEMU's SMMUv3 does with an access: a small SMMU with QEMU's caches (the decoded configuration of a stream,
 * and a TLB of leaves), which follows the architecture except where a deviation is switched on. Without deviations it
 * is a second reading of the architecture, which must agree with the model, event records included.
 *
 * Left out: the upper half of the address space, the top byte of an address.
 */
import { EventCode } from '../oracle/decode/event.ts';
import type { Word64 } from '../oracle/decode/fields.ts';
import type { SmmuCapabilities } from '../oracle/decode/idr.ts';
import type { DeviationId } from './deviations.ts';
import { type Config, decodeStream } from './predict-config.ts';
import { FaultClass, faultRecord, Refused, silent } from './predict-fault.ts';
import { scopeOf } from './predict-invalidate.ts';
import { combined, entryOf, Tlb, type TlbEntry } from './predict-tlb.ts';
import { aligned, type Deviating, type Leaf, type Stage, walk } from './predict-walk.ts';
import { type AccessOutcome, NO_EVENT, recorded, type Setup } from './types.ts';

type Read = (pa: number) => Word64 | null;

/** A prediction, and the deviations that took part in it. */
export interface Prediction {
  readonly outcome: AccessOutcome;
  readonly because: readonly DeviationId[];
}

const NO_DEVIATION: Deviating = { has: () => false, use: () => false };

export class Predictor {
  private readonly read: Read;
  private readonly smmu: SmmuCapabilities;
  private readonly deviations: ReadonlySet<DeviationId>;
  private setup: Setup = { strtabBase: 0, strtabBaseCfg: 0, cr2: 0 };
  private readonly configs = new Map<number, Config>();
  private readonly tlb = new Tlb();
  /** Does it remember anything between accesses? */
  private readonly caching: boolean;
  private because = new Set<DeviationId>();
  private deviating: Deviating;
  /** The last access met an entry that ends some versions of QEMU: stage 2 with S2AA64 0, or sizes of 52 bits and up. */
  deadly = false;

  constructor(read: Read, smmu: SmmuCapabilities, deviations: Iterable<DeviationId>, caching = true) {
    this.read = read;
    this.smmu = smmu;
    this.deviations = new Set(deviations);
    this.caching = caching;
    this.deviating = {
      has: (id) => this.deviations.has(id),
      use: (id) => {
        if (!this.deviations.has(id)) return false;
        this.because.add(id);
        return true;
      },
    };
  }

  reset(setup: Setup): void {
    this.setup = setup;
    this.configs.clear();
    this.tlb.clear();
  }

  /** A command was consumed. */
  command(words: readonly number[]): void {
    const scope = scopeOf(words, this.smmu.stage2);
    for (const sid of this.configs.keys()) if (scope.dropsConfig(sid)) this.configs.delete(sid);
    this.tlb.drop(scope, this.deviations.has('global-tagged'));
  }

  /** What happens to an access of four bytes; the caches remember it. */
  access(sid: number, iova: number, write: boolean): Prediction {
    this.because = new Set();
    this.deadly = false;
    let outcome: AccessOutcome;
    try {
      outcome = { ok: true, pa: this.translate(sid, iova, write) };
    } catch (refused) {
      if (!(refused instanceof Refused)) throw refused;
      outcome = this.outcomeOf(refused, sid, iova, write);
    }
    return { outcome, because: [...this.because] };
  }

  private outcomeOf({ fault }: Refused, sid: number, iova: number, write: boolean): AccessOutcome {
    if (!fault.recorded) return NO_EVENT;
    const record = faultRecord(fault, sid, iova, write);
    if (fault.event >= EventCode.F_TRANSLATION && this.deviating.use('class-zero')) record[3]! &= ~0x300;
    return recorded(record);
  }

  private translate(sid: number, iova: number, write: boolean): number {
    const config = this.config(sid, iova, write);
    if (config.kind === 'abort') throw silent();
    const { stage1, stage2 } = config;
    if (config.kind === 'bypass') {
      if (iova >= 2 ** this.smmu.oasBits && !this.deviating.use('bypass-size-ignored')) {
        throw new Refused({ event: EventCode.F_ADDR_SIZE, recorded: true });
      }
      return iova;
    }
    if (stage1 !== null) return this.throughStage1(config, this.half(config, iova), iova, write);
    if (iova >= 2 ** this.smmu.iasBits) {
      if (this.deviating.use('s2-input-size')) throw silent();
      throw new Refused({ event: EventCode.F_ADDR_SIZE, recorded: true });
    }
    return this.throughStage2(stage2!, iova, write, FaultClass.IN);
  }

  // ---- Stage 1, and both.

  /** The half of stage 1 that an address of the lower half is looked up in. */
  private half({ stage1, upper }: Config, iova: number): Stage {
    const covers = (stage: Stage): boolean => !stage.disabled && iova < 2 ** stage.inputBits;
    return !covers(stage1!) && covers(upper!) && this.deviating.use('upper-for-lower') ? upper! : stage1!;
  }

  private throughStage1(config: Config, stage1: Stage, iova: number, write: boolean): number {
    const { stage2 } = config;
    const fault = (event: number): never => {
      throw new Refused({ event, recorded: stage1.records });
    };
    const cached = this.cachedStage1(stage1, stage2, iova);
    if (cached === null && (stage1.disabled || iova >= 2 ** stage1.inputBits)) return fault(EventCode.F_TRANSLATION);
    if (cached !== null) {
      this.note(cached);
      if (!allows(cached.first, write)) return fault(EventCode.F_PERMISSION);
      if (stage2 !== null && !allows(cached.second, write) && (write || !this.deviating.use('cached-read'))) {
        const ipa = this.deviating.use('cached-fault-no-ipa') ? 0 : cached.ipa + (iova - cached.input);
        throw this.stage2Fault(stage2, EventCode.F_PERMISSION, ipa, FaultClass.IN);
      }
      return cached.pa + (iova - cached.input);
    }
    const one = this.walkStage1(config, stage1, iova, write);
    if (stage2 === null) {
      this.keep(entryOf(stage1, one, this.because));
      return one.pa + (iova - one.input);
    }
    const ipa = one.pa + (iova - one.input);
    const two = this.walkStage2(stage2, ipa, write, FaultClass.IN);
    this.keep(combined(stage1, one, two, iova, this.because));
    return two.pa + (ipa - two.input);
  }

  /** What the TLB holds for a look-up of stage 1. Entries of both stages may have the granule of stage 2. */
  private cachedStage1(stage1: Stage, stage2: Stage | null, iova: number): TlbEntry | null {
    const { granuleBits, inputBits } = stage1;
    const other = stage2 !== null && stage2.granuleBits !== granuleBits ? stage2.granuleBits : null;
    // QEMU may still find something in rare cases, which is allowed: what forbids a walk need not forbid a hit.
    if (stage1.disabled || iova >= 2 ** inputBits) return null;
    const found = this.tlb.lookup(stage1, granuleBits, inputBits, iova);
    return found ?? (other === null ? null : this.tlb.lookup(stage1, other, inputBits, iova));
  }

  private walkStage1(config: Config, stage1: Stage, iova: number, write: boolean): Leaf {
    return walk(stage1, iova, write, {
      read: this.read,
      deviating: this.deviating,
      place: (table, index, root) => this.placeOf(config, stage1, table, index, root),
      fault: (event, fetch) => {
        if (fetch === undefined) throw new Refused({ event, recorded: stage1.records });
        throw new Refused({ event, recorded: true, eventClass: FaultClass.TTD, address: fetch });
      },
    });
  }

  /** Physical address of a stage-1 descriptor. */
  private placeOf({ stage2, root }: Config, stage1: Stage, table: number, index: number, isRoot: boolean): number {
    const { deviating } = this;
    const at = table + 8 * index;
    if (stage2 === null) return at;
    const apart = Math.floor(at / 4096) !== Math.floor((isRoot ? stage1.ttb : table) / 4096);
    if (!isRoot) return this.placeBelow(stage1, stage2, table, at, apart);
    if (root === null) return this.throughStage2(stage2, at, false, FaultClass.TTD);
    const cut = root % 2 ** stage1.outputBits;
    if (cut !== root) deviating.use('root-cut');
    const { inputBits, startLevel, granuleBits } = stage1;
    const kept = aligned(cut, inputBits, startLevel, granuleBits) + 8 * index;
    if (cut === root && this.peek(stage2, at) !== kept) deviating.use(apart ? 'table-base' : 'root-kept');
    return kept;
  }

  /** The same below the root: QEMU translates where the table begins, and takes faults of stage 2 for stage 1's. */
  private placeBelow(stage1: Stage, stage2: Stage, table: number, at: number, apart: boolean): number {
    const { deviating } = this;
    const whole = apart && deviating.has('table-base');
    const asked = whole ? table : at;
    const refused = (event: number): Refused => {
      const recorded = event === EventCode.F_WALK_EABT || stage1.records;
      return new Refused({ event, recorded, eventClass: FaultClass.TTD, address: table });
    };
    const cached = this.tlb.lookup(stage2, stage2.granuleBits, stage2.inputBits, asked);
    const tooFar = cached === null && table >= 2 ** stage1.outputBits;
    if (tooFar && deviating.use('table-fault-stage1')) throw refused(EventCode.F_ADDR_SIZE);
    let place: number;
    try {
      place = this.throughStage2(stage2, asked, false, FaultClass.TTD) + (at - asked);
    } catch (error) {
      if (whole) deviating.use('table-base');
      if (!(error instanceof Refused) || !deviating.use('table-fault-stage1')) throw error;
      throw refused(error.fault.event);
    }
    if (whole && this.peek(stage2, at) !== place) deviating.use('table-base');
    return place;
  }

  // ---- Stage 2.

  /** Translates an IPA, from the TLB where it can. */
  private throughStage2(stage2: Stage, ipa: number, write: boolean, eventClass: FaultClass): number {
    const { deviating } = this;
    const fault = (event: number): Refused => this.stage2Fault(stage2, event, ipa, eventClass);
    const beyond = ipa >= 2 ** stage2.inputBits;
    // QEMU checks the range of stage 2 only where it walks.
    const looksFirst = this.deviations.has('s2-range-late');
    if (beyond && !looksFirst) throw fault(EventCode.F_TRANSLATION);
    const cached = this.tlb.lookup(stage2, stage2.granuleBits, stage2.inputBits, ipa);
    if (cached === null) {
      const leaf = this.walkStage2(stage2, ipa, write, eventClass);
      this.keep(entryOf(stage2, leaf, this.because));
      return leaf.pa + (ipa - leaf.input);
    }
    if (beyond) deviating.use('s2-range-late');
    this.note(cached);
    if (!allows(cached.second, write)) {
      if (eventClass === FaultClass.IN) {
        throw deviating.use('s2-cached-silent') ? silent() : fault(EventCode.F_PERMISSION);
      }
      if (!deviating.use('cached-read')) throw fault(EventCode.F_PERMISSION);
    }
    this.protect(stage2, cached.device, ipa, eventClass);
    return cached.pa + (ipa - cached.input);
  }

  /** Walks stage 2. */
  private walkStage2(stage2: Stage, ipa: number, write: boolean, eventClass: FaultClass): Leaf {
    if (ipa >= 2 ** stage2.inputBits) throw this.stage2Fault(stage2, EventCode.F_TRANSLATION, ipa, eventClass);
    const leaf = walk(stage2, ipa, write, {
      read: this.read,
      deviating: this.deviating,
      place: (table, index) => table + 8 * index,
      fault: (event, fetch) => {
        throw this.stage2Fault(stage2, event, ipa, eventClass, fetch);
      },
    });
    this.protect(stage2, leaf.device, ipa, eventClass);
    return leaf;
  }

  /** S2PTW: stage 1's structures must not lie in Device memory. */
  private protect(stage2: Stage, device: boolean, ipa: number, eventClass: FaultClass): void {
    if (!stage2.protectsWalks || !device || eventClass === FaultClass.IN || this.deviating.use('s2ptw-ignored')) return;
    throw this.stage2Fault(stage2, EventCode.F_PERMISSION, ipa, eventClass);
  }

  /** A fault of stage 2; `fetch` is the descriptor that could not be read. */
  private stage2Fault(stage2: Stage, event: number, ipa: number, eventClass: FaultClass, fetch?: number): Refused {
    const { deviating } = this;
    if (fetch !== undefined) {
      const named = eventClass === FaultClass.IN && !deviating.use('eabt-class-in') ? FaultClass.TTD : eventClass;
      return new Refused({ event, recorded: true, stage2: true, eventClass: named, address: fetch });
    }
    const offset = ipa % 4096;
    const whole = offset !== 0 && deviating.use('ipa-offset');
    const forbidsRead = eventClass === FaultClass.TTD && event === EventCode.F_PERMISSION;
    return new Refused({
      event,
      recorded: stage2.records,
      stage2: true,
      eventClass,
      address: whole ? ipa : ipa - offset,
      tableRead: forbidsRead && !deviating.use('ttrnw-missing'),
    });
  }

  /** Where an IPA leads by the tables and the architecture alone; null when nowhere. */
  private peek(stage2: Stage, ipa: number): number | null {
    const { deviating } = this;
    this.deviating = NO_DEVIATION;
    try {
      const leaf = this.walkStage2(stage2, ipa, false, FaultClass.TTD);
      return leaf.pa + (ipa - leaf.input);
    } catch (error) {
      if (error instanceof Refused) return null;
      throw error;
    } finally {
      this.deviating = deviating;
    }
  }

  // ---- What it remembers.

  private note(entry: TlbEntry): void {
    for (const id of entry.because) this.because.add(id);
  }

  private keep(entry: TlbEntry): void {
    if (this.caching) this.tlb.insert(entry);
  }

  private config(sid: number, iova: number, write: boolean): Config {
    const known = this.configs.get(sid);
    if (known !== undefined) {
      for (const id of known.because) this.because.add(id);
      return known;
    }
    const { smmu, setup, deviating, because } = this;
    const config = decodeStream(
      {
        ...{ smmu, setup, iova, write, deviating, because, read: this.read },
        second: (stage2, ipa, eventClass) => this.throughStage2(stage2, ipa, false, eventClass),
      },
      sid,
      () => {
        this.deadly = true;
      },
    );
    if (this.caching) this.configs.set(sid, config);
    return config;
  }
}

function allows({ readable, writable }: { readable: boolean; writable: boolean }, write: boolean): boolean {
  return write ? writable : readable;
}
