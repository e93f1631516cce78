/**
 * Says what QEMU's SMMUv3 does with an access: a small stage-1 SMMU with QEMU's caches (the decoded configuration of a
 * stream, and a TLB of leaves), which follows the architecture except where a deviation is switched on. Without
 * deviations it is a second reading of the architecture, which must agree with the model.
 *
 * Left out: stage 2, the upper half of the address space, the top byte of an address.
 */
import { cdFlag, cdGranuleBits0, cdIps, cdTtb } from '../oracle/decode/cd.ts';
import { accessFlag, descriptorKind, DescriptorKind, leafSize, levelShift, nextTableAddress, outputAddress } from '../oracle/decode/descriptor.ts';
import { EventCode } from '../oracle/decode/event.ts';
import { SIZE_BITS, type Word64 } from '../oracle/decode/fields.ts';
import { cdIllegal, steIllegal } from '../oracle/decode/legal.ts';
import type { SmmuCapabilities } from '../oracle/decode/idr.ts';
import { steConfig, steS1CdMax, steS1ContextPtr } from '../oracle/decode/ste.ts';
import type { DeviationId } from './deviations.ts';
import { locate } from './predict-stream.ts';
import { type Invalidation, scopeOf } from './predict-invalidate.ts';
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
  readonly kind: 'abort' | 'bypass' | 'stage 1';
  readonly cd: Int32Array;
  readonly because: ReadonlySet<DeviationId>;
}

interface TlbEntry {
  readonly asid: number;
  readonly granuleBits: number;
  readonly level: number;
  readonly iova: number;
  readonly size: number;
  readonly pa: number;
  readonly writable: boolean;
  readonly because: ReadonlySet<DeviationId>;
}

class Refused extends Error {
  readonly event: number;
  constructor(event: number) {
    super('refused');
    this.event = event;
  }
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
    for (const [key, entry] of this.tlb) if (scope.dropsLeaf(entry)) this.tlb.delete(key);
  }

  /** What happens to an access of four bytes; the caches remember it. */
  access(sid: number, iova: number, write: boolean): Prediction {
    this.because = new Set();
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
      if (iova >= 2 ** this.smmu.oasBits && !this.deviates('bypass-size-ignored')) throw new Refused(EventCode.F_ADDR_SIZE);
      return iova;
    }
    const { cd } = config;
    const records = cdFlag(cd[1]!, cd[0]!, 45);
    const fault = (event: number): never => {
      throw new Refused(records ? event : 0);
    };
    const granuleBits = cdGranuleBits0(cd[0]!);
    const inputBits = 64 - (cd[0]! & 63);
    const asid = cd[1]! >>> 16;
    if (cdFlag(cd[1]!, cd[0]!, 14) || iova >= 2 ** inputBits) return fault(EventCode.F_TRANSLATION);
    const cached = this.lookup(asid, granuleBits, iova);
    if (cached !== null) {
      for (const id of cached.because) this.because.add(id);
      if (write && !cached.writable) return fault(EventCode.F_PERMISSION);
      return cached.pa + (iova - cached.iova);
    }
    const entry = this.walk(cd, asid, granuleBits, inputBits, iova, write, fault);
    if (this.caching) {
      if (this.tlb.size >= TLB_ENTRIES) this.tlb.clear();
      this.tlb.set(`${asid} ${granuleBits} ${entry.level} ${entry.iova}`, entry);
    }
    return entry.pa + (iova - entry.iova);
  }

  private lookup(asid: number, granuleBits: number, iova: number): TlbEntry | null {
    for (let level = 0; level <= 3; level++) {
      const size = leafSize(level, granuleBits);
      const found = this.tlb.get(`${asid} ${granuleBits} ${level} ${iova - (iova % size)}`);
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
      if (place.event === EventCode.C_BAD_STREAMID && (this.setup.cr2 & 2) === 0 && !this.deviates('bad-streamid-always')) {
        throw new Refused(0);
      }
      throw new Refused(place.event);
    }
    const ste = this.words(place.ste);
    if (ste === null) throw new Refused(EventCode.F_STE_FETCH);
    const config = steConfig(ste[0]!);
    let illegal = steIllegal(ste, 0, this.smmu);
    if (illegal !== null && /STRW|S1ContextPtr/.test(illegal) && this.deviates('ste-checks-missing')) illegal = null;
    if (illegal === null && config === 5 && this.smmu.ssidBits === 0 && steS1CdMax(ste[1]!) !== 0) {
      if (this.deviates('s1cdmax-rejected')) illegal = 'S1CDMax';
    }
    if (illegal !== null) throw new Refused(EventCode.C_BAD_STE);
    const because = new Set(this.because);
    if (config < 4) return { kind: 'abort', cd: ste, because };
    if (config === 4) return { kind: 'bypass', cd: ste, because };
    const cd = this.words(steS1ContextPtr(ste[1]!, ste[0]!));
    if (cd === null) throw new Refused(EventCode.F_CD_FETCH);
    if (cdIllegal(cd, 0, ste, 0, this.smmu) !== null) throw new Refused(EventCode.C_BAD_CD);
    return { kind: 'stage 1', cd, because };
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

  private walk(
    cd: Int32Array,
    asid: number,
    granuleBits: number,
    inputBits: number,
    iova: number,
    write: boolean,
    fault: (event: number) => never,
  ): TlbEntry {
    const outputBits = Math.min(SIZE_BITS[cdIps(cd[1]!)]!, this.smmu.oasBits, 48);
    const hierarchical = (cd[2]! & 2) === 0;
    const accessFlags = !cdFlag(cd[1]!, cd[0]!, 35);
    let level = 4 - Math.ceil((inputBits - granuleBits) / (granuleBits - 3));
    let table = cdTtb(cd[3]!, cd[2]!);
    table -= table % (8 * 2 ** (inputBits - levelShift(level, granuleBits)));
    let readOnly = false;
    let privileged = false;
    let entries = 2 ** (inputBits - levelShift(level, granuleBits));
    for (; ; level++) {
      const shift = levelShift(level, granuleBits);
      const word = this.read(table + 8 * (Math.floor(iova / 2 ** shift) % entries));
      entries = 2 ** (granuleBits - 3);
      if (word === null) throw new Refused(EventCode.F_WALK_EABT);
      const { hi, lo } = word;
      if ((lo & 1) === 0) return fault(EventCode.F_TRANSLATION);
      const kind = descriptorKind(level, hi, lo, granuleBits);
      if (kind === DescriptorKind.invalid && (level === 3 || !this.deviates('block-at-any-level'))) {
        return fault(EventCode.F_TRANSLATION);
      }
      if (kind === DescriptorKind.table) {
        table = nextTableAddress(hi, lo, granuleBits) % 2 ** 48;
        if (hierarchical && (hi & 0x40000000) !== 0) {
          readOnly = true;
          if (write && this.deviates('aptable-early')) return fault(EventCode.F_PERMISSION);
        }
        if (hierarchical && (hi & 0x20000000) !== 0) privileged = true;
        if (table >= 2 ** outputBits && !this.deviates('table-size-ignored')) return fault(EventCode.F_ADDR_SIZE);
        continue;
      }
      const pa = outputAddress(level, hi, lo, granuleBits) % 2 ** 48;
      const tooFar = pa >= 2 ** outputBits;
      const unflagged = accessFlags && !accessFlag(lo);
      if (tooFar && !this.deviations.has('output-size-late') && !this.deviates('output-size-ignored')) {
        return fault(EventCode.F_ADDR_SIZE);
      }
      if (unflagged && !this.deviates('access-flag-ignored')) {
        if (tooFar) this.deviates('output-size-late');
        return fault(EventCode.F_ACCESS);
      }
      const leafReadOnly = (lo & 0x80) !== 0;
      const forbidden = (write && (leafReadOnly || readOnly)) || (((lo & 0x40) === 0 || privileged) && !this.deviates('unprivileged-ignored'));
      if (forbidden) {
        if (tooFar) this.deviates('output-size-late');
        return fault(EventCode.F_PERMISSION);
      }
      if (tooFar && this.deviates('output-size-late')) return fault(EventCode.F_ADDR_SIZE);
      const size = 2 ** shift;
      const writable = !leafReadOnly && (!readOnly || this.deviates('aptable-not-cached'));
      return { asid, granuleBits, level, iova: iova - (iova % size), size, pa, writable, because: new Set(this.because) };
    }
  }
}
