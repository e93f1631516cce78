/** Level-1 descriptors as the driver writes them, with one 64-bit store each, after the level-2 table is ready. */

import { structures } from '#machine/host-view';
import { putAddress } from './entry.ts';

const { L1CD, L1STD, setField } = structures;

/** A level-2 stream table has 2^SPLIT entries. */
export const STREAM_TABLE_SPLIT = 8;

/** Names the level-2 stream table at this address. */
export function makeL1std(words: Int32Array, l2Hi: number, l2Lo: number): void {
  words.fill(0);
  setField(words, L1STD.field.Span, STREAM_TABLE_SPLIT + 1);
  putAddress(words, L1STD.field.L2Ptr, l2Hi, l2Lo);
}

/** Names the level-2 table of CDs at this address. */
export function makeL1cd(words: Int32Array, l2Hi: number, l2Lo: number): void {
  words.fill(0);
  setField(words, L1CD.field.V, 1);
  putAddress(words, L1CD.field.L2Ptr, l2Hi, l2Lo);
}
