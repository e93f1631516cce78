/** The published JSON Schema of scenarios: up to date, and neither too narrow nor too wide. */
import { readFileSync, writeFileSync } from 'node:fs';
import { resolve } from 'node:path';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { type Scenario, scenarioSchema } from '../../lab/scenario/index.ts';
import { anyScenario } from './scenario-arbitrary.ts';

const published = resolve(import.meta.dirname, '../../docs/scenario.schema.json');

interface Validate {
  (data: unknown): boolean;
  readonly errors?: unknown;
}

/** A validator of draft 2020-12 that complains about whatever is odd in the schema; null before `npm ci` has brought it. */
async function validator(): Promise<Validate | null> {
  const name = 'ajv/dist/2020.js';
  const loaded = (await import(/* @vite-ignore */ name).catch(() => null)) as {
    readonly Ajv2020: new (options: object) => { compile(schema: object): Validate };
  } | null;
  return loaded === null ? null : new loaded.Ajv2020({ strict: true, strictRequired: true }).compile(scenarioSchema);
}
const validate = await validator();

test('the published schema is the one of this version', () => {
  const text = `${JSON.stringify(scenarioSchema, null, 2)}\n`;
  if (process.env.UPDATE === '1') writeFileSync(published, text);
  expect(readFileSync(published, 'utf8'), 'UPDATE=1 writes it').toBe(text);
});

test.skipIf(validate === null)('every scenario fits the schema', () => {
  fc.assert(
    fc.property(anyScenario, (scenario) => {
      expect(validate!(scenario), JSON.stringify(validate!.errors)).toBe(true);
    }),
    { numRuns: 300 },
  );
});

const scenario = (step: object): object => ({
  profile: 'android17',
  machine: 'tiny',
  hypervisor: 'postern',
  steps: [step],
});
const call = { kind: 'call', cpu: 0, call: 'free_domain', args: { domain: { name: 'd1' } } };

test.skipIf(validate === null).each([
  ['a step that is none', { kind: 'fly' }],
  ['an unknown call', { ...call, call: 'frobnicate' }],
  ['an unknown field', { ...call, cpus: 1 }],
  ['a missing CPU', { kind: 'call', call: 'free_domain', args: {} }],
  ['an expectation of another step', { ...call, expect: { reaches: 0 } }],
  ['a positive errno', { ...call, expect: { errno: 22 } }],
  ['an argument that is text', { ...call, args: { domain: 'd1' } }],
  ['a width that no access has', { kind: 'read', cpu: 0, at: 0, width: 3 }],
  ['half a pause', { kind: 'run', cpu: 0, yields: 0.5 }],
  ['a PASID of 21 bits', { kind: 'dma', device: 'gpu', access: 'read', iova: 0, pasid: 2 ** 20 }],
])('%s does not fit', (_, step) => {
  expect(validate!(scenario(call))).toBe(true);
  expect(validate!(scenario(step))).toBe(false);
});

test('a type of this module is what the schema speaks of', () => {
  const required: readonly (keyof Scenario)[] = ['profile', 'machine', 'hypervisor', 'steps'];
  expect(scenarioSchema.required).toEqual(required);
});
