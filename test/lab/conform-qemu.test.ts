import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { CliIo } from '#lab/cli/command';
import { conformCommand } from '#lab/cli/commands/conform';
import { runCommandLine } from '#lab/cli/run';
import { type DeviationId, deviationsOf, parseVersion } from '#lab/conform-qemu/deviations';
import { aarch32Stage2 } from '#lab/conform-qemu/directed';
import { renderConform } from '#lab/conform-qemu/render';
import { conform } from '#lab/conform-qemu/run';
import { QEMU, qemuAccelerators, qemuVersion } from '#lab/io/qemu-process';
import { QemuSubject } from '#lab/io/qemu-subject';

const version = qemuVersion(QEMU);
const why = version === null ? ` (skipped: there is no ${QEMU})` : '';

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
  const code = await runCommandLine({ name: 'postern', version: '0' }, [conformCommand], argv, io);
  return { code, out, err };
}

test('what cannot be compared is refused', async () => {
  expect((await command('conform', 'qemu', '--stage', '3')).code).toBe(2);
  expect((await command('conform', 'qemu', '--accel', 'kvm')).code).toBe(2);
  expect((await command('conform', 'qemu', '--count', '0')).code).toBe(2);
  const missing = await command('conform', 'qemu', '--qemu', '/no/such/qemu');
  expect(missing).toMatchObject({ code: 2, err: expect.stringContaining('expected a QEMU program') });
});

describe.skipIf(version === null)(`against ${version ?? 'QEMU'}${why}`, () => {
  let subject: QemuSubject;
  let known: DeviationId[];
  beforeAll(async () => {
    subject = await QemuSubject.start(QEMU);
    known = deviationsOf(parseVersion(version!)!).map(({ id }) => id);
  });
  afterAll(() => subject.stop());

  test('every access ends as the model says, or as a known deviation predicts', async () => {
    const report = await conform(subject, { count: 600, seed: 1, stage: 1, ids: subject.ids, deviations: known });
    expect(report.finding, renderConform(report, version!, [])).toBeNull();
    expect(report.accesses).toBeGreaterThanOrEqual(600);
    expect(report.translated).toBeGreaterThan(150);
    expect(report.cached).toBeGreaterThan(10);
    expect(report.hits.get('unprivileged-ignored')).toBeGreaterThan(10);
  });

  test.each([2, 'nested'] as const)('stage %s likewise, or the command says that this QEMU has none', async (stage) => {
    if ((subject.ids.idr0 & 1) === 0) {
      const refused = await command('conform', 'qemu', '--stage', String(stage));
      expect(refused).toMatchObject({ code: 2, err: expect.stringContaining('has no stage 2') });
      return;
    }
    const deviations = deviationsOf(parseVersion(version!)!, stage).map(({ id }) => id);
    const report = await conform(subject, { count: 400, seed: 1, stage, ids: subject.ids, deviations });
    expect(report.finding, renderConform(report, version!, [])).toBeNull();
    expect(report.translated).toBeGreaterThan(50);
  });

  test('an accelerator that it lacks is refused in its own words; the one that is taken is one it has', async () => {
    const has = qemuAccelerators(QEMU);
    expect(has).toContain(subject.accelerator);
    const asked = await command('conform', 'qemu', '--accel', 'qtest', '--count', '20');
    if (has.includes('qtest')) expect(asked.code).toBe(0);
    else expect(asked).toMatchObject({ code: 2, err: expect.stringMatching(/expected a QEMU that starts.*qtest/s) });
  });

  test('a deviation that is not listed is found, and its program shrunk', async () => {
    const without = known.filter((id) => id !== 'bad-streamid-always');
    const report = await conform(subject, { count: 600, seed: 1, stage: 1, ids: subject.ids, deviations: without });
    const { program, disagreement } = report.finding!;
    expect(disagreement).toMatchObject({ why: 'the model does not allow it', subject: { ok: false, event: 2 } });
    expect(program.steps.length).toBeLessThanOrEqual(3);
    expect(renderConform(report, version!, [])).toContain('QEMU:        C_BAD_STREAMID');
  });

  test('an entry with an AArch32 stage 2 is answered, or ends QEMU, as its version is known to', async () => {
    const alone = await QemuSubject.start(QEMU);
    const outcome = await aarch32Stage2(alone);
    await alone.stop();
    if ('ended' in outcome) {
      expect(subject.ids.idr0 & 1).toBe(1);
      expect(outcome.ended).toContain('should not be reached');
    } else {
      expect(outcome).toMatchObject({ ok: false, event: 4 });
    }
  });

  test('the command reports each known deviation with its hits', async () => {
    const { code, out } = await command('conform', 'qemu', '--count', '200', '--json');
    expect(code).toBe(0);
    const document = JSON.parse(out);
    expect(document).toMatchObject({ format: 'postern-conform-qemu/1', qemu: version, finding: null });
    expect(document.deviations.map(({ id }: { id: string }) => id)).toEqual(known);
    expect(document.accesses).toBeGreaterThanOrEqual(200);
  });
});
