/** `postern walk` over a nested stream: for each thing that stage 1 reads, the walk of stage 2 that finds it. */

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { walkCommand } from '#lab/cli/commands/walk';
import { runCommandLine } from '#lab/cli/run';
import { machineSource } from '#lab/replay/live';
import { chainOf, groupsOf } from '#lab/views/walk-chain';
import { walkView } from '#lab/views/walk-view';
import { explainAccess, type ModelWalk } from '#lab/walk/model';
import { renderWalk, walkDocument } from '#lab/walk/render';
import type { Walk } from '#lab/walk/result';
import { walkAccess } from '#lab/walk/walk';
import { hex64 } from '#machine';
import { BASE, CD, DATA, IOVA, L1, L2, L3, NestedSetup, OFFSET, SID } from '../machine/nested-setup.ts';
import { expectSound, texts, wellFormed } from './views-rig.ts';

const folder = mkdtempSync(join(tmpdir(), 'postern-nested-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Where in a table the guest's descriptor of {@link IOVA} is. */
const AT = { l1: L1, l2: L2 + 8 * (Math.floor(IOVA / 2 ** 21) % 512), l3: L3 + 8 * (Math.floor(IOVA / 4096) % 512) };

function walkOf(n: NestedSetup, write = false): Walk {
  return walkAccess(machineSource(n.s.machine), SID, IOVA, write);
}

/** What each run of stage-2 steps is for. */
function beneath({ steps }: Walk): string[] {
  const runs = steps.filter(({ beneath: it }, i) => it !== null && it !== steps[i - 1]?.beneath);
  return runs.map(({ beneath: it }) => `${it!.of} 0x${it!.ipa.toString(16)}`);
}

test('every structure of stage 1 has its stage-2 walk before it, and the access has one at the end', () => {
  const walk = walkOf(new NestedSetup());
  expect(beneath(walk)).toEqual([
    `CD 0x${CD.toString(16)}`,
    `stage 1 level 1 0x${AT.l1.toString(16)}`,
    `stage 1 level 2 0x${AT.l2.toString(16)}`,
    `stage 1 level 3 0x${AT.l3.toString(16)}`,
    `access 0x${DATA.toString(16)}`,
  ]);
  const own = walk.steps.filter(({ beneath: it }) => it === null);
  expect(own.map(({ title, address, pa }) => [title, address, pa])).toEqual([
    ['STE', expect.any(Number), null],
    ['CD', CD, CD + OFFSET],
    ['stage 1 level 1', AT.l1, AT.l1 + OFFSET],
    ['stage 1 level 2', AT.l2, AT.l2 + OFFSET],
    ['stage 1 level 3', AT.l3, AT.l3 + OFFSET],
  ]);
  expect(walk.outcome).toMatchObject({ kind: 'translated', pa: DATA + OFFSET });
});

test('a two-level CD table: the level-1 descriptor has a walk of its own', () => {
  const n = new NestedSetup({ ssidBits: 8, twoLevelCdTable: true });
  n.guest(BASE + 0xa000, 0, BigInt(CD) | 1n);
  n.attach(BigInt(BASE + 0xa000) | 0x1fn | (7n << 59n), 0xd6n);
  const walk = walkOf(n);
  expect(walk.outcome).toMatchObject({ kind: 'translated', pa: DATA + OFFSET });
  expect(beneath(walk).slice(0, 2)).toEqual([`L1CD 0x${(BASE + 0xa000).toString(16)}`, `CD 0x${CD.toString(16)}`]);
  expect(texts(walkView(walk))).toEqual(
    expect.arrayContaining([
      'S1ContextPtr, an IPA that stage 2 has translated',
      'L2Ptr, an IPA that stage 2 has translated',
    ]),
  );
  expect(renderWalk(walk)).toContain(`L1CD            IPA 0x${(BASE + 0xa000).toString(16)} -> PA 0x`);
});

test('a walk that stage 2 stops ends in the walk beneath, which is marked', () => {
  const n = new NestedSetup();
  n.s.put(n.stage2Of(L2), 0n);
  const walk = walkOf(n);
  expect(walk.outcome).toMatchObject({ event: 'F_TRANSLATION', stage: 2, class: 'TTD', ipa: AT.l2 });
  expect(walk.steps.at(-1)).toMatchObject({ beneath: { of: 'stage 1 level 2', ipa: AT.l2 }, level: 3 });
  const scene = walkView(walk);
  expectSound(scene);
  const bad = scene.items.filter((item) => item.kind === 'text' && item.tone === 'bad');
  expect(bad.map((item) => (item.kind === 'text' ? item.text : ''))).toContain('invalid: bit 0 is 0');
});

test('over the model: an old stage-2 leaf of a table matters, and needs an invalidation of stage 1 too', () => {
  const n = new NestedSetup();
  n.s.cfgiAll();
  n.s.sync();
  n.s.put(n.stage2Of(L2), 0n);
  n.s.put(n.stage2Of(BASE + 0x9000), 0n);
  const missing = ['TLBI_NH_ALL VMID 5', 'CMD_SYNC'];
  const explained = (): ModelWalk =>
    explainAccess(n.s.machine, { smmu: 0, sid: SID, iova: IOVA, write: false }, () => 'data');
  expect(explained()).toMatchObject({
    outcomes: [{ fault: 'F_TRANSLATION' }, { pa: DATA + OFFSET }],
    held: [{ kind: 'leaf', decides: true, missing: [`TLBI_S2_IPA VMID 5, IPA 0x${L2.toString(16)}`, ...missing] }],
    elsewhere: 1,
  });
  n.s.tlbiIpa(5, L2, true);
  expect(explained().held).toMatchObject([{ pending: true, missing }]);
  n.nhAll();
  n.s.sync();
  expect(explained()).toMatchObject({ outcomes: [{ fault: 'F_TRANSLATION' }], held: [] });
});

test('text, document and drawing hold every word and both addresses', () => {
  const walk = walkOf(new NestedSetup(), true);
  const text = renderWalk(walk);
  const scene = walkView(walk);
  expectSound(scene);
  const drawn = texts(scene).join('\n');
  for (const { address, pa, words } of walk.steps) {
    for (const shown of [text, drawn]) {
      expect(shown).toContain(`0x${address.toString(16)}`);
      if (pa !== null) expect(shown).toContain(`PA 0x${pa.toString(16)}`);
      for (const { hi, lo } of words) if (hi !== 0 || lo !== 0) expect(shown).toContain(hex64(hi, lo));
    }
  }
  expect(text).toContain(`the stage 1 level 2 descriptor is at IPA 0x${AT.l2.toString(16)}, which stage 2 translates:`);
  expect(text).toContain(`stage 1 gives IPA 0x${DATA.toString(16)}, which stage 2 translates:`);
  expect(drawn).toContain(`Stage 2 of IPA 0x${AT.l3.toString(16)}, where the stage 1 level 3 descriptor is`);
  expect(groupsOf(chainOf(walk)).map((group) => group.length)).toEqual([1, 3, 1, 3, 1, 3, 1, 3, 1, 1, 1, 1]);
  expect(walkDocument(walk)).toMatchObject({
    steps: expect.arrayContaining([
      expect.objectContaining({ kind: 'cd', address: '0x10000000', pa: '0x40100000' }),
      expect.objectContaining({ stage: 2, level: 3, beneath: { of: 'CD', ipa: '0x10000000' } }),
      expect.objectContaining({ stage: 2, level: 1, beneath: { of: 'access', ipa: '0x10008000' } }),
    ]),
  });
});

test('the machine explains a nested access by the same stage-2 walks as the literal decoder', () => {
  const n = new NestedSetup();
  for (const change of [() => {}, () => n.s.put(n.stage2Of(DATA), 0n), () => n.s.put(n.stage2Of(L3), 0n)]) {
    change();
    const walk = walkOf(n);
    const explained = n.s.smmu.explain(SID, IOVA, false);
    const second = walk.steps.filter(({ beneath: it }) => it !== null);
    const ofMachine = explained.beneath.flatMap(({ ipa, descriptors }) =>
      descriptors.map((each) => ({ ...each, ipa })),
    );
    expect(ofMachine.map(({ ipa, level, pa, hi, lo }) => [ipa, level, pa, { hi, lo }])).toEqual(
      second.map(({ beneath: it, level, address, words }) => [it!.ipa, level, address, words[0]]),
    );
    const first = walk.steps.filter(({ stage }) => stage === 1);
    expect(explained.descriptors.map(({ pa }) => pa)).toEqual(first.map(({ pa }) => pa));
    expect(explained.beneath.at(-1)!.pa).toBe(explained.pa);
  }
  expect(n.s.smmu.explain(SID, IOVA, false).beneath.map(({ of }) => of)).toEqual([
    'cd',
    'descriptor',
    'descriptor',
    'descriptor',
  ]);
});

/** The memory and registers of the machine as a fixture file. */
function fixtureFile(n: NestedSetup): string {
  const { memory, description } = n.s.machine;
  const { base, size } = description.ram[0]!;
  const pages: Record<string, { kind: string; b64: string }> = {};
  for (let pa = base; pa < base + 0x200000; pa += 4096) {
    const bytes = Buffer.alloc(4096);
    for (let at = 0; at < 4096; at += 4) bytes.writeInt32LE(memory.read32(pa + at), at);
    if (bytes.some((byte) => byte !== 0)) pages[`0x${pa.toString(16)}`] = { kind: 'pt', b64: bytes.toString('base64') };
  }
  const offsets = { IDR0: 0, IDR1: 4, IDR3: 0xc, IDR5: 0x14, CR0: 0x20, CR2: 0x2c, GBPA: 0x44, STRTAB_BASE_CFG: 0x88 };
  const registers = Object.fromEntries(
    Object.entries(offsets).map(([name, offset]) => [name, `0x${(n.s.smmu.read32(offset) >>> 0).toString(16)}`]),
  );
  const regs = { ...registers, STRTAB_BASE: `0x${n.s.smmu.read64(0x80).toString(16)}` };
  const path = join(folder, 'nested.json');
  writeFileSync(
    path,
    JSON.stringify({
      format: 'smmuv3-rig/1',
      run: 'nested',
      ramBase: `0x${base.toString(16)}`,
      ramSize: size,
      regs,
      pages,
    }),
  );
  return path;
}

test('the command line explains a nested access of a fixture, as text, document and drawing', async () => {
  const file = fixtureFile(new NestedSetup());
  const svg = join(folder, 'nested.svg');
  const run = async (...args: string[]): Promise<string> => {
    let out = '';
    const io = {
      out: (text: string) => {
        out += text;
      },
      err: expect.unreachable,
      isTty: false,
      columns: 100,
      onInterrupt: () => () => {},
    };
    const all = ['walk', file, '--sid', String(SID), '--iova', `0x${IOVA.toString(16)}`, ...args];
    expect(await runCommandLine({ name: 'postern', version: '0' }, [walkCommand], all, io)).toBe(0);
    return out;
  };
  expect(await run('--svg', svg)).toContain('the CD is at IPA 0x10000000, which stage 2 translates:');
  expect(wellFormed(readFileSync(svg, 'utf8'))[0]).toBe('svg');
  expect(readFileSync(svg, 'utf8')).toContain('Stage 2 of IPA 0x10000000, where the CD is');
  const { steps } = JSON.parse(await run('--json'));
  expect(steps.filter((step: { pa?: string }) => step.pa !== undefined)).toHaveLength(4);
});
