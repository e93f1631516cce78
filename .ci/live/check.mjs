/**
 * check.mjs CACHE: boots Debian's arm64 kernel behind QEMU's SMMUv3, captures it while its devices are busy and when
 * they rest, and holds the audit against the kernel's own log of what it mapped and against the captured memory, read
 * here anew. Then a guest that bypasses the SMMU. Prints a line for each check; exit code 1 when one fails.
 */
import { deepStrictEqual as equal, ok } from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, openSync, readFileSync, readSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { guestFiles } from './initramfs.mjs';
import { Guest, STREAMS } from './qemu.mjs';

const here = import.meta.dirname;
const MODULES = ['virtio_mmio', 'virtio_blk', 'virtio_pci', 'nvme', 'e1000e'];
const PAGE = 4096;
/** The page that interrupts are written to, on QEMU's `virt` board: the one target outside RAM. */
const MSI_PAGE = 0x08090000;

const folder = mkdtempSync(join(tmpdir(), 'postern-live-'));
let failed = 0;
function check(name, run) {
  try {
    const note = run();
    console.log(`  ok: ${name}${typeof note === 'string' ? ` (${note})` : ''}`);
  } catch (error) {
    failed++;
    console.log(`  FAILED: ${name}: ${error.message}`);
  }
}

/** Runs the built program. */
function postern(...args) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [join(here, '../../dist/cli.js'), ...args], {
    encoding: 'utf8',
    maxBuffer: 2 ** 28,
  });
  return { code: status, out: stdout, err: stderr };
}

function document(expected, ...args) {
  const { code, out, err } = postern(...args, '--json');
  equal(code, expected, `exit code of ${args.join(' ')}: ${err}${out.slice(0, 2000)}`);
  return JSON.parse(out);
}

/** The pages that a context of an audit reaches: `IOVA>PA`. */
function pagesOf({ ranges }) {
  const pages = [];
  for (const { iova, pa, size } of ranges) {
    for (let at = 0; at < size; at += PAGE)
      pages.push(`${(Number(iova) + at).toString(16)}>${(Number(pa) + at).toString(16)}`);
  }
  return pages;
}

/**
 * The pages that the kernel's log leaves mapped, and how often. The log does not say for which device: two may use the
 * same IOVA, so an unmap takes away one mapping of this IOVA, and only how many are left of it is certain.
 */
function liveByLog(log) {
  const left = new Map();
  const pairs = new Set();
  for (const line of log.split('\n')) {
    const event = / (map|unmap): IOMMU: iova=0x(\w+)(?: - 0x(\w+))? (?:paddr=0x(\w+) )?size=(\d+)/.exec(line);
    if (event === null) continue;
    const [iova, pa] = [Number.parseInt(event[2], 16), Number.parseInt(event[4] ?? '0', 16)];
    for (let at = 0; at < Number(event[5]); at += PAGE) {
      const page = (iova + at).toString(16);
      left.set(page, (left.get(page) ?? 0) + (event[1] === 'map' ? 1 : -1));
      if (event[1] === 'map') pairs.add(`${page}>${(pa + at).toString(16)}`);
    }
  }
  return { left: new Map([...left].filter(([, count]) => count !== 0)), pairs };
}

/** The word at a physical address, out of the captured image. */
function wordAt(capture, address) {
  const { ram } = JSON.parse(readFileSync(join(capture, 'capture.json'), 'utf8'));
  const { base, file } = ram.find(({ base, size }) => address >= Number(base) && address < Number(base) + size);
  const word = Buffer.alloc(8);
  readSync(openSync(join(capture, file), 'r'), word, 0, 8, address - Number(base));
  return word.readBigUInt64LE();
}

/** A folder for the files of one guest. */
function folderFor(name) {
  const own = join(folder, name);
  mkdirSync(own);
  return own;
}

/** What holds for every capture of a kernel that translates. */
function translated(capture) {
  const report = document(0, 'audit', capture);
  const bySid = new Map(report.contexts.flatMap((context) => context.streams.map(({ sid }) => [sid, context])));
  equal(
    [...bySid.keys()].sort((a, b) => a - b),
    Object.values(STREAMS).sort((a, b) => a - b),
    'streams',
  );
  for (const [name, sid] of Object.entries(STREAMS)) {
    const context = bySid.get(sid);
    equal([context.translation, context.leaves > 1], ['stage 1', true], name);
  }
  equal([report.enabled, report.denied, report.gaps, report.violations], [true, [], [], []]);
  return report;
}

async function strict(files) {
  const folder = folderFor('strict');
  const guest = new Guest(files, folder, 'iommu.strict=1');
  const busy = join(folder, 'busy');
  const quiet = join(folder, 'quiet');
  try {
    await guest.says(/LIVE busy vd\w nvme\w+ eth0/);
    equal(guest.console.match(/^LIVE device .* DMA\r?$/gm)?.length, 4, guest.console);
    check('a capture while the devices are busy, and the guest goes on', () => {
      const { enabled, running } = document(0, 'capture', '--qmp', guest.socket, '-o', busy, '--cont');
      equal([enabled, running], [true, true]);
      const { contexts } = translated(busy);
      const one = ({ streams, leaves }) =>
        `${leaves} by ${streams.map(({ sid }) => `0x${sid.toString(16)}`).join('+')}`;
      return `entries: ${contexts.map(one).join(', ')}`;
    });
    rmSync(busy, { recursive: true, force: true });
    guest.type('rest');
    const [, lines, lost] = await guest.says(/LIVE quiet (\d+) lines, lost (\d+)/);
    document(0, 'capture', '--qmp', guest.socket, '-o', quiet);
    const log = `${readFileSync(guest.log, 'latin1').split('\nEND\n')[0]}\n`;
    writeFileSync(`${quiet}.trace.txt`, log);
    const core = join(folder, 'core');
    await guest.monitor('dump-guest-memory', { paging: false, protocol: `file:${core}` });
    resting(quiet, log, Number(lines), Number(lost), core);
  } finally {
    await guest.stop();
  }
}

/** The capture at rest against the log, and against its own memory. */
function resting(capture, log, lines, lost, core) {
  const report = translated(capture);
  const live = liveByLog(log);
  check('each mapping is one that the kernel has logged, and none is missing', () => {
    equal([log.split('\n').length - 1, lost], [lines, 0], 'lines of the log, lines lost');
    const found = new Map();
    for (const context of report.contexts) {
      for (const pair of pagesOf(context)) {
        ok(live.pairs.has(pair), `the log has no ${pair}`);
        const iova = pair.split('>')[0];
        found.set(iova, (found.get(iova) ?? 0) + 1);
      }
    }
    equal([...found].sort(), [...live.left].sort());
    return `${lines} lines of log, ${[...found.values()].reduce((sum, count) => sum + count, 0)} pages`;
  });
  check('each descriptor of the report is in the captured memory and names its page', () => {
    let count = 0;
    for (const { ranges } of report.contexts) {
      for (const { pa, entry } of ranges) {
        const word = wordAt(capture, Number(entry.address));
        equal([`0x${word.toString(16).padStart(16, '0')}`, Number(word & 0xfffffffff000n)], [entry.value, Number(pa)]);
        count++;
      }
    }
    return `${count} descriptors`;
  });
  const context = report.contexts.find(({ streams }) => streams.some(({ sid }) => sid === STREAMS.nvme));
  const range = context.ranges.find(({ pa }) => Number(pa) !== MSI_PAGE);
  const start = Number(range.pa);
  check('a protected range on a DMA buffer is a violation with its stream and descriptor', () => {
    const { violations } = document(1, 'audit', capture, '--protect', `${start}-${start + PAGE}=keys`);
    const mine = violations.find(({ streams }) => streams.includes(STREAMS.nvme));
    equal(
      [mine.kind, mine.region.name, mine.pa, mine.iova],
      ['protected memory is reachable', 'keys', range.pa, range.iova],
    );
    equal(BigInt(mine.entry.value), wordAt(capture, Number(mine.entry.address)));
    const { out } = postern('audit', capture, '--protect', `${start}-${start + PAGE}=keys`);
    ok(out.includes('keys') && out.includes(mine.entry.address) && out.includes(mine.entry.value), out);
    return `${range.iova} by ${mine.entry.address}`;
  });
  check('a protected range that nothing reaches is none', () => {
    const used = new Set(report.contexts.flatMap(pagesOf).map((pair) => pair.split('>')[1]));
    let free = 0x40000000;
    while (used.has(free.toString(16))) free += PAGE;
    document(0, 'audit', capture, '--protect', `${free}-${free + PAGE}=free`);
  });
  check('walk explains an access of the capture', () => {
    const walk = document(0, 'walk', capture, '--sid', `${STREAMS.nvme}`, '--iova', range.iova);
    equal(walk.outcome.pa, range.pa);
  });
  if (!log.includes(' pg_map: ')) {
    console.log('  skipped: conform dump and replay of the log (no probes for this kernel: see init)');
  } else {
    check('conform dump of the capture agrees, with every command and the log lived through', () => {
      const { agree, checks, reports } = document(0, 'conform', 'dump', capture);
      const { alignedBy, history } = reports[0].numbers;
      equal([agree, alignedBy, history.unmaps > 100, history.skipped], [checks, 'cmdlist', true, 0]);
      return `${agree} of ${checks}`;
    });
    check('a replay of the log through the hypercalls ends with the same descriptors', () => {
      const { live } = document(0, 'replay', `${capture}.trace.txt`, '--fixture', capture);
      const all = report.contexts.reduce((sum, { streams, leaves }) => sum + streams.length * leaves, 0);
      equal([live.compared, live.expected, live.equal], ['descriptors', all, all]);
      return `${all} descriptors`;
    });
  }
  check('a memory dump of QEMU and the bare image give the same audit', () => {
    const registers = join(capture, 'registers.json');
    const { ram } = JSON.parse(readFileSync(join(capture, 'capture.json'), 'utf8'));
    for (const input of [core, `${join(capture, ram[0].file)}@${ram[0].base}`]) {
      equal(document(0, 'audit', input, '--regs', registers).contexts, report.contexts, input);
    }
  });
}

async function passthrough(files) {
  const folder = folderFor('passthrough');
  const guest = new Guest(files, folder, 'iommu.passthrough=1');
  try {
    await guest.says(/LIVE busy vd\w nvme\w+ eth0/);
    check('with iommu.passthrough=1 every device reaches everything', () => {
      const capture = join(folder, 'passthrough');
      document(0, 'capture', '--qmp', guest.socket, '-o', capture);
      const { contexts, violations } = document(1, 'audit', capture);
      for (const sid of Object.values(STREAMS)) {
        const { translation, ranges } = contexts.find(({ streams }) => streams.some((stream) => stream.sid === sid));
        equal([translation, ranges.length, ranges[0].size], ['none', 1, 2 ** 44], `stream ${sid}`);
        for (const name of ['command queue', 'event queue', 'SMMU registers']) {
          ok(
            violations.some(({ streams, region }) => streams.includes(sid) && region.name === name),
            `${sid}: ${name}`,
          );
        }
      }
      return `${violations.length} violations`;
    });
  } finally {
    await guest.stop();
  }
}

const started = Date.now();
try {
  const { kernel, version, initramfs } = guestFiles(join(process.argv[2], 'root'), join(here, 'init'), MODULES);
  const files = { kernel, initramfs: join(folder, 'initramfs.gz') };
  writeFileSync(files.initramfs, initramfs);
  console.log(
    `Linux ${version} behind an SMMUv3, ${spawnSync('qemu-system-aarch64', ['--version'], { encoding: 'utf8' }).stdout.split('\n')[0]}`,
  );
  for (const scene of [strict, passthrough]) {
    try {
      await scene(files);
    } catch (error) {
      failed++;
      console.log(`  FAILED: ${scene.name} guest: ${error.message}`);
    }
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
}
console.log(
  `${failed === 0 ? 'all checks passed' : `${failed} checks failed`} in ${Math.round((Date.now() - started) / 1000)} s`,
);
process.exitCode = failed === 0 ? 0 : 1;
