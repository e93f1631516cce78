/** `postern conform qemu`: the model of the SMMU against QEMU's, by random tables, histories and accesses. */
import { deviationsOf, parseVersion } from '../../conform-qemu/deviations.ts';
import { aarch32Stage2 } from '../../conform-qemu/directed.ts';
import { conformDocument, outcomeText, renderConform } from '../../conform-qemu/render.ts';
import { conform } from '../../conform-qemu/run.ts';
import type { StageName } from '../../conform-qemu/types.ts';
import { progressBar } from '../../io/progress.ts';
import { QEMU } from '../../io/qemu-process.ts';
import { type Accelerator, QemuSubject } from '../../io/qemu-subject.ts';
import {
  type CliIo,
  type CommandArgs,
  type CommandOption,
  flagArg,
  numberArg,
  textArg,
  UsageError,
} from '../command.ts';

/** Options of `conform qemu`; stage, count and seed are 1, 2000 and 1 when left out. */
export const qemuOptions: readonly CommandOption[] = [
  { flags: '--qemu <program>', describe: `qemu: the QEMU to compare with (default: ${QEMU})` },
  {
    flags: '--stage <stage>',
    describe: 'qemu: what translates: 1, 2 (QEMU 8.1 and up) or nested (9.1 and up); default: 1',
  },
  { flags: '--accel <name>', describe: 'qemu: qtest or tcg (default: qtest where that QEMU has it)' },
  { flags: '--count <n>', describe: 'qemu: accesses to compare (default: 2000)' },
  { flags: '--seed <n>', describe: 'qemu: where the programs come from (default: 1)' },
  { flags: '--crash', describe: 'qemu: try the stream table entry that ends some versions of QEMU, and nothing else' },
];

/** Runs it: 0 when every difference is a known deviation, 1 on a disagreement, 3 when interrupted before. */
export async function runConformQemu(args: CommandArgs, io: CliIo): Promise<number> {
  const stage = stageOf(textArg(args, 'stage') ?? '1');
  const accelerator = acceleratorOf(textArg(args, 'accel'));
  const count = numberArg(args, 'count') ?? 2000;
  const seed = numberArg(args, 'seed') ?? 1;
  if (count === 0) throw new UsageError('--count: expected at least 1');
  const json = flagArg(args, 'json');
  const subject = await QemuSubject.start(textArg(args, 'qemu') ?? QEMU, accelerator);
  let stopped = false;
  const release = io.onInterrupt(() => {
    stopped = true;
  });
  const bar = progressBar(io, 'comparing', !json);
  try {
    // IDR0.S1P is bit 1, S2P bit 0.
    const needed = stage === 'nested' ? ([1, 2] as const) : [stage];
    const missing = needed.find((one) => (subject.ids.idr0 & (one === 1 ? 2 : 1)) === 0);
    if (missing !== undefined) {
      throw new UsageError(`--stage ${stage}: the SMMU of ${subject.version} has no stage ${missing}`);
    }
    if (flagArg(args, 'crash')) return await crash(subject, json, io);
    const version = parseVersion(subject.version);
    if (version === null) throw new UsageError(`--qemu: no version in ${JSON.stringify(subject.version)}`);
    const known = deviationsOf(version, stage);
    const report = await conform(subject, {
      count,
      seed,
      stage,
      ids: subject.ids,
      deviations: known.map(({ id }) => id),
      onProgress: (done, total) => bar.update(done, total),
      stop: () => stopped,
    });
    bar.end();
    if (json) io.out(`${JSON.stringify(conformDocument(report, subject.version, known), null, 2)}\n`);
    else io.out(renderConform(report, subject.version, known));
    if (report.finding !== null || report.ended !== null) return 1;
    return report.accesses < count ? 3 : 0;
  } finally {
    bar.end();
    release();
    await subject.stop();
  }
}

function stageOf(text: string): StageName {
  if (text === 'nested') return text;
  if (text !== '1' && text !== '2') throw new UsageError(`--stage: expected 1, 2 or nested, got ${text}`);
  return text === '1' ? 1 : 2;
}

function acceleratorOf(text: string | undefined): Accelerator | null {
  if (text === undefined || text === 'qtest' || text === 'tcg') return text ?? null;
  throw new UsageError(`--accel: expected qtest or tcg, got ${text}`);
}

async function crash(subject: QemuSubject, json: boolean, io: CliIo): Promise<number> {
  const outcome = await aarch32Stage2(subject);
  const text = 'ended' in outcome ? outcome.ended : outcomeText(outcome);
  const document = { format: 'postern-conform-qemu/1', qemu: subject.version, input: 'STE.S2AA64 = 0', outcome: text };
  io.out(
    json
      ? `${JSON.stringify(document, null, 2)}\n`
      : `${subject.version}\nan STE with stage 2 and S2AA64 = 0 gives: ${text}\n`,
  );
  return 'ended' in outcome ? 1 : 0;
}
