import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { createHypervisor } from '#hyp/plain';
import { examples } from './examples.ts';
import { broken, pages, recorded } from './pages.ts';

const folder = new URL('../../../docs/properties/', import.meta.url);
const STEPS_MAX = 20;

const rendered = pages();
if (process.env.UPDATE === '1') {
  mkdirSync(folder, { recursive: true });
  for (const [name, text] of rendered) writeFileSync(new URL(name, folder), text);
}

test.each([...rendered.keys()])(
  'docs/properties/%s is up to date (UPDATE=1 npx vitest run test/lab/properties/pages.test.ts)',
  (name) => {
    expect(readFileSync(new URL(name, folder), 'utf8')).toBe(rendered.get(name));
  },
);

test('there is no page of anything else', () => {
  expect(readdirSync(folder).sort()).toEqual([...rendered.keys()].sort());
});

test.each(examples)('the examples of $property are short, the good one silent, the bad one is not', (example) => {
  const [good, bad] = [recorded(example, createHypervisor), recorded(example, broken(example))];
  const expected = (steps: typeof good): unknown[] =>
    steps.flatMap((step) => (step.kind === 'expect' ? [step.property] : []));
  for (const steps of [good, bad]) expect(steps.filter(({ kind }) => kind !== 'expect').length).toBeLessThan(STEPS_MAX);
  expect(expected(good)).toEqual([]);
  expect(expected(bad)).toContain(example.property);
});
