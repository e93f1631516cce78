/** `smmuv3-invalidation` and the array case of `smmuv3-kunit`: what a domain's invalidation sends to the queue. */
import { smmuV3 } from '#host';
import type { Tally } from '../tally.ts';
import { count, hex, list, oneOf, record, type Shape, tagged, text, tuple } from './shape.ts';
import { FEATURE, featuresOf } from './smmu-names.ts';
import { address, hexWords } from './words.ts';

type Key = readonly [type: smmuV3.InvalidationType, id: number, ssid: number];

/** One step over an invalidation array, and the array after it. */
export interface ArrayStep {
  readonly op: 'new' | 'merge' | 'unref' | 'purge';
  readonly entries?: readonly Key[];
  /** Of a purge that had nothing to do. */
  readonly null?: boolean;
  readonly num_invs: number;
  readonly num_trashes: number;
  readonly has_ats: number;
  readonly inv: readonly (readonly number[])[];
  readonly to_unref_users?: readonly number[];
}

export interface DomainInvalidation {
  readonly features: readonly string[];
  readonly invs: readonly { type: string; id: number; ssid: number; pgsize_log2: number; users: number }[];
  readonly iova: string;
  readonly size: string;
  readonly granule: string;
  readonly leaf: number;
  readonly cmds: readonly (readonly string[] | 'SYNC')[];
}

const after = {
  num_invs: count,
  num_trashes: count,
  has_ats: oneOf(0, 1),
  inv: list(tuple([oneOf(0, 1, 2, 3, 4), count, count, count])),
};
const entries = list(tuple([oneOf(0, 1, 2, 3, 4), count, count]));

/** Steps over one array. */
export const ARRAY_STEPS: Shape = list(
  tagged('op', {
    new: record(after),
    merge: record({ ...after, entries }),
    unref: record({ ...after, entries, to_unref_users: list(count) }),
    purge: record(after),
  }),
);

const command: Shape = (value, at) => {
  if (value !== 'SYNC') list(hex, 2)(value, at);
};

export const INVALIDATION: Shape = record({
  domain_inv: list(
    record({
      features: list(FEATURE),
      invs: list(
        record({
          type: oneOf(...Object.keys(smmuV3.InvalidationType)),
          id: count,
          ssid: count,
          pgsize_log2: count,
          users: count,
        }),
      ),
      iova: hex,
      size: hex,
      granule: hex,
      leaf: oneOf(0, 1),
      cmds: list(command),
    }),
  ),
  invs_algebra: list(record({ id: text, steps: ARRAY_STEPS })),
});

/** Compares every step over one array. */
export function checkArray(steps: readonly ArrayStep[], where: string, tally: Tally): void {
  let array = smmuV3.emptyInvalidations();
  steps.forEach((step, i) => {
    tally.begin('steps over invalidation arrays', () => `${where}[${i}], ${step.op}`);
    const keys = step.entries?.map(([type, id, ssid]) => ({ smmu: 0, type, id, ssid, pageShift: 0 })) ?? [];
    if (step.op === 'new') array = smmuV3.emptyInvalidations();
    else if (step.op === 'merge') array = smmuV3.mergeInvalidations(array, keys);
    else if (step.op === 'unref') {
      tally.same('whether users are left', step.to_unref_users, smmuV3.unrefInvalidations(array, keys).map(Number));
    } else {
      const purged = smmuV3.purgeInvalidations(array);
      tally.same('nothing to purge', step.null ?? false, purged === null);
      array = purged ?? array;
    }
    const rows = array.entries.map(({ type, id, ssid, users }) => [type, id, ssid, users]);
    tally.same('entries', step.inv, rows);
    tally.same('number of entries', step.num_invs, rows.length);
    tally.same('entries without users', step.num_trashes, array.trash);
    tally.same('a device with ATS', step.has_ats, Number(array.hasAts));
    tally.end();
  });
}

/** Compares the commands of one invalidation. */
export function checkInvalidation(vector: DomainInvalidation, i: number, tally: Tally): void {
  const { cmds, ...question } = vector;
  const types: Readonly<Record<string, smmuV3.InvalidationType>> = smmuV3.InvalidationType;
  const array: smmuV3.InvalidationArray = {
    entries: vector.invs.map(({ type, id, ssid, pgsize_log2, users }) => {
      return { smmu: 0, type: types[type]!, id, ssid, pageShift: pgsize_log2, users };
    }),
    trash: 0,
    hasAts: false,
  };
  const got: unknown[] = [];
  const range = {
    iova: address(vector.iova),
    size: address(vector.size),
    granule: address(vector.granule),
    leaf: vector.leaf === 1,
  };
  smmuV3.invalidateDomain([featuresOf(vector.features)], array, range, {
    add: (_, words) => void got.push(hexWords(words)),
    sync: () => void got.push('SYNC'),
  });
  const where = () => `domain_inv[${i}], ${JSON.stringify(question)}`;
  tally.check('invalidations of a domain', where, 'commands', cmds, got);
}
