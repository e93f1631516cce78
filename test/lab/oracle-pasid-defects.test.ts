/** Defects in the handling of streams, PASIDs and device contexts: random runs on a machine that has them find each. */

import { expect, test } from 'vitest';
import { findViolation } from '#lab/random/index';
import { buildHypervisor } from '#lab/zoo/loader';
import { twoSmmus } from '#machine';

const ATTACH = 'hyp/attach.ts';
const DESCRIPTOR = 'hyp/context-descriptor.ts';
const SYNC = '  const synced = yield* syncCd(h, smmu, sid, pasid);';
const SYNCED = [SYNC, '  if (synced !== 0) return synced;'].join('\n');

/** What the defects are about: other calls only make their states rarer. */
const calls = ['alloc_domain', 'free_domain', 'attach_dev', 'detach_dev', 'alloc_mgt_refill', 'page_response'] as const;

test.each([
  ['a detached descriptor is not invalidated before its body goes', DESCRIPTOR, 'clearCd', SYNC, '  const synced = 0;'],
  ['a descriptor is enabled in the epoch of its body', ATTACH, 'attachPasid', SYNCED, ''],
  ['a detached descriptor stays in the caches', DESCRIPTOR, 'clearCd', SYNC, '  return 0;\n  const synced = 0;'],
  [
    'the domain of a stage-1 detach is not compared',
    ATTACH,
    'detachS1',
    "  if (cdAsid(h, cd) !== id) return err('EACCES');",
    '',
  ],
  [
    'the domain of a stage-2 detach is not compared',
    ATTACH,
    'detachS2',
    "  if (steVmid(h, ste) !== id) return err('EACCES');",
    '',
  ],
  [
    'PASID 0 goes before the others',
    ATTACH,
    'detachS1',
    "  if (pasid === 0 && (yield* hasOtherPasids(h, table, bits))) return err('EINVAL');",
    '',
  ],
  ['a stream that is attached is attached again', ATTACH, 'attachS1', "    if (first !== 0) return err('EBUSY');", ''],
  [
    'a PASID beyond the table is written',
    ATTACH,
    'attachPasid',
    "  if (pasid >= 2 ** steCdBits(h, ste)) return err('E2BIG');",
    '',
  ],
  [
    'the table of descriptors is never given back',
    ATTACH,
    'detachS1',
    '  if (result === 0) yield* freeCdTable(h, table, bits);',
    '',
  ],
  [
    'the table of descriptors goes while the entry leads there',
    ATTACH,
    'detachS1',
    '  const result = yield* clearSte(h, smmu, sid, ste);',
    ['  yield* freeCdTable(h, table, bits);', '  const result = yield* clearSte(h, smmu, sid, ste);'].join('\n'),
  ],
  ['a reference of the device is kept', ATTACH, 'detachDev', '  yield* putDeviceContext(h, iommu, sid);', ''],
])('found: %s', (id, file, name, before, after) => {
  const edit = { file, function: name, before, after };
  const { identity, createHypervisor } = buildHypervisor([{ id, edits: [edit] }]);
  const machine = twoSmmus;
  const options = { machine, hypervisor: createHypervisor, identity, calls, maxCalls: 15_000, full: 64 } as const;
  // Whether one stream of random steps comes by is chance.
  const found = [1, 2, 3, 4, 5, 6].some((seed) => findViolation({ ...options, seed }).found !== null);
  expect(found).toBe(true);
});
