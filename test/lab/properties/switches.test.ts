/** Each property is reported when it is on, and is not when it is off. */

import { expect, test } from 'vitest';
import { createHypervisor } from '#hyp/plain';
import { PROPERTY_NAMES, type Property } from '#lab/oracle/index';
import { parseScenario, runScenario, type ScenarioReport } from '#lab/scenario/index';
import type { HypervisorFactory } from '#lab/session/session';
import { buildHypervisor } from '#lab/zoo/loader';
import { examples, type PropertyExample, textOf } from './examples.ts';

function run(
  example: PropertyExample,
  hypervisor: HypervisorFactory,
  properties?: readonly Property[],
): ScenarioReport {
  const judged = { ...(properties !== undefined && { properties }), ...(example.twin && { twin: true }) };
  return runScenario(parseScenario(textOf(example), 'example'), { ...judged, hypervisors: () => hypervisor });
}

function found({ violations }: ScenarioReport): string[] {
  return [...new Set(violations.map(({ property }) => property))];
}

const edited = ({ property, edit }: PropertyExample): HypervisorFactory =>
  buildHypervisor([{ id: property, edits: [edit] }]).createHypervisor;

test('there is an example of every property', () => {
  expect(examples.map(({ property }) => property)).toEqual(PROPERTY_NAMES);
});

test.each(examples)('$property: kept by the hypervisor as it is', (example) => {
  expect(run(example, createHypervisor).violations).toEqual([]);
});

test.each(examples)('$property: reported alone when it alone is on', (example) => {
  expect(found(run(example, edited(example), [example.property]))).toEqual([example.property]);
});

test.each(examples)('$property: not reported when it is off', (example) => {
  const others = PROPERTY_NAMES.filter((name) => name !== example.property);
  expect(found(run(example, edited(example)))).toContain(example.property);
  expect(found(run(example, edited(example), others))).not.toContain(example.property);
});
