/** Calls are looked at after each of their locked sections, and what a lock guards changes only under it. */

import { expect, test } from 'vitest';
import type { SourceEdit } from '#lab/zoo/card';
import { buildHypervisor } from '#lab/zoo/loader';
import { tiny, twoSmmus } from '#machine';
import { kinds, makeRig, PAGE, RandomHost, type Rig, RW, tell } from './oracle-rig.ts';

/** A rig whose hypervisor has those lines of a function replaced. */
function edited(file: string, name: string, before: string, after: readonly string[], full: 'every' | 'never'): Rig {
  const edit: SourceEdit = { file, function: name, before, after: after.join('\n') };
  const { createHypervisor } = buildHypervisor([{ id: 'edited', edits: [edit] }]);
  return makeRig({ full, sections: true, mischief: (_, machine) => createHypervisor(machine) });
}

/** Memory, domain 1, stream 0 attached to it, a page mapped and unmapped. */
function work(rig: Rig): void {
  rig.refill(1, 8);
  rig.call('alloc_domain', 0, 0, 1, 0);
  rig.call('attach_dev', 0, 1, 0, 0, 0, 0);
  rig.call('map_pages', 1, 0x1000, rig.page(), PAGE, 1, RW);
  rig.call('unmap_pages', 1, 0x1000, PAGE, 1);
}

const SHARE = '    yield* setHost(h, pa, 1, PageState.sharedOwned);';

test('a page that is half shared when a lock is released', () => {
  const apart = [SHARE, '    yield* unlockHostAndHyp(h);', '    yield* lockHostAndHyp(h);'];
  const rig = edited('hyp/ownership.ts', 'shareHyp', SHARE, apart, 'every');
  rig.call('host_share_hyp', rig.page() / PAGE);
  expect(kinds(rig.oracle.findings)).toEqual(['ownership/between-sections']);
  const blind = edited('hyp/ownership.ts', 'shareHyp', SHARE, apart, 'never');
  blind.call('host_share_hyp', blind.page() / PAGE);
  expect(tell(blind.oracle.findings)).toBe('');
});

test('a record that is written without its lock', () => {
  const before = '  yield* lockHostAndHyp(h);\n  let result = yield* checkHost(h, pa, 1, PageState.owned, true);';
  const after = [
    '  h.memory.write32(hypPage(h, pa), 1);',
    '  h.memory.write32(hypPage(h, pa), 0);',
    ...before.split('\n'),
  ];
  const rig = edited('hyp/ownership.ts', 'shareHyp', before, after, 'every');
  rig.call('host_share_hyp', rig.page() / PAGE);
  expect(kinds(rig.oracle.findings)).toContain('lock/unguarded');
});

test('an entry of a stream that is written without the lock of its SMMU', () => {
  const before = '  yield* lock(h, smmu + SMMU_LOCK);\n  const ste = yield* findSte(h, smmu, sid, true);';
  const after = ['  const ste = yield* findSte(h, smmu, sid, true);', '  h.memory.write32(ste + 8, 1);'];
  const rig = edited(
    'hyp/attach.ts',
    'attachStream',
    before,
    [...after, '  h.memory.write32(ste + 8, 0);', '  yield* lock(h, smmu + SMMU_LOCK);'],
    'every',
  );
  work(rig);
  expect(kinds(rig.oracle.findings)).toContain('lock/unguarded');
});

test('tables that are changed without the lock of their domain', () => {
  const before = '  const mapped = yield* mapLocked(h, domain, id, at, size, prot);';
  const after = ['  yield* unlock(h, domain + DOMAIN_LOCK);', before, '  yield* lock(h, domain + DOMAIN_LOCK);'];
  const rig = edited('hyp/map.ts', 'mapInDomain', before, after, 'every');
  work(rig);
  expect(kinds(rig.oracle.findings)).toEqual(['lock/unguarded']);
});

test('tables that have fewer leaves in between than before and afterwards', () => {
  const before = '  const mapped = yield* mapLocked(h, domain, id, at, size, prot);';
  const apart = [
    '  const table = domainPageTable(h, domain, id);',
    '  const removed = yield* unmapPages(table, 0x1000, 4096, 1);',
    '  yield* unlock(h, domain + DOMAIN_LOCK);',
    '  yield* lock(h, domain + DOMAIN_LOCK);',
    '  const old = yield* mapPages(table, 0x1000, getNumber(h.x, at + 1), 4096, removed / 4096, prot);',
    before,
    '  if (old < 0) return old;',
  ];
  const rig = edited('hyp/map.ts', 'mapInDomain', before, apart, 'every');
  rig.refill(1, 8);
  const page = rig.page();
  rig.call('alloc_domain', 0, 0, 1, 0);
  rig.call('attach_dev', 0, 1, 0, 0, 0, 0);
  rig.call('map_pages', 1, 0x1000, page, PAGE, 1, RW);
  expect(tell(rig.oracle.findings)).toBe('');
  // It maps what is mapped already: nothing changes, but for a while.
  rig.call('map_pages', 1, 0x1000, page, PAGE, 1, RW);
  expect(kinds(rig.oracle.findings)).toContain('tables/between-sections');
});

test('a page of the host that was written, and put back in the next section', () => {
  const apart = [
    SHARE,
    '    const word = h.memory.read32(pa + 8);',
    '    h.memory.write32(pa + 8, word + 1);',
    '    yield* setHyp(h, pa, 1, PageState.sharedBorrowed);',
    '    yield* unlockHostAndHyp(h);',
    '    yield* lockHostAndHyp(h);',
    '    h.memory.write32(pa + 8, word);',
  ];
  const rig = edited('hyp/ownership.ts', 'shareHyp', SHARE, apart, 'every');
  // Without a journal only what is left when the call is over can be seen.
  rig.machine.memory.mark();
  rig.call('host_share_hyp', rig.page() / PAGE);
  expect(kinds(rig.oracle.findings)).toEqual(['unchanged/foreign-write']);
});

test.each([tiny, twoSmmus])('the hypervisor as it is, machine $name', (machine) => {
  const { session, oracle } = makeRig({ machine, full: 'every' });
  const host = new RandomHost(session, 77);
  for (let i = 0; i < 200 && oracle.findings.length === 0; i++) host.step();
  expect(tell(oracle.findings)).toBe('');
  expect(oracle.statement().sectionsChecked).toBeGreaterThan(150);
});
