import { closeSync, ftruncateSync, mkdtempSync, openSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { audit, auditDocument, renderAudit } from '#lab/audit/index';
import type { CliIo } from '#lab/cli/command';
import { auditCommand } from '#lab/cli/commands/audit';
import { runCommandLine } from '#lab/cli/run';
import { generate } from '#lab/conform-qemu/generate';
import { QEMU_7_2_IDS, Reference } from '#lab/conform-qemu/reference';
import type { Fixture } from '#lab/fixture/fixture';
import type { FileMemory } from '#lab/io/image';
import { openSnapshot } from '#lab/io/snapshot';
import type { Word64 } from '#lab/oracle/decode/fields';
import { frozenSource, walkSource } from '#lab/walk/source';
import { walkAccess } from '#lab/walk/walk';
import { rigFixture, rigPath, runs } from './rig.ts';

const folder = mkdtempSync(join(tmpdir(), 'postern-audit-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function auditOf(fixture: Fixture, protect: { name: string; start: number; end: number }[] = []) {
  return audit(walkSource(fixture), { subject: fixture.run, registers: fixture.registers, protect });
}

const word = (value: bigint): Word64 => ({
  hi: Number(BigInt.asIntN(32, value >> 32n)),
  lo: Number(BigInt.asIntN(32, value)),
});

async function command(...argv: string[]): Promise<{ code: number; out: string; err: string }> {
  let out = '';
  let err = '';
  const io: CliIo = {
    out: (text) => {
      out += text;
    },
    err: (text) => {
      err += text;
    },
    isTty: false,
    columns: 100,
    onInterrupt: () => () => {},
  };
  const code = await runCommandLine({ name: 'postern', version: '0' }, [auditCommand], ['audit', ...argv], io);
  return { code, out, err };
}

test.each(runs)('%s: the audit finds exactly what the log of the kernel says is mapped', (run) => {
  const fixture = rigFixture(run);
  const report = auditOf(fixture);
  expect(report.gaps).toEqual([]);
  const bytes = new Map<number, number>();
  for (const { sid, iova, pa, size, pte } of fixture.expected) {
    const context = report.contexts.find(({ streams }) => streams.some((stream) => stream.sid === sid))!;
    const range = context.ranges.find((r) => iova >= r.iova && iova + size <= r.iova + r.size)!;
    expect(range, `0x${iova.toString(16)}`).toBeDefined();
    expect(range.pa + (iova - range.iova)).toBe(pa);
    if (range.iova === iova) expect(range.entry.value).toEqual(pte);
    bytes.set(sid, (bytes.get(sid) ?? 0) + size);
  }
  for (const { streams, translation, bytes: reached } of report.contexts) {
    if (translation === 'none') expect(run).toBe('passthrough-all');
    else for (const { sid } of streams) expect(reached, `stream ${sid}`).toBe(bytes.get(sid) ?? 0);
  }
  // A kernel that bypasses the SMMU lets its devices write the SMMU's own tables; no other one does.
  expect(report.violations.length > 0).toBe(run === 'passthrough-all');
});

test.each(runs)('%s: a protected range is reported when, and only when, a mapping touches it', (run) => {
  const fixture = rigFixture(run);
  const clean = { name: 'hole', start: 0x40000000, end: 0x40001000 };
  const mapped = fixture.expected.find(({ pa }) => pa >= fixture.ramBase);
  if (mapped === undefined) return;
  const hit = { name: 'secret', start: mapped.pa + 0x800, end: mapped.pa + 0x900 };
  const report = auditOf(fixture, [clean, hit]);
  expect(report.violations.length).toBeGreaterThan(0);
  for (const violation of report.violations) {
    expect(violation.region.name).toBe('secret');
    expect(violation.size).toBe(0x100);
    const sid = violation.streams[0]!;
    const write = !violation.rights.read;
    const { outcome } = walkAccess(walkSource(fixture), sid, violation.iova, write);
    expect(outcome.kind === 'translated' && [outcome.pa, outcome.leaf.address]).toEqual([
      violation.pa,
      violation.entry.address,
    ]);
  }
  expect(report.violations.some(({ streams }) => streams.includes(mapped.sid))).toBe(true);
});

/** The fixture with the descriptor that maps (sid, iova) changed. */
function spoil(fixture: Fixture, sid: number, iova: number, value: (old: Word64) => bigint): number {
  const { outcome } = walkAccess(walkSource(fixture), sid, iova);
  if (outcome.kind !== 'translated') throw new Error('not mapped');
  const at = outcome.leaf.address;
  const page = fixture.pages.get(at - (at % 4096))!;
  const { hi, lo } = word(value(outcome.leaf.value));
  page.words[(at % 4096) / 4] = lo;
  page.words[(at % 4096) / 4 + 1] = hi;
  return at;
}

test('memory of tables that a device can write is a violation, with the descriptor; read only it is none', () => {
  const targets: [string, (fixture: Fixture) => number][] = [
    ['stream table', () => 0x482e1000],
    ['command queue', () => 0x6b300000],
    ['event queue', () => 0x6b400000],
  ];
  for (const [name, place] of targets) {
    const fixture = rigFixture('strict-all');
    const pa = place(fixture);
    const at = spoil(fixture, 0x18, 0xfffe0000, () => BigInt(pa) | 0xf47n);
    const { violations } = auditOf(fixture);
    expect(violations.length, name).toBeGreaterThan(0);
    const [first] = violations;
    expect(first!.kind).toBe('table memory is writable');
    expect(first!.region.name).toContain(name);
    expect([first!.streams, first!.iova, first!.entry.address]).toEqual([[0x18], 0xfffe0000, at]);
    spoil(fixture, 0x18, 0xfffe0000, () => BigInt(pa) | 0xfc7n);
    expect(auditOf(fixture).violations, `${name}, read only`).toEqual([]);
  }
  for (const kind of ['pt-l0', 'pt-l3', 'cd', 'strtab-l2']) {
    const fixture = rigFixture('strict-all');
    const pa = [...fixture.pages].find(([, page]) => page.kind === kind)?.[0];
    expect(pa, kind).toBeDefined();
    spoil(fixture, 0x10, 0xffffc000, () => BigInt(pa!) | 0xf47n);
    expect(auditOf(fixture).violations[0]?.kind, kind).toBe('table memory is writable');
  }
});

test('privileged-only leaves are marked, and leaves that fault reach nothing', () => {
  const ranges = (sid: number, iova: number, value: bigint) => {
    const fixture = rigFixture('strict-all');
    spoil(fixture, sid, iova, () => value);
    const context = auditOf(fixture).contexts.find(({ streams }) => streams[0]!.sid === sid)!;
    return context.ranges.filter((range) => range.iova === iova);
  };
  expect(ranges(0x18, 0xfffe0000, 0x4c395f07n)).toMatchObject([
    { size: 4096, rights: { read: true, write: true, privileged: true } },
  ]);
  expect(ranges(0x10, 0xffffc000, 0x4c395f47n)).toHaveLength(1);
  expect(ranges(0x10, 0xffffc000, 0x4c395f45n), 'reserved').toEqual([]);
  expect(ranges(0x10, 0xffffc000, (1n << 46n) | 0xf47n), 'beyond OAS').toEqual([]);
});

test('ELF cores and images of RAM give the same audit as the fixture, without being read whole', async () => {
  const fixture = rigFixture('s2-strict');
  const image = join(folder, 'ram.bin');
  const core = join(folder, 'core');
  const regs = join(folder, 'regs.json');
  const sparse = (path: string, offset: number, head: Buffer | null): void => {
    const file = openSync(path, 'w');
    ftruncateSync(file, offset + fixture.ramSize);
    if (head !== null) writeSync(file, head, 0, head.length, 0);
    for (const [pa, { words }] of fixture.pages) {
      writeSync(file, new Uint8Array(words.buffer, words.byteOffset, 4096), 0, 4096, offset + pa - fixture.ramBase);
    }
    closeSync(file);
  };
  const header = Buffer.alloc(64 + 2 * 56);
  header.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
  header.writeUInt16LE(4, 16);
  header.writeUInt32LE(64, 32);
  header.writeUInt16LE(56, 54);
  header.writeUInt16LE(2, 56);
  header.writeUInt32LE(4, 64); // a PT_NOTE
  const segment = 64 + 56;
  header.writeUInt32LE(1, segment);
  header.writeBigUInt64LE(0x1000n, segment + 8);
  header.writeBigUInt64LE(BigInt(fixture.ramBase), segment + 24);
  header.writeBigUInt64LE(BigInt(fixture.ramSize), segment + 32);
  header.writeBigUInt64LE(BigInt(fixture.ramSize), segment + 40);
  sparse(image, 0, null);
  sparse(core, 0x1000, header);
  const hex = ({ hi, lo }: Word64) => `0x${((BigInt(hi >>> 0) << 32n) | BigInt(lo >>> 0)).toString(16)}`;
  writeFileSync(regs, JSON.stringify(Object.fromEntries([...fixture.registers].map(([k, v]) => [k, hex(v)]))));
  const expected = JSON.stringify(auditDocument(auditOf(fixture)).contexts);
  for (const input of [`${image}@0x40000000`, core]) {
    const snapshot = await openSnapshot(input, regs);
    const report = audit(snapshot.source, { subject: 's2-strict', registers: snapshot.registers });
    expect(JSON.stringify(auditDocument(report).contexts), input).toBe(expected);
    expect((snapshot.source.memory as FileMemory).pagesRead).toBeLessThan(200);
    snapshot.close();
  }
  expect((await command(`${image}@0x40000000`, '--regs', regs)).code).toBe(0);
  expect((await command(core, '--regs', regs, '--protect', '0x40000000-0x70000000=everything')).code).toBe(1);
  expect(await command(core)).toMatchObject({ code: 2, err: expect.stringContaining('--regs FILE') });
  expect((await command(`${image}@0x40000800`, '--regs', regs)).code).toBe(2);
  // The same image at another address holds no stream table there: nothing is proven.
  const elsewhere = await command(`${image}@0x80000000`, '--regs', regs);
  expect([elsewhere.code, elsewhere.out]).toEqual([3, expect.stringContaining('not looked at: ')]);
});

test('two stages, the upper half and CD tables are followed to the end', () => {
  const memory = new Map<number, bigint>();
  const put = (pa: number, ...values: bigint[]): void => {
    for (const [i, value] of values.entries()) memory.set(pa + 8 * i, value);
  };
  const source = frozenSource(
    { read64: (pa) => (pa < 2 ** 32 ? word(memory.get(pa) ?? 0n) : null) },
    new Map(
      Object.entries({
        IDR0: 0x0d4c101bn, // both stages, two-level CD tables
        IDR1: 0x02730510n, // SSIDSIZE 20
        IDR3: 0x1414n,
        IDR5: 0x74n,
        CR0: 0xdn,
        STRTAB_BASE: 0x1000n,
        STRTAB_BASE_CFG: 4n,
        CMDQ_BASE: 0x100008n,
        EVENTQ_BASE: 0x110008n,
      }).map(([name, value]) => [name, word(value)]),
    ),
  );
  const registers = new Map([
    ['CMDQ_BASE', word(0x100008n)],
    ['EVENTQ_BASE', word(0x110008n)],
  ]);
  // Stream 1: nested; its IPAs start at 0x20000000.
  const cd = 0x0005_e204_c000_3519n; // T0SZ 25, EPD1
  put(0x1000 + 64, 0x2000_000fn, 0xd6n, 0x044c_3559_0000_0007n | (0x19n << 32n), 0x30000n);
  put(0x30000, 0x31003n); // S2: 39 bits, SL0 1: level 1 at 0x30000
  put(0x31000 + 8 * 256, 0x32003n); // IPA 0x20000000
  for (let i = 0; i < 16; i++) put(0x32000 + 8 * i, BigInt(0x40000 + 0x1000 * i) | 0x7ffn);
  put(0x32000 + 8 * 9, 0x49000n | 0x77fn); // IPA 0x20009000 is read only
  put(0x40000, cd, 0x20001000n); // CD at IPA 0x20000000; TTB0
  put(0x41000, 0x20002003n);
  put(0x42000, 0x20003003n);
  put(0x43000 + 8 * 5, 0x20008f47n, 0x20009f47n, 0x2000a000n, 0x7000_0f47n); // two pages, invalid, an IPA stage 2 lacks
  put(0x43000 + 8 * 9, 0x20003f47n); // its own level-3 table
  // Stream 2: a two-level CD table, SSID 70 with TTB1 only.
  put(0x1000 + 128, 0x50000n | 0x1bn | (7n << 59n), 0xd4n);
  put(0x50000, 0n, 0x51001n); // level 1: entry 1 covers SSIDs 64..127
  put(0x51000 + 64 * 6, 0x0006_e204_8099_0000n | (1n << 14n) | (2n << 22n) | (0x19n << 16n), 0n, 0x52000n);
  put(0x52000 + 8 * 511, 0x53003n);
  put(0x53000 + 8 * 511, 0x60000741n | (1n << 10n));
  const report = audit(source, { subject: 'hand-made', registers });
  expect(report.gaps).toEqual([]);
  const nested = report.contexts.find(({ translation }) => translation === 'nested')!;
  expect(nested.ranges.map(({ iova, pa, size, rights }) => [iova, pa, size, rights.write])).toEqual([
    [0x5000, 0x48000, 0x1000, true],
    [0x6000, 0x49000, 0x1000, false],
    [0x9000, 0x43000, 0x1000, true],
  ]);
  for (const { iova, pa, rights } of nested.ranges) {
    expect(walkAccess(source, 1, iova, rights.write).outcome).toMatchObject({ kind: 'translated', pa });
  }
  expect(report.violations.map(({ streams, iova, region }) => [streams, iova, region.name])).toEqual([
    [[1], 0x9000, 'stage 1 level 3 table of stream 0x1'],
  ]);
  // What stage 2 does not let a walk read cannot be read: the device gets nothing, and the audit says so.
  put(0x32000 + 8 * 3, 0x43000n | 0x7bfn);
  const blocked = audit(source, { subject: 'hand-made', registers });
  expect(blocked.contexts.find(({ translation }) => translation === 'nested')!.ranges).toEqual([]);
  expect(blocked.gaps).toEqual(['stream 0x1: the stage 1 level 3 table at 0x20003000 cannot be read']);
  const substream = report.contexts.find(({ ssid }) => ssid === 70)!;
  expect(substream.ranges.map(({ iova, size }) => [iova, size])).toEqual([[2 ** 64 - 2 ** 21, 2 ** 21]]);
  expect(renderAudit(report)).toContain('substream 0x46: stage 1');
});

/** A machine whose memory below 2^40 reads as zero but for what was put there. */
function handMade(registers: Record<string, bigint> = {}) {
  const pages = new Map<number, Int32Array>();
  const put = (pa: number, ...values: bigint[]): void => {
    for (const [i, value] of values.entries()) {
      const at = pa + 8 * i;
      const offset = at % 4096;
      const page = pages.get(at - offset) ?? new Int32Array(1024);
      pages.set(at - offset, page);
      page.set([word(value).lo, word(value).hi], offset / 4);
    }
  };
  const queues = { CMDQ_BASE: 0x100008n, EVENTQ_BASE: 0x110008n };
  const ids = { IDR0: 0x0d4c101bn, IDR1: 0x02730510n, IDR3: 0x1414n, IDR5: 0x74n };
  const all = { ...ids, CR0: 0xdn, STRTAB_BASE: 0x1000n, STRTAB_BASE_CFG: 4n, ...queues, ...registers };
  const words = new Map(Object.entries(all).map(([name, value]) => [name, word(value)] as const));
  const read64 = (pa: number): Word64 | null => {
    if (pa >= 2 ** 40) return null;
    const page = pages.get(pa - (pa % 4096));
    return page === undefined ? { hi: 0, lo: 0 } : { hi: page[(pa % 4096) / 4 + 1]!, lo: page[(pa % 4096) / 4]! };
  };
  const source = frozenSource({ read64 }, words);
  const look = (...protect: { name: string; start: number; end: number }[]) =>
    audit(source, { subject: 'hand-made', registers: words, protect, runLimit: 5000 });
  return { put, look };
}

/** T0SZ 16, 4K, EPD1, AA64, ASID 2. */
const CD = 0x0002_e204_c000_3510n;
const S1_TO_CD = [0x20000n | 0xbn, 0xd6n] as const;

test('tables of CDs are memory of tables where they really lie, unused entries included', () => {
  const { put, look } = handMade();
  // Nested; IPA 0x20000000 + n is PA 0x40000 + n. Two levels of CDs, SSID 3 is in use.
  put(0x1000 + 64, 0x2000_401fn | (7n << 59n), 0xd4n, 0x044c_3559_0000_0007n | (0x19n << 32n), 0x30000n);
  put(0x30000, 0x31003n);
  put(0x31000 + 8 * 256, 0x32003n);
  for (let i = 0; i < 16; i++) put(0x32000 + 8 * i, BigInt(0x40000 + 0x1000 * i) | 0x7ffn);
  put(0x44000, 0x20005001n);
  put(0x45000 + 64 * 3, 0x0005_e204_c000_3519n | 0x8000_0000n, 0x20006000n);
  put(0x46000, 0x20007003n);
  put(0x47000, 0x20008003n);
  put(0x48000, 0x20005f47n, 0x20004f47n, 0x2000bf47n);
  const { contexts, violations, gaps } = look();
  expect(gaps).toEqual([]);
  expect(contexts.map(({ ssid, translation, leaves }) => [ssid, translation, leaves])).toEqual([[3, 'nested', 3]]);
  expect(violations.map(({ iova, pa, region }) => [iova, pa, region.name])).toEqual([
    [0x0, 0x45000, 'level-2 CD table of stream 0x1'],
    [0x0 + 64 * 3, 0x45000 + 64 * 3, 'CD of stream 0x1'],
    [0x1000, 0x44000, 'level-1 CD table of stream 0x1'],
  ]);
});

test('what no table binds, or what is in another format, is not looked at, and said so', () => {
  const page = (put: (pa: number, ...values: bigint[]) => void) => {
    put(0x20000, CD, 0x30000n);
    put(0x30000, 0x31003n);
  };
  const ats = handMade({ IDR0: 0x0d4c141bn, CR0: 0x1dn });
  ats.put(0x1000 + 64, S1_TO_CD[0], S1_TO_CD[1] | (1n << 28n));
  page(ats.put);
  expect(ats.look().gaps).toEqual([
    'stream 0x1 has ATS: accesses that its device calls translated go through no table',
  ]);
  const unchecked = handMade({ IDR0: 0x0d4c141bn });
  unchecked.put(0x1000 + 64, ...S1_TO_CD);
  page(unchecked.put);
  expect(unchecked.look().gaps).toEqual([expect.stringContaining('CR0.ATSCHK is 0')]);
  const without = handMade();
  without.put(0x1000 + 64, S1_TO_CD[0], S1_TO_CD[1] | (1n << 28n));
  page(without.put);
  expect(without.look().gaps, 'an SMMU without ATS ignores EATS').toEqual([]);
  const old = handMade({ IDR0: 0x0d4c101fn });
  old.put(0x1000 + 64, ...S1_TO_CD);
  old.put(0x20000, CD & ~(1n << 41n), 0x30000n);
  const { contexts, gaps } = old.look();
  expect([contexts, gaps]).toEqual([[], ['stage 1 of stream 0x1 has AArch32 or big-endian tables']]);
});

test('bypass, abort and an SMMU that is off', () => {
  const { put, look } = handMade();
  put(0x1000 + 64, 0x9n, 0x1000_0000_0000n); // bypass
  put(0x1000 + 128, 0x1n); // abort
  put(0x1000 + 192, 0xdn); // stage 2, which is illegal like this
  const { contexts, denied } = look();
  expect(
    contexts.map(({ streams, translation, bytes }) => [streams.map(({ sid }) => sid), translation, bytes]),
  ).toEqual([[[1], 'none', 2 ** 44]]);
  expect(contexts[0]!.ranges[0]!.entry).toEqual({ address: 0x1040, value: { hi: 0, lo: 9 } });
  expect(denied.map(({ sid }) => sid)).toEqual([3]);
  const keys = { name: 'keys', start: 0x4000_0000, end: 0x4000_1000 };
  const off = handMade({ CR0: 0n, GBPA: 0x1000n }).look(keys);
  expect([off.enabled, off.violations]).toMatchObject([
    false,
    [{ streams: [], entry: { address: 0x44, value: { lo: 0x1000 } } }],
  ]);
  const aborting = handMade({ CR0: 0n, GBPA: 0x101000n }).look(keys);
  expect([aborting.contexts, aborting.violations]).toEqual([[], []]);
  expect(renderAudit(aborting)).toContain('the SMMU is off and GBPA aborts every access');
});

test('tables that refer to themselves come to an end, and a device that maps everything to a few lines', () => {
  const barren = handMade();
  barren.put(0x1000 + 64, ...S1_TO_CD);
  barren.put(0x20000, CD, 0x30000n);
  for (let i = 0; i < 512; i++) barren.put(0x30000 + 8 * i, 0x30003n); // as a page it has no access flag
  expect(barren.look()).toMatchObject({ contexts: [{ ranges: [] }], violations: [], gaps: [] });

  const everywhere = handMade();
  everywhere.put(0x1000 + 64, ...S1_TO_CD);
  everywhere.put(0x20000, CD, 0x30000n);
  for (let i = 0; i < 512; i++) everywhere.put(0x30000 + 8 * i, 0x30f47n);
  const { violations, omitted, gaps } = everywhere.look();
  expect(gaps).toEqual(['stream 0x1: the stage 1 tables at 0x30000 were not read to the end']);
  expect(violations).toHaveLength(1000);
  expect(omitted).toBe(4000);

  // 128 MiB in pages, and a page of it that must not be reached.
  const whole = handMade();
  whole.put(0x1000 + 64, ...S1_TO_CD);
  whole.put(0x20000, CD, 0x30000n);
  whole.put(0x30000, 0x31003n);
  whole.put(0x31000, 0x32003n);
  for (let i = 0; i < 64; i++) {
    whole.put(0x32000 + 8 * i, BigInt(0x80000000 + 4096 * i) | 3n);
    for (let k = 0; k < 512; k++)
      whole.put(0x80000000 + 4096 * i + 8 * k, BigInt(0x40000000 + 4096 * (512 * i + k)) | 0xf47n);
  }
  const report = whole.look({ name: 'keys', start: 0x4567_8800, end: 0x4567_a000 });
  expect(report.contexts).toMatchObject([
    { leaves: 2 ** 15, ranges: [{ iova: 0, pa: 0x40000000, size: 2 ** 27, leaves: 2 ** 15 }] },
  ]);
  const at = 0x80000000 + 8 * 0x5678;
  expect(report.violations).toMatchObject([
    { iova: 0x5678800, pa: 0x45678800, size: 0x1800, leaves: 2, entry: { address: at, value: { lo: 0x45678f47 } } },
  ]);
  expect(report.contexts[0]!.ranges[0]!.last.address).toBe(0x80000000 + 2 ** 18 - 8);
});

test.each([1, 2] as const)('stage %i: over random tables an audit says what a walk of each address says', (stage) => {
  const ids = { ...QEMU_7_2_IDS, idr0: stage === 1 ? 0x0d40101a : 0x0d44101b };
  const reference = new Reference(ids);
  const seen = { both: 0, readOnly: 0, writeOnly: 0, privileged: 0, none: 0 };
  for (let seed = 1; seed <= 60; seed++) {
    const program = generate(seed, { stage, stage2: stage === 2 });
    reference.reset(program.setup);
    for (const step of program.steps) if (step.kind === 'write') reference.write(step.at, step.value);
    const { strtabBase, strtabBaseCfg } = program.setup;
    const values = { IDR0: ids.idr0, IDR1: ids.idr1, IDR3: ids.idr3, IDR5: ids.idr5, CR0: 1 };
    const all = { ...values, STRTAB_BASE: strtabBase, STRTAB_BASE_CFG: strtabBaseCfg };
    const registers = new Map(Object.entries(all).map(([name, value]) => [name, word(BigInt(value))]));
    const source = frozenSource({ read64: (pa) => reference.read(pa) }, registers);
    const { contexts } = audit(source, { subject: 'random', registers });
    for (const step of program.steps) {
      if (step.kind !== 'dma') continue;
      const { sid, iova } = step;
      const context = contexts.find(({ streams }) => streams.some((stream) => stream.sid === sid));
      const range = context?.ranges.find((r) => iova >= r.iova && iova < r.iova + r.size);
      const [read, write] = [false, true].map((writes) => walkAccess(source, sid, iova, writes).outcome);
      const passes = (outcome: typeof read) =>
        (outcome!.kind === 'translated' || outcome!.kind === 'bypassed') && outcome!.pa;
      const pa = range === undefined || range.rights.privileged ? false : range.pa + (iova - range.iova);
      const where = `seed ${seed} stream ${sid} 0x${iova.toString(16)}`;
      expect(range?.rights.privileged !== true && range?.rights.read ? pa : false, where).toBe(passes(read));
      expect(range?.rights.privileged !== true && range?.rights.write ? pa : false, where).toBe(passes(write));
      if (range === undefined) seen.none++;
      else if (range.rights.privileged) seen.privileged++;
      else if (!range.rights.read) seen.writeOnly++;
      else if (!range.rights.write) seen.readOnly++;
      else seen.both++;
    }
  }
  expect(seen.both).toBeGreaterThan(50);
  expect(seen.none).toBeGreaterThan(50);
  expect(seen.readOnly).toBeGreaterThan(10);
  expect(stage === 1 ? seen.privileged : seen.writeOnly).toBeGreaterThan(10);
});

test('a fixture from the command line: exit codes, text and document', async () => {
  const good = await command(rigPath('strict-all.json.gz'), '--protect', '0x40000000-0x40200000=firmware');
  expect([good.code, good.err]).toEqual([0, '']);
  expect(good.out).toContain('stream 0x18 (nvme): stage 1');
  expect(good.out).toContain('no violation: 1 protected range out of reach');
  const bad = await command(rigPath('strict-all.json.gz'), '--protect', '0x4c395000-0x4c396000=keys', '--json');
  expect(bad.code).toBe(1);
  expect(JSON.parse(bad.out).violations).toMatchObject([
    { region: { name: 'keys' }, iova: '0xfffe0000', entry: { value: '0x000000004c395f47' } },
  ]);
  for (const range of ['5', '0x2000-0x1000=x', '0x1000-0x1000=x', 'a-b=c']) {
    expect((await command(rigPath('strict-all.json.gz'), '--protect', range)).code, range).toBe(2);
  }
  expect((await command('no-such-file')).code).toBe(2);
  expect((await command(folder)).code).toBe(2);
  expect((await command(import.meta.filename)).code).toBe(2);
});
