/**
 * Says what QEMU's SMMUv3 does with an access: a small SMMU of one stage or the other with QEMU's caches (the decoded configuration of a
 * stream, and a TLB of leaves), which follows the architecture except where a deviation is switched on. Without
 * deviations it is a second reading of the architecture, which must agree with the model.
 *
 * Left out: nested translation, the upper half of the address space, the top byte of an address.
 */

import { cdIps } from '../oracle/decode/cd.ts';
import { leafSize } from '../oracle/decode/descriptor.ts';
import { EventCode } from '../oracle/decode/event.ts';
import type { Word64 } from '../oracle/decode/fields.ts';
import { SIZE_BITS } from '../oracle/decode/fields.ts';
import type { SmmuCapabilities } from '../oracle/decode/idr.ts';
import { cdIllegal, steIllegal } from '../oracle/decode/legal.ts';
import { steConfig, steS1CdMax, steS1ContextPtr, steS2Flag, steS2Ps, steS2T0sz } from '../oracle/decode/ste.ts';
import type { DeviationId } from './deviations.ts';
import { type Invalidation, scopeOf } from './predict-invalidate.ts';
import { locate } from './predict-stream.ts';
import { type Deviating, type Leaf, Refused, type Stage, stage1Of, stage2Of, walk } from './predict-walk.ts';
import type { AccessOutcome, Setup } from './types.ts';

/** Entries that QEMU's TLB holds before it is emptied. */
const TLB_ENTRIES = 256;

type Read = (pa: number) => Word64 | null;

/** A prediction, and the deviations that took part in it. */
export interface Prediction {
  readonly outcome: AccessOutcome;
  readonly because: readonly DeviationId[];
}

interface Config {
  readonly kind: 'abort' | 'bypass' | 'translate';
  readonly stage: Stage | null;
  readonly because: ReadonlySet<DeviationId>;
}

interface TlbEntry extends Leaf {
  readonly stage: 1 | 2;
  readonly tag: number;
  readonly because: Set<DeviationId>;
}

export class Predictor {
  private readonly read: Read;
  private readonly smmu: SmmuCapabilities;
  private readonly deviations: ReadonlySet<DeviationId>;
  private setup: Setup = { strtabBase: 0, strtabBaseCfg: 0, cr2: 0 };
  private readonly configs = new Map<number, Config>();
  private readonly tlb = new Map<string, TlbEntry>();
  /** Does it remember anything between accesses? */
  private readonly caching: boolean;
  private because = new Set<DeviationId>();
  /** The last access met an entry that ends some versions of QEMU: stage 2 with S2AA64 0, or sizes of 52 bits and up. */
  deadly = false;

  constructor(read: Read, smmu: SmmuCapabilities, deviations: Iterable<DeviationId>, caching = true) {
    this.read = read;
    this.smmu = smmu;
    this.deviations = new Set(deviations);
    this.caching = caching;
  }

  reset(setup: Setup): void {
    this.setup = setup;
    this.configs.clear();
    this.tlb.clear();
  }

  /** A command was consumed. */
  command(words: readonly number[]): void {
    const scope = scopeOf(words);
    for (const sid of this.configs.keys()) if (scope.dropsConfig(sid)) this.configs.delete(sid);
    this.dropTlb(scope);
  }

  private dropTlb(scope: Invalidation): void {
    for (const [key, entry] of this.tlb) {
      if (!scope.dropsLeaf(entry)) continue;
      if (entry.global && this.deviations.has('global-tagged') && !scope.dropsLeaf({ ...entry, global: false })) {
        entry.because.add('global-tagged');
      } else {
        this.tlb.delete(key);
      }
    }
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
      outcome = { ok: false, event: refused.event };
    }
    return { outcome, because: [...this.because] };
  }

  /** Whether QEMU deviates in this way; remembers that it mattered. */
  private deviates(id: DeviationId): boolean {
    if (!this.deviations.has(id)) return false;
    this.because.add(id);
    return true;
  }

  private translate(sid: number, iova: number, write: boolean): number {
    const config = this.config(sid);
    if (config.kind === 'abort') throw new Refused(0);
    if (config.kind === 'bypass') {
      if (iova >= 2 ** this.smmu.oasBits && !this.deviates('bypass-size-ignored'))
        throw new Refused(EventCode.F_ADDR_SIZE);
      return iova;
    }
    const stage = config.stage!;
    const fault = (event: number): never => {
      throw new Refused(stage.records ? event : 0);
    };
    if (stage.stage === 2 && iova >= 2 ** this.smmu.iasBits) {
      throw new Refused(this.deviates('s2-input-size') ? 0 : EventCode.F_ADDR_SIZE);
    }
    const beyond = iova >= 2 ** stage.inputBits;
    // QEMU checks the range of stage 2 only where it walks.
    const looksFirst = stage.stage === 2 && this.deviations.has('s2-range-late');
    if (stage.disabled || (beyond && !looksFirst)) return fault(EventCode.F_TRANSLATION);
    const cached = this.lookup(stage, iova);
    if (beyond && cached === null) return fault(EventCode.F_TRANSLATION);
    if (beyond) this.deviates('s2-range-late');
    if (cached !== null) {
      for (const id of cached.because) this.because.add(id);
      if (write ? !cached.writable : !cached.readable) {
        return fault(stage.stage === 2 && this.deviates('s2-cached-silent') ? 0 : EventCode.F_PERMISSION);
      }
      return cached.pa + (iova - cached.iova);
    }
    const deviating: Deviating = { has: (id) => this.deviations.has(id), use: (id) => this.deviates(id) };
    const leaf = walk(stage, iova, write, this.read, deviating);
    if (this.caching) {
      if (this.tlb.size >= TLB_ENTRIES) this.tlb.clear();
      const entry = { ...leaf, stage: stage.stage, tag: stage.tag, because: new Set(this.because) };
      this.tlb.set(keyOf(stage, leaf.level, leaf.iova), entry);
    }
    return leaf.pa + (iova - leaf.iova);
  }

  /** A leaf that covers `iova`, at a level that the stream's own tables have. */
  private lookup(stage: Stage, iova: number): TlbEntry | null {
    // QEMU starts where stage 1 would, also for a stage 2 that starts further down.
    const stride = stage.granuleBits - 3;
    for (let level = 4 - Math.ceil((stage.inputBits - stage.granuleBits) / stride); level <= 3; level++) {
      const size = leafSize(level, stage.granuleBits);
      const found = this.tlb.get(keyOf(stage, level, iova - (iova % size)));
      if (found !== undefined) return found;
    }
    return null;
  }

  private config(sid: number): Config {
    const known = this.configs.get(sid);
    if (known !== undefined) {
      for (const id of known.because) this.because.add(id);
      return known;
    }
    const config = this.decode(sid);
    if (this.caching) this.configs.set(sid, config);
    return config;
  }

  private decode(sid: number): Config {
    const place = locate(this.read, this.setup, this.smmu, sid, (id) => this.deviates(id));
    if (place.event !== 0) {
      if (
        place.event === EventCode.C_BAD_STREAMID &&
        (this.setup.cr2 & 2) === 0 &&
        !this.deviates('bad-streamid-always')
      ) {
        throw new Refused(0);
      }
      throw new Refused(place.event);
    }
    const ste = this.words(place.ste);
    if (ste === null) throw new Refused(EventCode.F_STE_FETCH);
    const config = steConfig(ste[0]!);
    if (config >= 6 && (!steS2Flag(ste[5]!, 51) || steS2Ps(ste[5]!) > 5)) this.deadly = true;
    let illegal = steIllegal(ste, 0, this.smmu);
    if (illegal?.includes('S1ContextPtr') && this.deviates('ste-checks-missing')) illegal = null;
    if (illegal !== null && /S2HA|S2HD/.test(illegal) && this.deviates('s2-updates-accepted')) illegal = null;
    if (illegal === null && config === 5 && this.smmu.ssidBits === 0 && steS1CdMax(ste[1]!) !== 0) {
      if (this.deviates('s1cdmax-rejected')) illegal = 'S1CDMax';
    }
    if (illegal !== null) throw new Refused(EventCode.C_BAD_STE);
    const because = new Set(this.because);
    if (config < 4) return { kind: 'abort', stage: null, because };
    if (config === 4) return { kind: 'bypass', stage: null, because };
    if (config === 6) {
      const narrow = SIZE_BITS[steS2Ps(ste[5]!)]! < 64 - steS2T0sz(ste[5]!);
      if (narrow && this.deviates('s2ps-limits-input')) throw new Refused(EventCode.C_BAD_STE);
      return { kind: 'translate', stage: stage2Of(ste, this.smmu), because };
    }
    const cd = this.words(steS1ContextPtr(ste[1]!, ste[0]!));
    if (cd === null) throw new Refused(EventCode.F_CD_FETCH);
    if (cdIps(cd[1]!) > 5) this.deadly = true;
    if (cdIllegal(cd, 0, ste, 0, this.smmu) !== null) throw new Refused(EventCode.C_BAD_CD);
    return { kind: 'translate', stage: stage1Of(cd, this.smmu), because };
  }

  private words(address: number): Int32Array | null {
    const words = new Int32Array(16);
    for (let i = 0; i < 8; i++) {
      const word = this.read(address + 8 * i);
      if (word === null) return null;
      words[2 * i] = word.lo;
      words[2 * i + 1] = word.hi;
    }
    return words;
  }
}

function keyOf({ stage, tag, granuleBits }: Stage, level: number, iova: number): string {
  return `${stage} ${tag} ${granuleBits} ${level} ${iova}`;
}
