import { expect, test } from 'vitest';
import { configurePageTable } from '#io-pgtable/plain';
import { readConfigCases, readSequences } from './vector-file.ts';
import { configFrom, configOut, isSupported, replay } from './vector-runner.ts';

const FILES = ['directed', 'kunit-matrix', 'long-0', 'random-0', 'random-1', 'random-2'];
const ROOT = '80000000';

test('every sequence of Linux 7.2 in the supported subset replays without a difference', () => {
  const differences: string[] = [];
  let replayed = 0;
  let granule4k = 0;
  for (const file of FILES) {
    for (const sequence of readSequences(`linux-7.2-${file}`)) {
      const hasDirty = sequence.ops.some((op) => op.o === 'hwdirty' || op.o === 'dirty');
      if (!isSupported(sequence.cfg) || hasDirty) continue;
      replayed++;
      if (Number.parseInt(sequence.cfg_out.pgsize_bitmap, 16) & 0x1000) granule4k++;
      differences.push(...replay(sequence));
    }
  }
  expect(differences.slice(0, 10)).toEqual([]);
  expect(granule4k).toBe(131);
  expect(replayed).toBe(271);
});

test('every configuration of Linux 7.2 in the supported subset gives the same layout and registers, or is refused', () => {
  const differences: string[] = [];
  let accepted = 0;
  let refused = 0;
  for (const { out, ...config } of readConfigCases('linux-7.2-configs')) {
    if (!isSupported(config)) continue;
    const layout = configurePageTable(configFrom(config));
    const got = typeof layout === 'number' ? null : configOut(layout, ROOT);
    if (JSON.stringify(got) !== JSON.stringify(out)) {
      differences.push(`${JSON.stringify(config)}: ${JSON.stringify(got)} instead of ${JSON.stringify(out)}`);
    }
    if (out === null) refused++;
    else accepted++;
  }
  expect(differences.slice(0, 10)).toEqual([]);
  expect({ accepted, refused }).toEqual({ accepted: 1936, refused: 620 });
});
