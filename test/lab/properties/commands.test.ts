/** What may be put into a command queue: every rule of the list refuses something, and all that ours queues passes. */

import { expect, test } from 'vitest';
import { defaultProfile } from '#hypercall-abi';
import { CommandCheck } from '#lab/oracle/commands';
import { Facts } from '#lab/oracle/facts';
import { Findings } from '#lab/oracle/findings';
import { createMachine, tiny } from '#machine';

const smmu = tiny.smmus[0]!;
const machine = {
  ...tiny,
  smmus: [
    { ...smmu, stallModel: 'both' as const },
    { ...smmu, name: 'bare', stage1: false, rangeInvalidation: false, stallModel: 'terminate' as const },
  ],
};

/** Rules that a command of the words (lo0, hi0, lo1, hi1) breaks. */
function rules(onSmmu: number, lo0: number, hi0 = 0, lo1 = 0, hi1 = 0): string[] {
  const findings = new Findings(9);
  const facts = new Facts({ memory: createMachine(tiny).memory, description: machine }, defaultProfile);
  new CommandCheck(facts, findings).queued(onSmmu, new Int32Array([lo0, hi0, lo1, hi1]), 0);
  return findings.list.map(({ property, rule }) => `${property}/${rule}`);
}

test.each([
  ['SYNC with an event', 0, 0x46 | (2 << 12), 0, 0, 0],
  ['SYNC alone', 0, 0x46, 0, 0, 0],
  ['CFGI_ALL', 0, 0x04, 0, 31, 0],
  ['CFGI_STE of a stream', 0, 0x03, 3, 1, 0],
  ['CFGI_CD of a PASID', 0, 0x05 | (7 << 12), 3, 1, 0],
  ['TLBI_NH_VA of a range', 0, 0x12 | (3 << 12), 1 << 16, 0x1000 | (1 << 10) | (3 << 8) | 1, 0],
  ['TLBI_S2_IPA of a page', 1, 0x2a, 5, 0x1000 | 1, 0],
  ['RESUME of a stream that there is not', 0, 0x44, 0x7fffffff, 1, 0],
])('%s is allowed', (_, ...command) => {
  expect(rules(...command)).toEqual([]);
});

test.each([
  ['an opcode of nobody', 'opcode', 0, 0x99, 0, 0, 0],
  ['a prefetch', 'opcode', 0, 0x01, 0, 0, 0],
  ['ATC_INV', 'opcode', 0, 0x40, 0, 0, 0],
  ['a TLBI of EL2', 'opcode', 0, 0x20, 0, 0, 0],
  ['reserved bits', 'reserved', 0, 0x46 | (1 << 8), 0, 0, 0],
  ['a SYNC that raises an interrupt, or writes an MSI', 'illegal', 0, 0x46 | (1 << 12), 0, 0, 0],
  ['CFGI_STE_RANGE of some streams', 'illegal', 0, 0x04, 0, 3, 0],
  ['a stream that there is not', 'illegal', 0, 0x03, 2 ** smmu.sidBits, 0, 0],
  ['stage 1 where there is none', 'illegal', 1, 0x11, 1 << 16, 0, 0],
  ['RESUME where nothing stalls', 'illegal', 1, 0x44, 3, 1, 0],
  ['a range without a granule', 'illegal', 0, 0x12 | (3 << 12), 0, 0x1000, 0],
  ['a range where there are none', 'illegal', 1, 0x2a | (3 << 12), 0, 0x1000 | (1 << 10), 0],
  ['a range of 64 KiB pages', 'illegal', 0, 0x12 | (3 << 12), 0, 0x10000 | (3 << 10), 0],
  ['a reserved range', 'illegal', 0, 0x12, 0, 0x1000 | (1 << 10), 0],
])('%s is not', (_, rule, ...command) => {
  expect(rules(...(command as [number, number, number, number, number]))).toEqual([`commands/${rule}`]);
});
