import { expect, test } from 'vitest';
import { smmuV3 } from '#host';
import { featuresOf, hexWords, num, vectors } from './rig.ts';

type Key = readonly [type: smmuV3.InvalidationType, id: number, ssid: number];
interface Step {
  readonly op: 'new' | 'merge' | 'unref' | 'purge';
  readonly entries?: readonly Key[];
  readonly null?: boolean;
  readonly num_invs: number;
  readonly num_trashes: number;
  readonly has_ats: number;
  readonly inv: readonly (readonly number[])[];
  readonly to_unref_users?: readonly number[];
}

const { domain_inv, invs_algebra } = vectors('invalidation');
const kunit: Step[] = vectors('kunit').invs;

const keyOf = ([type, id, ssid]: Key): smmuV3.InvalidationKey => ({ smmu: 0, type, id, ssid, pageShift: 0 });

/** Plays a sequence; every step must leave the array that the driver had. */
function play(steps: readonly Step[], name: string): void {
  let array = smmuV3.emptyInvalidations();
  steps.forEach((step, i) => {
    const where = `${name}, step ${i}: ${step.op}`;
    const keys = step.entries?.map(keyOf) ?? [];
    const before = JSON.stringify(array);
    const old = array;
    if (step.op === 'new') array = smmuV3.emptyInvalidations();
    else if (step.op === 'merge') array = smmuV3.mergeInvalidations(array, keys);
    else if (step.op === 'unref') {
      const used = smmuV3.unrefInvalidations(array, keys);
      expect(used.map(Number), where).toEqual(step.to_unref_users);
    } else {
      const purged = smmuV3.purgeInvalidations(array);
      expect(purged === null, where).toBe(step.null);
      array = purged ?? array;
    }
    // A reader may still be in the old array.
    if (array !== old) expect(JSON.stringify(old), where).toBe(before);
    const rows = array.entries.map(({ type, id, ssid, users }) => [type, id, ssid, users]);
    expect([rows.length, array.trash, Number(array.hasAts), rows], where).toEqual([
      step.num_invs,
      step.num_trashes,
      step.has_ats,
      step.inv,
    ]);
  });
}

test('KUnit arm_smmu_v3_invs_test', () => {
  expect(kunit).toHaveLength(12);
  play(kunit, 'invs');
});

test('each step of 28 sequences over invalidation arrays leaves the same array', () => {
  expect(invs_algebra).toHaveLength(28);
  expect(invs_algebra.flatMap(({ steps }: { steps: Step[] }) => steps)).toHaveLength(364);
  for (const { id, steps } of invs_algebra) play(steps, id);
});

test('each of 149 invalidations of a domain gives the same commands and syncs', () => {
  expect(domain_inv).toHaveLength(149);
  for (const vector of domain_inv) {
    const array: smmuV3.InvalidationArray = {
      entries: vector.invs.map((inv: { type: smmuV3.InvalidationType } & Record<string, number>) => ({
        smmu: 0,
        type: smmuV3.InvalidationType[inv.type as unknown as keyof typeof smmuV3.InvalidationType],
        id: inv.id,
        ssid: inv.ssid,
        pageShift: inv.pgsize_log2,
        users: inv.users,
      })),
      trash: 0,
      hasAts: false,
    };
    const commands: unknown[] = [];
    smmuV3.invalidateDomain(
      [featuresOf(vector.features)],
      array,
      { iova: num(vector.iova), size: num(vector.size), granule: num(vector.granule), leaf: vector.leaf === 1 },
      {
        add: (_, command) => void commands.push(hexWords(command)),
        sync: () => void commands.push('SYNC'),
      },
    );
    const { cmds, ...question } = vector;
    expect(commands, JSON.stringify(question)).toEqual(cmds);
  }
});

test('a key without users is passed over, and trash is not used again', () => {
  const array = smmuV3.mergeInvalidations(smmuV3.emptyInvalidations(), [keyOf([0, 1, 0]), keyOf([3, 2, 0])]);
  expect(smmuV3.unrefInvalidations(array, [keyOf([0, 1, 0]), keyOf([1, 1, 0])])).toEqual([false, false]);
  expect(smmuV3.unrefInvalidations(array, [keyOf([0, 1, 0])])).toEqual([false]);
  expect([array.entries.map(({ users }) => users), array.trash]).toEqual([[0, 1], 1]);
});

test('each SMMU gets its own commands, and its own sync before the next one begins', () => {
  const keys = [0, 1].flatMap((smmu) => [
    { smmu, type: smmuV3.InvalidationType.S1_ASID, id: 5 + smmu, ssid: 0, pageShift: 12 },
    { smmu, type: smmuV3.InvalidationType.ATS, id: 9, ssid: 0, pageShift: 0 },
  ]);
  const seen: string[] = [];
  smmuV3.invalidateDomain(
    [{ rangeInvalidation: true }, {}],
    smmuV3.mergeInvalidations(smmuV3.emptyInvalidations(), keys),
    { iova: 0x1000, size: 0x2000, granule: 0x1000, leaf: true },
    {
      add: (smmu, command) => void seen.push(`${smmu} ${hexWords(command).join(' ')}`),
      sync: (smmu) => void seen.push(`${smmu} SYNC`),
    },
  );
  expect(seen).toEqual([
    '0 5000000100012 1701',
    '0 SYNC',
    '0 900000040 2',
    '0 SYNC',
    '1 6000000000012 1001',
    '1 6000000000012 2001',
    '1 SYNC',
    '1 900000040 2',
    '1 SYNC',
  ]);
});

test('addresses of the upper half are invalidated where they are', () => {
  const seen: string[][] = [];
  smmuV3.tlbiRange(
    {},
    0x12,
    1,
    0,
    12,
    { iova: -0x2000, size: 0x2000, granule: 0x1000, leaf: true },
    (command) => void seen.push(hexWords(command)),
  );
  const atc = new Int32Array(4);
  smmuV3.buildAtcInvRange(atc, 1, 0, -0x2000, 0x2000);
  expect([...seen, hexWords(atc)]).toEqual([
    ['1000000000012', 'ffffffffffffe001'],
    ['1000000000012', 'fffffffffffff001'],
    ['100000040', 'ffffffffffffe001'],
  ]);
});

test('a device forgets everything when the range is everything', () => {
  const atc = new Int32Array(4);
  smmuV3.buildAtcInvRange(atc, 1, 0, 0, 0);
  expect(hexWords(atc)).toEqual(['100000040', '34']);
  smmuV3.buildAtcInvRange(atc, 1, 0, -0x1000, 0x2000);
  expect(hexWords(atc)).toEqual(['100000040', '34']);
});
