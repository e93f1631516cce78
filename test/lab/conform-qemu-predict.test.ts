import { expect, test } from 'vitest';
import { DEVIATIONS, type DeviationId, deviationsOf, parseVersion } from '#lab/conform-qemu/deviations';
import { generate } from '#lab/conform-qemu/generate';
import { Judge } from '#lab/conform-qemu/judge';
import { SIDS, STRTAB, TABLES } from '#lab/conform-qemu/layout';
import { Predictor } from '#lab/conform-qemu/predict';
import { QEMU_7_2_IDS, Reference } from '#lab/conform-qemu/reference';
import { conform } from '#lab/conform-qemu/run';
import { outcomeKey, type StageName, type Subject } from '#lab/conform-qemu/types';

/** The registers of QEMU 10.0 and 11.1: both stages. */
const QEMU_10_IDS = { ...QEMU_7_2_IDS, idr0: 0x0d44101b, idr3: 0x1414 };

/** Programs of each kind that a test runs: those of both stages take longer, and have more in them. */
const PROGRAMS = { 1: 150, 2: 150, nested: 60 };

/** Runs programs on the model alone and shows each access with what the predictor says. */
function compare(
  stage: StageName,
  caching: boolean,
  each: (predicted: string, model: string[], where: string) => void,
) {
  const ids = stage === 1 ? QEMU_7_2_IDS : QEMU_10_IDS;
  const reference = new Reference(ids);
  const predictor = new Predictor((pa) => reference.read(pa), reference.capabilities, [], caching);
  for (let seed = 1; seed <= PROGRAMS[stage]; seed++) {
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
  nested: ['pa', 0, 2, 4, 9, 0xa, 0xb, 0x10, 0x11, 0x12, 0x13],
};

test.each([1, 2, 'nested'] as const)(
  'stage %s: without caches and deviations the predictor says what the model says',
  (stage) => {
    const outcomes = new Map<string, number>();
    compare(stage, false, (predicted, model, where) => {
      expect(predicted, where).toBe(model[0]);
      const kind = predicted.startsWith('pa') ? 'pa' : predicted.split(' ', 2).join(' ');
      outcomes.set(kind, (outcomes.get(kind) ?? 0) + 1);
    });
    for (const event of endings[stage]) {
      const kind = event === 'pa' ? 'pa' : `event ${event}`;
      expect(outcomes.get(kind) ?? 0, kind).toBeGreaterThan(3);
    }
  },
);

test.each([1, 2, 'nested'] as const)(
  'stage %s: what a plain cache holds is among what the model allows, and is often not what the tables say',
  (stage) => {
    let stale = 0;
    compare(stage, true, (predicted, model, where) => {
      expect(model, where).toContain(predicted);
      if (predicted !== model[0]) stale++;
    });
    expect(stale).toBeGreaterThan(stage === 'nested' ? 30 : 50);
  },
);

/** An SMMU with plain caches and these deviations, in the place of QEMU. */
function standIn(deviations: readonly DeviationId[], ids = QEMU_7_2_IDS): Subject {
  const reference = new Reference(ids);
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

test('nested: a run knows a listed deviation, and finds and shrinks one that is not listed', async () => {
  const run = (really: DeviationId[], listed: DeviationId[], count: number) =>
    conform(standIn(really, QEMU_10_IDS), { count, seed: 1, stage: 'nested', ids: QEMU_10_IDS, deviations: listed });
  const known = await run(['s2ptw-ignored'], ['s2ptw-ignored'], 600);
  expect([known.finding, [...known.hits.keys()]]).toEqual([null, ['s2ptw-ignored']]);
  expect(known.translated).toBeGreaterThan(60);
  const { program, disagreement } = (await run(['s2ptw-ignored'], [], 600)).finding!;
  expect(disagreement.why).toBe('the model does not allow it');
  expect(disagreement.model[0]).toMatchObject({ ok: false });
  expect(program.steps.length).toBeLessThan(25);
});

/** Each deviation of nested translation that is met often, and what it needs beside it. */
const nestedDeviations: [DeviationId, DeviationId[]][] = [
  ['ttb-early', []],
  ['root-kept', ['ttb-early']],
  ['decode-reads', []],
  ['table-base', []],
  ['table-fault-stage1', []],
  ['s2ptw-ignored', []],
  ['ttrnw-missing', []],
  ['s2-start-early', []],
  ['ipa-offset', []],
];

test.each(nestedDeviations)(
  'nested: %s is met by programs, and is a disagreement where it is not listed',
  async (id, also) => {
    const subject = standIn([id, ...also], QEMU_10_IDS);
    const known = new Judge(subject, QEMU_10_IDS, [id, ...also]);
    const unlisted = new Judge(subject, QEMU_10_IDS, also);
    for (let seed = 1; ; seed++) {
      expect(seed, 'programs without it').toBeLessThan(60);
      const program = generate(seed, { stage: 'nested', stage2: true });
      const judged = await known.run(program);
      expect(judged.disagreement, `seed ${seed}`).toBeNull();
      if (!judged.hits.has(id)) continue;
      expect((await unlisted.run(program)).disagreement, `seed ${seed}`).not.toBeNull();
      return;
    }
  },
);

test('both stages: whole records are compared, down to the class and the IPA', () => {
  const reference = new Reference(QEMU_10_IDS);
  const silentTables = { strtabBase: STRTAB, strtabBaseCfg: 8, cr2: 0 };
  reference.reset(silentTables);
  const predictor = new Predictor(
    (pa) => reference.read(pa),
    reference.capabilities,
    deviationIds([10, 0, 2], 'nested'),
  );
  predictor.reset(silentTables);
  // A nested stream without any stage-2 table: the CD is the first that is asked for.
  const [sid, cd] = [SIDS[0]!, 0x1234_5640];
  reference.write(STRTAB + 64 * sid, { hi: 0, lo: cd | 0xf });
  reference.write(STRTAB + 64 * sid + 16, { hi: 25 | (1 << 6) | (5 << 16) | (1 << 19) | (1 << 26), lo: 1 });
  reference.write(STRTAB + 64 * sid + 24, { hi: 0, lo: TABLES });
  const { outcome } = predictor.access(sid, 0x5004, true);
  const [model] = reference.possible(sid, 0x5004, true);
  // F_TRANSLATION of stage 2, CLASS CD; QEMU adds RnW and the offset of the IPA.
  expect(model).toEqual({ ok: false, event: 0x10, record: [0x10, sid, 0, 0x80, 0x5004, 0, 0x1234_5000, 0] });
  expect(outcome).toEqual({ ok: false, event: 0x10, record: [0x10, sid, 0, 0x88, 0x5004, 0, cd, 0] });
});

const deviationIds = (version: [number, number, number], stage: StageName) =>
  deviationsOf(version, stage).map(({ id }) => id);

test('deviations belong to versions', () => {
  expect(parseVersion('QEMU emulator version 7.2.22 (Debian 1:7.2)')).toEqual([7, 2, 22]);
  expect(parseVersion('nothing')).toBeNull();
  const ids = (version: [number, number, number]) => deviationsOf(version).map(({ id }) => id);
  expect(ids([7, 2, 22])).toContain('access-flag-ignored');
  expect(ids([10, 0, 2])).not.toContain('access-flag-ignored');
  expect(ids([10, 0, 2])).toContain('output-size-late');
  expect(deviationIds([10, 0, 2], 2)).not.toContain('root-kept');
  expect(deviationIds([10, 0, 2], 'nested')).toEqual(deviationIds([11, 1, 3], 'nested'));
  expect(deviationIds([10, 0, 2], 'nested')).toContain('root-kept');
  expect(deviationIds([7, 2, 22], 1)).toContain('upper-for-lower');
  expect(deviationIds([10, 0, 2], 1)).not.toContain('class-zero');
  expect(new Set(DEVIATIONS.map(({ id }) => id)).size).toBe(DEVIATIONS.length);
});
