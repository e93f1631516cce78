import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { expect, test } from 'vitest';
import { conformQtrace } from '#lab/conform/qtrace/conform';
import type { ConformReport } from '#lab/conform/report';
import { InputError } from '#lab/input-error';
import { commandQueue, rigFixture, rigPath } from './rig.ts';

function qemuTrace(run: string): string[] {
  return gunzipSync(readFileSync(rigPath(`${run}.qemu-trace.txt.gz`)))
    .toString()
    .split('\n');
}

function compare(run: string, lines: readonly string[], words = commandQueue(run)): Promise<ConformReport> {
  return conformQtrace(rigFixture(run), { trace: { file: 'trace', lines }, commands: { file: 'cmdq', words } }, 5);
}

function failing(report: ConformReport): Record<string, number> {
  return Object.fromEntries(report.groups.filter((g) => g.agree < g.checks).map((g) => [g.group, g.checks - g.agree]));
}

/** Look-ups by walk and from the TLB, levels, commands, register reads. */
const RUNS = {
  'strict-qtrace': [1024, 3848, 4108, 1998, 1044],
  'k612-nested-strict': [2863, 11238, 11464, 5020, 2552],
};

test.each(Object.entries(RUNS))('%s: QEMU’s own account agrees', async (run, counts) => {
  const report = await compare(run, qemuTrace(run));
  expect(report.disagreements).toEqual([]);
  expect(report.agree).toBe(report.checks);
  const groups = Object.fromEntries(report.groups.map(({ group, checks }) => [group, checks]));
  expect([
    groups['translations by a walk'],
    groups['translations from the TLB'],
    groups['levels of table walks'],
    groups['commands consumed'],
    groups['register reads'],
  ]).toEqual(counts);
  // The modelled caches and QEMU's TLB hold the same: nothing that QEMU misses could have been hit.
  expect(report.numbers.access).toMatchObject({ missesThatMightHit: 0 });
  expect(report.numbers.unknown).toEqual({});
});

/** The start of a trace is enough for what is spoilt. */
const RUN = 'strict-qtrace';
const start = qemuTrace(RUN).slice(0, 4000);
/** At the end of the trace the machine must be the captured one; the start alone does not reach that. */
const atEnd = ['registers at the end, as in the dump', 'events'];

async function spoilt(find: RegExp, change: (line: string) => string, nth = 0): Promise<Record<string, number>> {
  let seen = 0;
  const lines = start.map((line) => (find.test(line) && seen++ === nth ? change(line) : line));
  expect(seen).toBeGreaterThan(nth);
  const groups = failing(await compare(RUN, lines));
  for (const group of atEnd) delete groups[group];
  return groups;
}

test.each([
  ['an opcode', /opcode <--- SMMU_CMD_TLBI_NH_VA/, 'NH_VA', 'NH_VAA', { 'commands consumed': 1 }],
  ['the pages of a range', /range_inval/, 'num_pages=0x1', 'num_pages=0x2', { 'commands consumed': 1 }],
  ['the stream of a CFGI_STE', /cfgi_ste streamid/, 'streamid= 0x20', 'streamid= 0x21', null],
  ['the address of an STE', /get_ste/, '0x6b260800', '0x6b260840', { 'STEs and CDs fetched': 1 }],
  ['the address of a CD', /get_cd/, '0x4816b000', '0x4816b040', { 'STEs and CDs fetched': 1 }],
  ['a table base', /decode_cd_tt/, 'ttb:0x4817c000', 'ttb:0x4817d000', { 'STEs and CDs fetched': 1 }],
  ['an ASID', /lookup_hit/, 'asid=2', 'asid=3', { 'TLB tags': 1 }],
  ['a level', /ptw_level level=1/, 'level=1', 'level=2', null],
  ['a descriptor', /ptw_page_pte/, 'pte=0x60000008090e4b', 'pte=0x60000008090e49', { 'ends of table walks': 1 }],
  ['a page', /ptw_page_pte/, 'address = 0x8090000', 'address = 0x8091000', { 'ends of table walks': 1 }],
  ['a TLB entry', /iotlb_insert/, 'level=3', 'level=2', { 'TLB entries made': 1 }],
  [
    'a translation',
    /translate_success/,
    'translated=0x8090040',
    'translated=0x8090044',
    { 'translations by a walk': 1 },
  ],
  ['a permission', /translate_success/, 'perm=0x3', 'perm=0x1', { 'translations by a walk': 1 }],
  ['a register', /read_mmio addr: 0x14/, 'val:0x74', 'val:0x75', { 'register reads': 1 }],
])('one spoilt line is noticed: %s', async (_, find, from, to, expected) => {
  const groups = await spoilt(find, (line) => {
    expect(line).toContain(from);
    return line.replace(from, to);
  });
  if (expected === null) expect(Object.keys(groups)).not.toEqual([]);
  else expect(groups).toEqual(expected);
});

test('a translation from the TLB that no cache can hold is noticed', async () => {
  const hit = await spoilt(/translate_success/, (line) => line.replace(/translated=0x\w+/, 'translated=0x43804002'), 1);
  const [index] = Object.values(hit);
  expect(Object.keys(hit).concat(String(index)).join()).toMatch(/^translations (from the TLB|by a walk),1$/);
  // An invalidation that is too broad takes what QEMU still holds.
  const words = commandQueue(RUN);
  let seen = 0;
  for (let i = 0; i < words.length; i += 4) {
    if ((words[i]! & 0xff) === 0x12 && seen++ < 20) words[i] = 0x11;
  }
  const groups = failing(await compare(RUN, start, words));
  expect(groups['translations from the TLB']).toBeGreaterThan(0);
  expect(groups['commands consumed']).toBeGreaterThan(0);
});

test('unknown lines are counted by name, and a known one with other fields is named', async () => {
  const lines = [...start.slice(0, 50), 'smmu_new_thing x=1', 'smmu_new_thing x=2', 'qemu: a warning'];
  const report = await compare(RUN, lines);
  expect(report.numbers.unknown).toEqual({ smmu_new_thing: 2, 'qemu:': 1 });
  expect(report.notes).toContainEqual({ name: 'unknown lines', text: 'smmu_new_thing 2, qemu: 1' });
  const broken = compare(RUN, [...start.slice(0, 8), 'smmuv3_read_mmio addr: none']);
  await expect(broken).rejects.toThrow(InputError);
  await expect(broken).rejects.toThrow(
    /^trace:9: smmuv3_read_mmio: expected the fields of that event, got "addr: none"$/,
  );
});
