/** `smmuv3-nesting`: stream table entries and commands that a guest hands to the host. */
import { smmuV3 } from '#host';
import type { Tally } from '../tally.ts';
import { count, dictionary, hex, list, record, type Shape, whole } from './shape.ts';
import { address, hexWords, int32s } from './words.ts';

export interface VirtualSteVector {
  readonly in: readonly string[];
  readonly ret: number;
  readonly ats: number;
  readonly out: readonly string[];
}

export interface UserCommandVector {
  readonly in: readonly string[];
  readonly vmid: number;
  readonly vsid_map: Readonly<Record<string, string>>;
  readonly ret: number;
  /** Absent when the command is refused. */
  readonly out?: readonly string[];
}

const words = list(hex, 2);

export const NESTING: Shape = record({
  vste: list(record({ in: words, ret: whole, ats: count, out: words })),
  user_cmd: list(record({ in: words, vmid: count, vsid_map: dictionary(hex), ret: whole }, { out: words })),
});

/** Compares the verdict on one entry of a guest. */
export function checkVirtualSte(vector: VirtualSteVector, i: number, tally: Tally): void {
  const guest = { words: int32s(vector.in), ats: true };
  tally.begin('entries of guests', () => `vste[${i}], ${vector.in.join(' ')}`);
  tally.same('result', vector.ret, smmuV3.validateVirtualSte(guest));
  tally.same('ATS', vector.ats, Number(guest.ats));
  tally.same('words', vector.out, hexWords(guest.words));
  tally.end();
}

/** Compares the verdict on one command of a guest. */
export function checkUserCommand(vector: UserCommandVector, i: number, tally: Tally): void {
  const streams = new Map(Object.entries(vector.vsid_map).map(([vsid, sid]) => [address(vsid), address(sid)]));
  const command = int32s(vector.in);
  tally.begin('commands of guests', () => `user_cmd[${i}], ${vector.in.join(' ')}`);
  const result = smmuV3.rewriteUserCommand(command, { vmid: vector.vmid, streamOf: (vsid) => streams.get(vsid) });
  tally.same('result', vector.ret, result);
  tally.same('words', vector.out ?? vector.in, hexWords(command));
  tally.end();
}
