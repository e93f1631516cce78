import { expect, test } from 'vitest';
import { DEVIATIONS, type DeviationId, deviationsOf, parseVersion } from '#lab/conform-qemu/deviations';
import { generate } from '#lab/conform-qemu/generate';
import { Predictor } from '#lab/conform-qemu/predict';
import { QEMU_7_2_IDS, Reference } from '#lab/conform-qemu/reference';
import { conform } from '#lab/conform-qemu/run';
import { outcomeKey, type Subject } from '#lab/conform-qemu/types';

/** Runs programs on the model alone and shows each access with what the predictor says. */
function compare(
  programs: number,
  stage: 1 | 2,
  caching: boolean,
  each: (predicted: string, model: string[], where: string) => void,
) {
  const ids = stage === 1 ? QEMU_7_2_IDS : { ...QEMU_7_2_IDS, idr0: 0x0d44101b, idr3: 0x1414 };
  const reference = new Reference(ids);
  const predictor = new Predictor((pa) => reference.read(pa), reference.capabilities, [], caching);
  for (let seed = 1; seed <= programs; seed++) {
    const program = generate(seed, { stage, stage2: ids !== QEMU_7_2_IDS });
    reference.reset(program.setup);
    predictor.reset(program.setup);
    for (const [i, step] of program.steps.entries()) {
      if (step.kind === 'write') reference.write(step.at, step.value);
      else if (step.kind === 'commands') {
        reference.commands(step.commands);
        for (const command of step.commands) predictor.command(command);
      } else {
        const model = reference.possible(step.sid, step.iova, step.write).map(outcomeKey);
        const { outcome, because } = predictor.access(step.sid, step.iova, step.write);
        expect(because).toEqual([]);
        each(outcomeKey(outcome), model, `seed ${seed} step ${i}`);
      }
    }
  }
}

/** Ways in which an access can end. CDs exist only at stage 1. */
const endings = {
  1: ['pa', 0, 2, 4, 9, 0xa, 0xb, 0x10, 0x11, 0x12, 0x13],
  2: ['pa', 0, 2, 4, 0xb, 0x10, 0x11, 0x12, 0x13],
};

test.each([1, 2] as const)(
  'stage %i: without caches and deviations the predictor says what the model says',
  (stage) => {
    const outcomes = new Map<string, number>();
    compare(150, stage, false, (predicted, model, where) => {
      expect(predicted, where).toBe(model[0]);
      const kind = predicted.startsWith('pa') ? 'pa' : predicted;
      outcomes.set(kind, (outcomes.get(kind) ?? 0) + 1);
    });
    for (const event of endings[stage]) {
      const kind = event === 'pa' ? 'pa' : `event ${event}`;
      expect(outcomes.get(kind) ?? 0, kind).toBeGreaterThan(3);
    }
  },
);

test.each([1, 2] as const)(
  'stage %i: what a plain cache holds is among what the model allows, and is often not what the tables say',
  (stage) => {
    let stale = 0;
    compare(150, stage, true, (predicted, model, where) => {
      expect(model, where).toContain(predicted);
      if (predicted !== model[0]) stale++;
    });
    expect(stale).toBeGreaterThan(50);
  },
);

/** An SMMU with plain caches and these deviations, in the place of QEMU. */
function standIn(deviations: DeviationId[]): Subject {
  const reference = new Reference(QEMU_7_2_IDS);
  const predictor = new Predictor((pa) => reference.read(pa), reference.capabilities, deviations);
  return {
    version: 'stand-in',
    async reset(setup) {
      reference.reset(setup);
      predictor.reset(setup);
    },
    async write(at, value) {
      reference.write(at, value);
    },
    async commands(commands) {
      reference.commands(commands);
      for (const command of commands) predictor.command(command);
    },
    async dma(sid, iova, write) {
      return predictor.access(sid, iova, write).outcome;
    },
  };
}

test('a run tells apart agreement, a deviation, one that is not listed, and one that does not happen', async () => {
  const run = (really: DeviationId[], listed: DeviationId[]) =>
    conform(standIn(really), { count: 1500, seed: 1, stage: 1, ids: QEMU_7_2_IDS, deviations: listed });
  const clean = await run([], []);
  expect([clean.finding, clean.hits.size]).toEqual([null, 0]);
  expect(clean.cached).toBeGreaterThan(20);
  const known = await run(['access-flag-ignored'], ['access-flag-ignored']);
  expect([known.finding, [...known.hits.keys()]]).toEqual([null, ['access-flag-ignored']]);
  const unlisted = (await run(['access-flag-ignored'], [])).finding!;
  expect(unlisted.disagreement).toMatchObject({ why: 'the model does not allow it', subject: { ok: true } });
  const idle = (await run([], ['access-flag-ignored'])).finding!;
  expect(idle.disagreement).toMatchObject({ why: 'a listed deviation did not happen', predicted: { ok: true } });
  for (const { program } of [unlisted, idle]) expect(program.steps.length).toBeLessThan(12);
});

test('deviations belong to versions', () => {
  expect(parseVersion('QEMU emulator version 7.2.22 (Debian 1:7.2)')).toEqual([7, 2, 22]);
  expect(parseVersion('nothing')).toBeNull();
  const ids = (version: [number, number, number]) => deviationsOf(version).map(({ id }) => id);
  expect(ids([7, 2, 22])).toContain('access-flag-ignored');
  expect(ids([10, 0, 2])).not.toContain('access-flag-ignored');
  expect(ids([10, 0, 2])).toContain('output-size-late');
  expect(new Set(DEVIATIONS.map(({ id }) => id)).size).toBe(DEVIATIONS.length);
});
