/** The predictor's look-up of a stream table entry. */
import { EventCode } from '../oracle/decode/event.ts';
import { bitsInPlace, type Word64 } from '../oracle/decode/fields.ts';
import type { SmmuCapabilities } from '../oracle/decode/idr.ts';
import { l1stdEntries, l1stdL2Ptr, l1stdSpan } from '../oracle/decode/l1std.ts';
import type { DeviationId } from './deviations.ts';
import type { Setup } from './types.ts';

/**
 * Address of the STE of `sid`, or the event (C_BAD_STREAMID, C_BAD_STE, F_STE_FETCH) that says why there is none; then
 * the address is that of a failed fetch.
 */
export function locate(
  read: (pa: number) => Word64 | null,
  { strtabBase, strtabBaseCfg }: Setup,
  smmu: SmmuCapabilities,
  sid: number,
  deviates: (id: DeviationId) => boolean,
): { readonly ste: number; readonly event: number } {
  const none = (event: number) => ({ ste: 0, event });
  const log2 = Math.min(strtabBaseCfg & 63, smmu.sidBits);
  if (sid >= 2 ** log2) return none(EventCode.C_BAD_STREAMID);
  if (((strtabBaseCfg >>> 16) & 3) !== 1) {
    return { ste: strtabBase - (strtabBase % (64 * 2 ** log2)) + 64 * sid, event: 0 };
  }
  const asked = (strtabBaseCfg >>> 6) & 31;
  const split = asked === 8 || asked === 10 ? asked : 6;
  const size = Math.max(64, 8 * 2 ** Math.max(0, log2 - split));
  const level1 = strtabBase - (strtabBase % size) + 8 * Math.floor(sid / 2 ** split);
  const word = read(level1);
  if (word === null) return { ste: level1, event: EventCode.F_STE_FETCH };
  const index = sid % 2 ** split;
  const span = l1stdSpan(word.lo);
  if (index < l1stdEntries(word.lo, split)) return { ste: l1stdL2Ptr(word.hi, word.lo) + 64 * index, event: 0 };
  if (span === 0) return none(EventCode.C_BAD_STREAMID);
  if (!deviates('level2-too-long')) return none(EventCode.C_BAD_STREAMID);
  if (index >= 2 ** span) return none(EventCode.C_BAD_STE);
  return { ste: bitsInPlace(word.hi, word.lo, 50, 6) + 64 * index, event: 0 };
}
