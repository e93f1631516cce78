/** Random calls for the properties: few addresses, so that they meet; all sizes; sometimes no memory for a table. */
import fc from 'fast-check';
import type { PageTableConfig } from '#io-pgtable/plain';
import { GIB1, KIB4, MIB2 } from './reference.ts';

export const STAGE_1: PageTableConfig = {
  fmt: 'ARM_64_LPAE_S1',
  pgsizeBitmap: KIB4 + MIB2 + GIB1,
  ias: 39,
  oas: 48,
  coherentWalk: true,
  quirks: 0,
};

export type Operation =
  | {
      readonly o: 'map';
      readonly iova: number;
      readonly pa: number;
      readonly size: number;
      readonly count: number;
      readonly prot: number;
    }
  | { readonly o: 'unmap'; readonly iova: number; readonly size: number; readonly count: number }
  | { readonly o: 'translate'; readonly iova: number };

const iova = fc
  .tuple(fc.constantFrom(0, 1, 511), fc.constantFrom(0, 1, 511), fc.constantFrom(0, 1, 2, 510, 511))
  .map(([gib, mib, page]) => gib * GIB1 + mib * MIB2 + page * KIB4);
const size = fc.constantFrom(KIB4, KIB4, KIB4, MIB2, MIB2, GIB1);
const count = fc.constantFrom(0, 1, 1, 1, 2, 3, 511, 512, 513);

/** The contract: `iova` and `pa` are aligned, and the pages stay in range. */
function inContract<T extends { iova: number; size: number; count: number }>(call: T): T {
  const aligned = Math.floor(call.iova / call.size) * call.size;
  return { ...call, iova: aligned, count: Math.min(call.count, (512 * GIB1 - aligned) / call.size) };
}

export const operations: fc.Arbitrary<Operation[]> = fc.array(
  fc.oneof(
    {
      weight: 4,
      arbitrary: fc
        .record({ o: fc.constant('map' as const), iova, size, count, pa: fc.nat(2 ** 10), prot: fc.nat(63) })
        .map((call) => inContract({ ...call, pa: (call.pa + 1) * call.size })),
    },
    {
      weight: 3,
      arbitrary: fc.record({ o: fc.constant('unmap' as const), iova, size, count }).map(inContract),
    },
    { weight: 1, arbitrary: fc.record({ o: fc.constant('translate' as const), iova: iova.map((at) => at + 42) }) },
  ),
  { maxLength: 25 },
);
