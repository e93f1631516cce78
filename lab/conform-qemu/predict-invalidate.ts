/**
 * What a command takes out of the predictor's caches. TLBI_NH_ASID takes global leaves with the rest, which is allowed;
 * TLBI_NH_VA must take them whatever its ASID.
 */
import { Opcode, rangePages } from '../oracle/decode/command.ts';
import { bitsInPlace } from '../oracle/decode/fields.ts';

/** A cached leaf as an invalidation sees it. */
interface CachedLeaf {
  readonly stage: 1 | 2;
  /** ASID of stage 1, VMID of stage 2. */
  readonly tag: number;
  readonly iova: number;
  readonly size: number;
  readonly level: number;
  /** nG is 0: the leaf belongs to every ASID. */
  readonly global: boolean;
}

export interface Invalidation {
  dropsConfig(sid: number): boolean;
  dropsLeaf(leaf: CachedLeaf): boolean;
}

const NOTHING: Invalidation = { dropsConfig: () => false, dropsLeaf: () => false };

/** The scope of the command in four int32s. */
export function scopeOf(words: readonly number[]): Invalidation {
  const [lo0, hi0, lo1, hi1] = words as [number, number, number, number];
  const asid = hi0 >>> 16;
  const vmid = hi0 & 0xffff;
  const sid = hi0 >>> 0;
  switch (lo0 & 0xff) {
    case Opcode.CFGI_STE:
    case Opcode.CFGI_CD:
    case Opcode.CFGI_CD_ALL:
      return { ...NOTHING, dropsConfig: (other) => other === sid };
    case Opcode.CFGI_STE_RANGE: {
      const size = 2 ** ((lo1 & 31) + 1);
      return { ...NOTHING, dropsConfig: (other) => Math.floor(other / size) === Math.floor(sid / size) };
    }
    case Opcode.TLBI_NSNH_ALL:
      return { ...NOTHING, dropsLeaf: () => true };
    case Opcode.TLBI_NH_ALL:
      return { ...NOTHING, dropsLeaf: (leaf) => leaf.stage === 1 };
    case Opcode.TLBI_NH_ASID:
      return { ...NOTHING, dropsLeaf: (leaf) => leaf.stage === 1 && leaf.tag === asid };
    case Opcode.TLBI_NH_VA:
      return byAddress(lo0, hi1, lo1, (leaf) => leaf.stage === 1 && (leaf.tag === asid || leaf.global));
    case Opcode.TLBI_NH_VAA:
      return byAddress(lo0, hi1, lo1, (leaf) => leaf.stage === 1);
    case Opcode.TLBI_S12_VMALL:
      return { ...NOTHING, dropsLeaf: (leaf) => leaf.stage === 2 && leaf.tag === vmid };
    case Opcode.TLBI_S2_IPA:
      return byAddress(lo0, hi1, lo1, (leaf) => leaf.stage === 2 && leaf.tag === vmid);
    default:
      return NOTHING;
  }
}

function byAddress(lo0: number, hi1: number, lo1: number, tagged: (leaf: CachedLeaf) => boolean): Invalidation {
  const tg = (lo1 >>> 10) & 3;
  const granule = tg === 0 ? 12 : 2 * tg + 10;
  const from = bitsInPlace(hi1, lo1, 63, 12);
  const to = from + (tg === 0 ? 1 : rangePages(lo0)) * 2 ** granule;
  return {
    ...NOTHING,
    dropsLeaf: (leaf) => tagged(leaf) && leaf.iova < to && leaf.iova + leaf.size > from,
  };
}
