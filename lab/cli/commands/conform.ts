/** `postern conform`: this project against facts of others: vectors of upstream code, captured machines, an emulator. */
import { existsSync } from 'node:fs';
import { conformDump } from '../../conform/dump/conform.ts';
import { conformQtrace } from '../../conform/qtrace/conform.ts';
import { type ConformReport, conformDocument, count, renderConform } from '../../conform/report.ts';
import { conformVectors } from '../../conform/vectors/conform.ts';
import type { Watch } from '../../conform/watch.ts';
import { isCaptureFolder, readCapturedRun } from '../../io/captured-run.ts';
import { readCommands } from '../../io/commands.ts';
import { readFixture } from '../../io/fixture.ts';
import { progressBar } from '../../io/progress.ts';
import { displayName, forEachLine, readText, STANDARD_INPUT } from '../../io/read-text.ts';
import { readTrace } from '../../io/trace.ts';
import {
  type CliIo,
  type Command,
  type CommandArgs,
  flagArg,
  numberArg,
  requiredText,
  textArg,
  UsageError,
} from '../command.ts';
import { breathe } from './breathe.ts';
import { qemuOptions, runConformQemu } from './conform-qemu.ts';

const MAX_SHOWN = 5;

/** One file to compare. */
type Job = (most: number, watch: Watch) => Promise<ConformReport>;

/** What `conform WHAT` does with its files; each is read when its turn comes. */
type Form = (files: readonly string[], args: CommandArgs) => Promise<readonly Job[]>;

export const conformCommand: Command = {
  name: 'conform <what> [...files]',
  describe: 'Compare with facts of others: vectors FILE…, dump FIXTURE|DIR…, qtrace TRACE FIXTURE, qemu',
  options: [
    {
      flags: '--log <trace>',
      describe: 'dump: the kernel’s log of the same run (default: RUN.trace.txt.gz beside the fixture)',
    },
    {
      flags: '--cmdq <file>',
      describe: 'Command queue memory up to PROD (default: RUN.cmdq.bin.gz beside the fixture)',
    },
    { flags: '--max <n>', describe: 'How many disagreements to show in full', default: String(MAX_SHOWN) },
    ...qemuOptions,
    { flags: '--json', describe: 'Print one JSON document' },
  ],
  examples: [
    'postern conform vectors test/fixtures/vectors/*.json.gz',
    'postern conform dump test/fixtures/rig/strict-all.json.gz',
    'postern conform qemu --count 10000 --seed 7',
    'postern conform qemu --stage nested --qemu qemu-10.0/qemu-system-aarch64',
    'postern conform qtrace test/fixtures/rig/strict-qtrace.qemu-trace.txt.gz test/fixtures/rig/strict-qtrace.json.gz',
  ],
  async run(args, io) {
    const what = requiredText(args, 'what');
    const files = (args.files ?? []) as readonly string[];
    if (what === 'qemu') {
      if (files.length > 0) throw new UsageError(`conform qemu: expected no file, got ${files[0]}`);
      return runConformQemu(args, io);
    }
    const form = Object.hasOwn(forms, what) ? forms[what]! : null;
    if (form === null) throw new UsageError(`conform ${what}: expected one of ${Object.keys(forms).join(', ')}, qemu`);
    if (files.length === 0) throw new UsageError(`conform ${what}: which file?`);
    const json = flagArg(args, 'json');
    const most = numberArg(args, 'max') ?? MAX_SHOWN;
    const reports: ConformReport[] = [];
    for (const job of await form(files, args)) {
      const report = await attended(io, json, (watch) => job(most, watch));
      reports.push(report);
      if (!json) io.out(`${reports.length > 1 ? '\n' : ''}${renderConform(report)}`);
      if (report.interrupted) break;
    }
    if (json) io.out(`${JSON.stringify(conformDocument(reports), null, 2)}\n`);
    else if (reports.length > 1) io.out(`\n${summary(reports)}`);
    return exitCode(reports);
  },
};

/** Runs one comparison with a progress bar, until it is done or interrupted. */
async function attended(
  io: CliIo,
  json: boolean,
  run: (watch: Watch) => Promise<ConformReport>,
): Promise<ConformReport> {
  let stopped = false;
  const release = io.onInterrupt(() => {
    stopped = true;
  });
  let bar = progressBar(io, 'comparing', !json);
  let whole = -1;
  try {
    return await run({
      // A comparison has several parts of different lengths.
      onProgress: (done, total) => {
        if (total !== whole) {
          bar.end();
          bar = progressBar(io, 'comparing', !json);
          whole = total;
        }
        bar.update(done, total);
      },
      pause: async () => {
        await breathe();
        return stopped;
      },
    });
  } finally {
    bar.end();
    release();
  }
}

/** 0 all agree, 1 a disagreement, 3 nothing was compared. */
function exitCode(reports: readonly ConformReport[]): number {
  if (reports.some(({ agree, checks }) => agree < checks)) return 1;
  return reports.every(({ checks }) => checks === 0) ? 3 : 0;
}

function summary(reports: readonly ConformReport[]): string {
  const { agree, checks } = conformDocument(reports) as { agree: number; checks: number };
  return `${count(reports.length)} files: ${count(agree)} of ${count(checks)} agree\n`;
}

const forms: Readonly<Record<string, Form>> = {
  vectors: async (files) =>
    files.map((path) => async (most, watch) => conformVectors(await readText(path), displayName(path), most, watch)),
  dump: async (files, args) => {
    const log = textArg(args, 'log');
    const cmdq = textArg(args, 'cmdq');
    if (files.length > 1 && (log !== undefined || cmdq !== undefined)) {
      throw new UsageError('--log and --cmdq belong to one fixture; here are several');
    }
    return files.map((path) => async (most, watch) => {
      const captured = isCaptureFolder(path) ? await readCapturedRun(path) : null;
      const fixture = captured?.fixture ?? (await readFixture(path));
      const commandFile = cmdq ?? beside(path, 'cmdq.bin');
      const logFile = log ?? beside(path, 'trace.txt');
      const commands =
        commandFile === null
          ? (captured?.commands ?? null)
          : { file: displayName(commandFile), words: await readCommands(commandFile) };
      const trace = logFile === null ? null : await readTrace(logFile);
      return conformDump(fixture, { commands, log: trace }, most, watch);
    });
  },
  qtrace,
};

async function qtrace(files: readonly string[], args: CommandArgs): Promise<readonly Job[]> {
  const [tracePath, fixturePath] = files;
  if (files.length !== 2 || tracePath === undefined || fixturePath === undefined) {
    throw new UsageError('conform qtrace: expected TRACE FIXTURE');
  }
  return [
    async (most, watch) => {
      const fixture = await readFixture(fixturePath);
      const commandFile = textArg(args, 'cmdq') ?? beside(fixturePath, 'cmdq.bin');
      if (commandFile === null)
        throw new UsageError(`there is no command queue beside ${fixturePath}: give it as --cmdq`);
      const commands = { file: displayName(commandFile), words: await readCommands(commandFile) };
      const lines: string[] = [];
      await forEachLine(tracePath, (line) => void lines.push(line));
      return conformQtrace(fixture, { trace: { file: displayName(tracePath), lines }, commands }, most, watch);
    },
  ];
}

/** The file of the same run beside a fixture `RUN.json.gz`, packed or not; null when there is none. */
function beside(path: string, ending: string): string | null {
  if (path === STANDARD_INPUT) return null;
  const run = path.replace(/\.json(\.gz)?$|\/+$/, '');
  return [`${run}.${ending}.gz`, `${run}.${ending}`].find((file) => existsSync(file)) ?? null;
}
