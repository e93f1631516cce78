/** What a hypervisor leaves behind that no outcome of a call tells: the oracle must find it all the same. */

import { expect, test } from 'vitest';
import { defaultProfile, PageResponse } from '#hypercall-abi';
import { buildHypervisor } from '#lab/zoo/loader';
import { type MachineDescription, preset, tiny } from '#machine';
import { kinds, makeRig, PAGE, type Rig, RW, tell } from './oracle-rig.ts';

const { s1: S1, s2: S2 } = defaultProfile.domainTypes;
const withPasids = preset('two-smmus');
const SID = 0x10;

/** A rig with one change of one line of the hypervisor. */
function edited(file: string, inFunction: string, before: string, after: string, machine = tiny): Rig {
  const edit = { file, function: inFunction, before, after };
  const { createHypervisor } = buildHypervisor([{ id: 'leaves', edits: [edit] }]);
  return makeRig({ machine, mischief: (_, real) => createHypervisor(real) });
}

function attachAndDetach(rig: Rig, sid: number, type: number): void {
  rig.refill(1, 16);
  expect(rig.call('alloc_domain', 0, 0, 1, type).errno).toBe(0);
  expect(rig.call('attach_dev', 0, 1, sid, 0, 0, 0).errno).toBe(0);
  expect(tell(rig.oracle.findings)).toBe('');
  expect(rig.call('detach_dev', 0, 1, sid, 0).errno).toBe(0);
}

test.each([S1, S2])('the entry of a stream that was detached is zero', (type) => {
  const before = '  yield* clearSteWords(h, ste, 1);';
  const rig = edited('hyp/stream-table.ts', 'clearSte', before, '');
  attachAndDetach(rig, 0, type);
  expect(tell(rig.oracle.findings)).toContain('attached to nothing, has an entry that was not cleared');
  expect(kinds(rig.oracle.findings)).toEqual(['streams/entry']);
});

/** Attaches PASIDs 0 and 5 of a stream, and detaches 5. */
function detachPasid(rig: Rig): void {
  rig.refill(1, 32);
  expect(rig.call('alloc_domain', 0, 0, 1, S1).errno).toBe(0);
  expect(rig.call('attach_dev', 0, 1, SID, 0, 3, 0).errno).toBe(0);
  expect(rig.call('attach_dev', 0, 1, SID, 5, 3, 0).errno).toBe(0);
  expect(rig.call('detach_dev', 0, 1, SID, 5).errno).toBe(0);
}

test('the descriptor of a PASID that was detached is zero', () => {
  const right = makeRig({ machine: withPasids });
  detachPasid(right);
  expect(tell(right.oracle.findings)).toBe('');
  const before = '  for (const at of [cd + 8, cd + 24]) {';
  const after = '  for (const at of [cd + 8, cd - 24]) {';
  const rig = edited('hyp/context-descriptor.ts', 'clearCd', before, after, withPasids);
  detachPasid(rig);
  expect(tell(rig.oracle.findings)).toContain('has a context descriptor that was not cleared (PASID 5)');
  expect(kinds(rig.oracle.findings)).toEqual(['streams/entry']);
});

test('what hardware did not answer may be left, and is no finding', () => {
  const rig = makeRig();
  rig.refill(1, 16);
  rig.call('alloc_domain', 0, 0, 1, S1);
  rig.machine.smmus[0]!.setAnswers(false);
  expect(rig.call('attach_dev', 0, 1, 0, 0, 0, 0).errno).toBe(-110);
  expect(rig.machine.memory.read32(rig.session.smmuMemory[0]!.strtab + 8)).not.toBe(0);
  expect(tell(rig.oracle.findings)).toBe('');
});

test('free blocks of a pool that make a larger one are joined, and marked', () => {
  const before = '  while (level < POOL_ORDER_MAX) {';
  const rig = edited('hyp/pool.ts', 'join', before, '  while (level < 0) {');
  expect(kinds(rig.oracle.findings)).toEqual([]);
  rig.refill(1, 16);
  expect(kinds(rig.oracle.findings)).toEqual(['allocation/not-joined']);
});

test('a free block that is not aligned to its size', () => {
  const before =
    '    while (order < POOL_ORDER_MAX && done + (2 << order) <= pages && (at & ((PAGE_SIZE << (order + 1)) - 1)) === 0) {';
  const after = '    while (order < POOL_ORDER_MAX && done + (2 << order) <= pages) {';
  const machine = { ...tiny, carveOut: { base: 0x402ff000, size: 0x101000 } };
  const rig = edited('hyp/pool.ts', 'addPages', before, after, machine);
  expect(tell(makeRig({ machine }).oracle.findings)).toBe('');
  rig.oracle.checkAll();
  expect(kinds(rig.oracle.findings)).toContain('allocation/unaligned');
});

test('a page of a pool that was freed still counts a reference', () => {
  const before = '    const at = hypPage(h, pa + i * PAGE_SIZE);';
  const rig = edited('hyp/pool.ts', 'freePages', before, '    const at = hypPage(h, pa);');
  rig.refill(1, 16);
  // The first table of stage 2 has two pages.
  expect(rig.call('alloc_domain', 0, 0, 1, S2).errno).toBe(0);
  expect(tell(rig.oracle.findings)).toBe('');
  expect(rig.call('free_domain', 1).errno).toBe(0);
  expect(kinds(rig.oracle.findings)).toContain('refcount/pool-page');
});

test('a page of a pool that is in use counts no reference', () => {
  const before = '    yield* writeHypPage(h, at, (yield* readHypPage(h, at)) | 1);';
  const rig = edited('hyp/pool.ts', 'allocPages', before, '');
  rig.refill(1, 16);
  expect(rig.call('alloc_domain', 0, 0, 1, S1).errno).toBe(0);
  expect(kinds(rig.oracle.findings)).toContain('refcount/pool-page');
});

test('a free block without its mark', () => {
  const before = '  yield* writeHypPage(h, at, withFreeBlock(yield* readHypPage(h, at), poolTag(h, pool), order));';
  const after = '  yield* writeHypPage(h, at, withFreeBlock(yield* readHypPage(h, at), poolTag(h, pool), 0));';
  const rig = edited('hyp/pool.ts', 'push', before, after);
  rig.refill(1, 1);
  expect(kinds(rig.oracle.findings)).toContain('allocation/free-mark');
});

test.each([S1, S2])('an SMMU that does not see the caches of the CPUs fetches its tables from memory', (type) => {
  const machine: MachineDescription = { ...tiny, smmus: [{ ...tiny.smmus[0]!, coherent: false }] };
  const rig = makeRig({ machine });
  rig.refill(1, 16);
  expect(rig.call('alloc_domain', 0, 0, 1, type).errno).toBe(0);
  expect(rig.call('attach_dev', 0, 1, 0, 0, 0, 0).errno).toBe(0);
  expect(rig.call('map_pages', 1, 0x10000, rig.page(), PAGE, 1, RW).value).toBe(PAGE);
  expect(tell(rig.oracle.findings)).toBe('');
  const seen = makeRig({
    machine,
    mischief: (_, real) => buildHypervisor([]).createHypervisor({ ...real, description: tiny }),
  });
  seen.refill(1, 16);
  seen.call('alloc_domain', 0, 0, 1, type);
  seen.call('attach_dev', 0, 1, 0, 0, 0, 0);
  expect(kinds(seen.oracle.findings)).toEqual(['streams/entry']);
});

test.each<[string, string, string, string]>([
  [
    'ends it in another way',
    'responseTo',
    '  return status === PageResponse.invalid || status === PageResponse.failure ? Resume.abort : Resume.terminate;',
    '  return status === PageResponse.invalid ? Resume.abort : Resume.terminate;',
  ],
  [
    'names another access',
    'pageResponse',
    '    result = yield* resume(h, smmu, endpoint, tag, responseTo(status));',
    '    result = yield* resume(h, smmu, endpoint, tag + 1, responseTo(status));',
  ],
  [
    'does nothing',
    'pageResponse',
    '    result = yield* resume(h, smmu, endpoint, tag, responseTo(status));',
    '    result = 0;',
  ],
])('the answer to an access that stalled %s', (_, inFunction, before, after) => {
  const right = makeRig({ machine: withPasids });
  for (const status of [PageResponse.success, PageResponse.invalid, PageResponse.failure, 7]) {
    expect(right.call('page_response', 0, 0, SID, 0, 0x10005, status).errno).toBe(0);
  }
  expect(tell(right.oracle.findings)).toBe('');
  const rig = edited('hyp/page-response.ts', inFunction, before, after, withPasids);
  expect(rig.call('page_response', 0, 0, SID, 0, 5, PageResponse.failure).errno).toBe(0);
  expect(kinds(rig.oracle.findings)).toEqual(['spec/page_response/ok']);
});

test('an event that waited for room is written while the host says that it has read some: no finding', () => {
  const first = withPasids.smmus[0]!;
  const smmus = [{ ...first, evtqLog2: 1, stallModel: 'stall' as const }, withPasids.smmus[1]!];
  const rig = makeRig({ machine: { ...withPasids, smmus } });
  const { boundary, devices, smmuMemory } = rig.session;
  rig.refill(1, 32);
  expect(rig.call('alloc_domain', 0, 0, 1, S1).errno).toBe(0);
  expect(rig.call('attach_dev', 0, 1, SID, 0, 0, 0).errno).toBe(0);
  for (let n = 1; n <= 4; n++) devices[0]!.read(n * PAGE);
  const events = (): number[] =>
    Array.from({ length: 16 }, (_, i) => rig.machine.memory.read32(smmuMemory[0]!.evtq + 4 * i));
  const before = events();
  expect(boundary.write32(0, first.base + 0x100ac, 2)).toBe(true);
  expect(events()).not.toEqual(before);
  expect(tell(rig.oracle.findings)).toBe('');
});
