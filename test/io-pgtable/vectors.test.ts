import { expect, test } from 'vitest';
import { configurePageTable } from '#io-pgtable/plain';
import { readConfigCases, readSequences } from './vector-file.ts';
import { configFrom, configOut, replay } from './vector-runner.ts';

const ROOT = '80000000';

/** How many sequences each file has. */
const SEQUENCES = {
  'linux-7.2-directed': 77,
  'linux-7.2-kunit-matrix': 126,
  'linux-7.2-long-0': 24,
  'linux-7.2-random-0': 40,
  'linux-7.2-random-1': 40,
  'linux-7.2-random-2': 40,
  'linux-6.12-directed': 75,
  'linux-6.12-kunit-matrix': 126,
  'linux-6.12-long-0': 8,
  'linux-6.12-random-0': 40,
  'linux-6.12-random-1': 20,
};

const CONFIGURATIONS = {
  'linux-7.2-configs': { accepted: 3944, refused: 1312 },
  'linux-6.12-configs': { accepted: 4028, refused: 1228 },
};

test.each(Object.entries(SEQUENCES))('every sequence of %s replays without a difference', (file, count) => {
  const { profile, sequences } = readSequences(file);
  expect(sequences.flatMap((sequence) => replay(sequence, profile)).slice(0, 10)).toEqual([]);
  expect(sequences.length).toBe(count);
});

test.each(Object.entries(CONFIGURATIONS))(
  'every configuration of %s gives the same layout or is refused',
  (file, count) => {
    const { profile, cases } = readConfigCases(file);
    const differences: string[] = [];
    let accepted = 0;
    let refused = 0;
    for (const { out, ...config } of cases) {
      const layout = configurePageTable(configFrom(config, profile));
      const got = typeof layout === 'number' ? null : configOut(layout, ROOT);
      if (JSON.stringify(got) !== JSON.stringify(out)) {
        differences.push(`${JSON.stringify(config)}: ${JSON.stringify(got)} instead of ${JSON.stringify(out)}`);
      }
      if (out === null) refused++;
      else accepted++;
    }
    expect(differences.slice(0, 10)).toEqual([]);
    expect({ accepted, refused }).toEqual(count);
  },
);
