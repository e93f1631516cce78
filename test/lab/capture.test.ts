import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { CliIo } from '#lab/cli/command';
import { auditCommand } from '#lab/cli/commands/audit';
import { captureCommand } from '#lab/cli/commands/capture';
import { runCommandLine } from '#lab/cli/run';
import { ramRanges } from '#lab/io/capture';
import { QEMU, qemuVersion, scratchFolder } from '#lab/io/qemu-process';
import { Qmp } from '#lab/io/qemu-qmp';
import { Qtest } from '#lab/io/qemu-qtest';

const version = qemuVersion(QEMU);
const why = version === null ? ` (skipped: there is no ${QEMU})` : '';
const folder = mkdtempSync(join(tmpdir(), 'postern-capture-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

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
  const program = { name: 'postern', version: '0' };
  const code = await runCommandLine(program, [auditCommand, captureCommand], argv, io);
  return { code, out, err };
}

test('the memory tree of the system is read, and no other', () => {
  const text = `FlatView #0
 AS "gpex-root", root: bus master container
 Root memory region: (none)
  No rendered FlatView

FlatView #1
 AS "memory", root: system
 AS "cpu-memory-0", root: system
 Root memory region: system
  0000000000000000-0000000003ffffff (prio 0, romd): virt.flash0
  0000000009000000-0000000009000fff (prio 0, i/o): pl011
  0000000040000000-0000000047ffffff (prio 0, ram): mach-virt.ram
  0000000050000800-0000000050002fff (prio -1, ram): odd.ram KVM
`;
  expect(ramRanges(text)).toEqual([
    { base: 0x40000000, size: 0x8000000, name: 'mach-virt.ram' },
    { base: 0x50001000, size: 0x2000, name: 'odd.ram' },
  ]);
  expect(ramRanges('FlatView #0\n')).toEqual([]);
});

test('what is no monitor is told apart, and nothing is written', async () => {
  const plain = join(folder, 'plain');
  writeFileSync(plain, '');
  const out = join(folder, 'never');
  for (const [socket, text] of [
    [join(folder, 'absent'), 'nothing of that name'],
    [plain, 'expected the QMP socket of a running QEMU'],
  ] as const) {
    expect(await command('capture', '--qmp', socket, '-o', out)).toMatchObject({
      code: 2,
      err: expect.stringContaining(text),
    });
  }
  expect(await command('capture', '--qmp', plain)).toMatchObject({ code: 2, err: 'postern: --output is missing\n' });
  expect((await command('capture', '--qmp', plain, '-o', out, '--smmu', '0x1234')).code).toBe(2);
  const full = join(folder, 'full');
  mkdirSync(full);
  writeFileSync(join(full, 'something'), '');
  expect((await command('capture', '--qmp', plain, '-o', full)).err).toContain('is empty');
  expect(existsSync(out)).toBe(false);
});

test('a monitor that fails half way leaves no folder, and the guest as it was', async () => {
  const socket = join(folder, 'half');
  const asked: string[] = [];
  const server = createServer((client) => {
    client.write('{"QMP": {"version": {"qemu": {"major": 7, "minor": 2, "micro": 22}}}}\n');
    client.on('error', () => {});
    client.on('data', (data) => {
      for (const line of String(data).trim().split('\n')) {
        const { execute, arguments: args } = JSON.parse(line);
        asked.push(execute);
        const monitor = String(args['command-line']);
        const human = monitor.startsWith('xp')
          ? `0000000009050000: ${/9050000$/.test(monitor) ? '0x0d40101a' : '0x00000001'}\r\n`
          : 'FlatView #0\n AS "memory", root: system\n  0000000040000000-0000000040000fff (prio 0, ram): ram\n';
        const answer =
          execute === 'pmemsave'
            ? { error: { class: 'GenericError', desc: 'No space left on device' } }
            : {
                return:
                  execute === 'query-status' ? { running: true } : execute === 'human-monitor-command' ? human : {},
              };
        client.write(`{"event": "STOP"}\n${JSON.stringify(answer)}\n`);
      }
    });
  });
  await new Promise<void>((resolve) => server.listen(socket, resolve));
  const { code, err } = await command('capture', '--qmp', socket, '-o', join(folder, 'half-out'));
  server.close();
  expect([code, err]).toEqual([2, expect.stringContaining('No space left on device')]);
  expect(asked.at(-1)).toBe('cont');
  expect(readdirSync(folder).filter((name) => name.includes('half-out'))).toEqual([]);
});

describe.skipIf(version === null)(`a machine of ${version ?? 'QEMU'}${why}`, () => {
  const qmpSocket = join(folder, 'qmp');
  let qtest: Qtest;
  const SMMU = 0x09050000;
  const STRTAB = 0x40100000;
  const CD = 0x40200000;
  const TABLES = 0x41000000;

  beforeAll(async () => {
    const args = ['-M', 'virt,iommu=smmuv3,gic-version=3', '-cpu', 'cortex-a57', '-accel', 'tcg', '-S', '-m', '32M'];
    const quiet = ['-nodefaults', '-display', 'none', '-qmp', `unix:${qmpSocket},server=on,wait=off`];
    qtest = await Qtest.start(QEMU, scratchFolder(), [...args, ...quiet]);
    // Stream 8: an STE, a CD, three levels of tables; pages of data, the last one read only.
    const words: [number, number, number][] = [
      [STRTAB + 8 * 64, 0, CD | 0xb],
      [STRTAB + 8 * 64 + 8, 0, 0xd4],
      [CD, 0x5e204, 0xc0003519 | 0],
      [CD + 8, 0, TABLES],
      [TABLES, 0, (TABLES + 0x1000) | 3],
      [TABLES + 0x1000, 0, (TABLES + 0x2000) | 3],
      [TABLES + 0x2000 + 8 * 16, 0, 0x41800000 | 0xf47],
      [TABLES + 0x2000 + 8 * 17, 0, 0x41801000 | 0xf47],
      [TABLES + 0x2000 + 8 * 18, 0, 0x41802000 | 0xfc7],
    ];
    for (const [at, hi, lo] of words) await qtest.write64(at, hi, lo);
    await qtest.write64(SMMU + 0x80, 0, STRTAB);
    await qtest.write32(SMMU + 0x88, 8);
    await qtest.write64(SMMU + 0x90, 0, 0x40300008);
    await qtest.write64(SMMU + 0xa0, 0, 0x40400008);
    await qtest.write32(SMMU + 0x20, 0xd);
  });
  afterAll(() => qtest?.stop());

  test('is captured and audited: what its device reaches, and what it must not', async () => {
    const out = join(folder, 'guest');
    const captured = await command('capture', '--qmp', qmpSocket, '-o', out);
    expect(captured).toMatchObject({ code: 0, err: '' });
    expect(captured.out).toContain('SMMU at 0x9050000 (on); mach-virt.ram 0x40000000, 32 MiB');
    expect(readdirSync(out).sort()).toEqual(['capture.json', 'ram-40000000.bin', 'registers.json']);
    const clean = await command('audit', out, '--json');
    expect([clean.code, clean.err]).toEqual([0, '']);
    expect(JSON.parse(clean.out).contexts).toMatchObject([
      {
        streams: [{ sid: 8, cd: '0x40200000' }],
        ranges: [
          { iova: '0x10000', pa: '0x41800000', size: 8192, leaves: 2, rights: { write: true } },
          { iova: '0x12000', pa: '0x41802000', size: 4096, leaves: 1, rights: { write: false } },
        ],
      },
    ]);
    expect((await command('audit', out, '--protect', '0x41802000-0x41803000=keys')).code).toBe(1);
    // The kernel of this machine makes a mistake: it maps its own table for the device.
    await qtest.write64(TABLES + 0x2000 + 8 * 17, 0, (TABLES + 0x2000) | 0xf47);
    const later = join(folder, 'later');
    const again = await command('capture', '--qmp', qmpSocket, '-o', later, '--cont', '--json');
    expect(JSON.parse(again.out)).toMatchObject({ enabled: true, running: true });
    const bad = await command('audit', later);
    expect(bad.code).toBe(1);
    expect(bad.out).toContain('table memory is writable: stage 1 level 3 table of stream 0x8, 0x41002000-0x41003000');
    expect(bad.out).toContain('by 0x41002088: 0x0000000041002f47');
    expect((await command('capture', '--qmp', qmpSocket, '-o', later)).code, 'again to the same place').toBe(2);
  });

  test('an SMMU that is not there is an error, and the guest runs on', async () => {
    const out = join(folder, 'none');
    const { code, err } = await command('capture', '--qmp', qmpSocket, '--smmu', '0x7000000000', '-o', out);
    expect([code, err]).toEqual([2, expect.stringContaining('--smmu')]);
    expect(existsSync(out)).toBe(false);
    const qmp = await Qmp.connect(qmpSocket);
    expect(await qmp.execute('query-status')).toMatchObject({ running: true });
    qmp.close();
  });
});
