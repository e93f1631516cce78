/**
 * What a command takes out of the predictor's caches. More than must go is allowed, and QEMU does so in two places:
 * TLBI_NH_ASID takes global leaves with the rest, and TLBI_NH_VAA the leaves of stage 2 at that address. TLBI_NH_VA must
 * take global leaves whatever its ASID. Entries of both stages are of stage 1 here: TLBI_S2_IPA leaves them.
 */
import { Opcode, rangePages } from '../oracle/decode/command.ts';
import { bitsInPlace } from '../oracle/decode/fields.ts';

/** A cached leaf as an invalidation sees it. */
interface CachedLeaf {
  /** -1 for stage 2. */
  readonly asid: number;
  readonly vmid: number;
  readonly input: number;
  readonly size: number;
  /** nG is 0: the leaf belongs to every ASID. */
  readonly global: boolean;
}

export interface Invalidation {
  dropsConfig(sid: number): boolean;
  dropsLeaf(leaf: CachedLeaf): boolean;
}

const NOTHING: Invalidation = { dropsConfig: () => false, dropsLeaf: () => false };

/** The scope of the command in four int32s. Without stage 2 there are no VMIDs. */
export function scopeOf(words: readonly number[], stage2: boolean): Invalidation {
  const [lo0, hi0, lo1, hi1] = words as [number, number, number, number];
  const asid = hi0 >>> 16;
  const vmid = stage2 ? hi0 & 0xffff : 0;
  const sid = hi0 >>> 0;
  const leaves = (dropsLeaf: (leaf: CachedLeaf) => boolean): Invalidation => ({ ...NOTHING, dropsLeaf });
  const byAddress = (tagged: (leaf: CachedLeaf) => boolean): Invalidation => {
    const { from, to } = range(lo0, hi1, lo1);
    return leaves((leaf) => leaf.vmid === vmid && tagged(leaf) && leaf.input < to && leaf.input + leaf.size > from);
  };
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
      return leaves(() => true);
    case Opcode.TLBI_NH_ALL:
      return leaves((leaf) => leaf.vmid === vmid && leaf.asid >= 0);
    case Opcode.TLBI_NH_ASID:
      return leaves((leaf) => leaf.vmid === vmid && leaf.asid === asid);
    case Opcode.TLBI_NH_VA:
      return byAddress((leaf) => leaf.asid === asid || leaf.global);
    case Opcode.TLBI_NH_VAA:
      return byAddress(() => true);
    case Opcode.TLBI_S12_VMALL:
      return leaves((leaf) => leaf.vmid === vmid);
    case Opcode.TLBI_S2_IPA:
      return byAddress((leaf) => leaf.asid < 0);
    default:
      return NOTHING;
  }
}

/** The addresses of an invalidation: [from, to). */
function range(lo0: number, hi1: number, lo1: number): { readonly from: number; readonly to: number } {
  const tg = (lo1 >>> 10) & 3;
  const granule = tg === 0 ? 12 : 2 * tg + 10;
  const from = bitsInPlace(hi1, lo1, 63, 12);
  return { from, to: from + (tg === 0 ? 1 : rangePages(lo0)) * 2 ** granule };
}
