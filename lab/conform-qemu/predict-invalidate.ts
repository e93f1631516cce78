/** What a command takes out of the predictor's caches. QEMU drops global entries with the rest of an ASID: allowed. */
import { Opcode, rangePages } from '../oracle/decode/command.ts';
import { bitsInPlace } from '../oracle/decode/fields.ts';

/** A cached leaf as an invalidation sees it. */
interface CachedLeaf {
  readonly asid: number;
  readonly iova: number;
  readonly size: number;
  readonly granuleBits: number;
  readonly level: number;
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
    case Opcode.TLBI_NH_ALL:
    case Opcode.TLBI_NSNH_ALL:
      return { ...NOTHING, dropsLeaf: () => true };
    case Opcode.TLBI_NH_ASID:
      return { ...NOTHING, dropsLeaf: (leaf) => leaf.asid === asid };
    case Opcode.TLBI_NH_VA:
      return byAddress(lo0, hi1, lo1, asid);
    case Opcode.TLBI_NH_VAA:
      return byAddress(lo0, hi1, lo1, null);
    default:
      return NOTHING;
  }
}

function byAddress(lo0: number, hi1: number, lo1: number, asid: number | null): Invalidation {
  const tg = (lo1 >>> 10) & 3;
  const granule = tg === 0 ? 12 : 2 * tg + 10;
  const from = bitsInPlace(hi1, lo1, 63, 12);
  const to = from + (tg === 0 ? 1 : rangePages(lo0)) * 2 ** granule;
  return {
    ...NOTHING,
    dropsLeaf: (leaf) => (asid === null || leaf.asid === asid) && leaf.iova < to && leaf.iova + leaf.size > from,
  };
}
