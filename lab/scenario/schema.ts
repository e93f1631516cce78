/** The data form of a scenario as a JSON Schema (draft 2020-12): published as docs/scenario.schema.json. */
import { guestCalls, profileNames, profiles } from '#hypercall-abi';
import { SCENARIO_VERSION } from './types.ts';

type Schema = Readonly<Record<string, unknown>>;

const ref = (name: string): Schema => ({ $ref: `#/$defs/${name}` });
const whole = (minimum: number, maximum?: number): Schema => ({
  type: 'integer',
  minimum,
  ...(maximum !== undefined && { maximum }),
});
const cpu = whole(0, 9999);

/** An object with just these fields. */
function object(required: Readonly<Record<string, Schema>>, optional: Readonly<Record<string, Schema>> = {}): Schema {
  return {
    type: 'object',
    properties: { ...required, ...optional },
    required: Object.keys(required),
    additionalProperties: false,
  };
}

function step(
  kind: string,
  description: string,
  required: Readonly<Record<string, Schema>>,
  optional: Readonly<Record<string, Schema>> = {},
): Schema {
  return { description, ...object({ kind: { const: kind }, ...required }, optional) };
}

/** Names of the calls of every profile. */
function callNames(): string[] {
  return [...new Set(profiles.flatMap((profile) => profile.calls.map(({ name }): string => name)))].sort();
}

const args: Schema = { type: 'object', additionalProperties: ref('value') };
const registers: Schema = { type: 'array', items: ref('value'), minItems: 1, maxItems: 8 };
const yields = whole(0, 999_999);

const definitions: Readonly<Record<string, Schema>> = {
  value: {
    description:
      'A number; one of 2^53 and more in hexadecimal; a page of the host; or a name that the argument explains',
    oneOf: [
      { type: 'integer' },
      object({ big: { type: 'string', pattern: '^0x[0-9a-f]{1,16}$' } }),
      object(
        { page: { type: 'string', minLength: 1 } },
        { run: whole(2, 2 ** 18), offset: whole(1), byte: whole(1, 4095) },
      ),
      object({ name: { type: 'string', minLength: 1 } }),
    ],
  },
  pool: { enum: ['heap', 'iommu'] },
  request: object({ pool: ref('pool'), pages: whole(0) }),
  callExpectation: object(
    {},
    {
      errno: { type: 'integer', maximum: 0 },
      value: ref('value'),
      handle: { const: true },
      unsupported: { const: true },
      request: ref('request'),
    },
  ),
  guestExpectation: object(
    {},
    {
      status: { type: 'integer', maximum: 0 },
      again: { const: true },
      value: ref('value'),
      domain: { const: true },
      token: { type: 'array', items: ref('value'), minItems: 2, maxItems: 2 },
      request: { oneOf: [ref('request'), object({ ipa: ref('value'), bytes: ref('value') })] },
    },
  ),
  access: { enum: ['ok', 'abort', 'bus error'] },
  dmaExpectation: {
    oneOf: [
      { const: 'abort' },
      object({ reaches: ref('value') }),
      object({ fault: { type: 'string', pattern: '^[A-Z][A-Z0-9_]*$' } }),
    ],
  },
  step: {
    oneOf: [
      step(
        'call',
        'A hypercall, with every argument by name',
        { cpu, call: { enum: callNames() }, args },
        { bind: { type: 'string' }, yields, expect: ref('callExpectation') },
      ),
      step(
        'hvc',
        'A crossing with registers as they are',
        { cpu, registers },
        { yields, expect: ref('callExpectation') },
      ),
      step(
        'guest',
        'A call of the guest whose vCPU is loaded on that CPU',
        { cpu, call: { enum: guestCalls.map(({ name }) => name) }, args },
        { bind: { type: 'string' }, yields, expect: ref('guestExpectation') },
      ),
      step(
        'guestHvc',
        'A crossing of the guest with registers as they are',
        { cpu, registers },
        { yields, expect: ref('guestExpectation') },
      ),
      step(
        'write',
        'The host writes 32 bits, or as many as width says',
        { cpu, at: ref('value'), value: ref('value') },
        { width: { enum: [1, 2, 8] }, expect: ref('access') },
      ),
      step(
        'read',
        'The host reads 32 bits, or as many as width says',
        { cpu, at: ref('value') },
        {
          width: { enum: [1, 2, 8] },
          expect: { oneOf: [ref('value'), { enum: ['abort', 'bus error'] }] },
        },
      ),
      step(
        'topup',
        'The host gives chunks of 2^order fresh pages to a pool',
        { cpu, pool: ref('pool'), chunks: whole(1), order: whole(0) },
        { expect: ref('callExpectation') },
      ),
      step(
        'describe',
        'The host writes the description of a VM',
        { cpu, at: ref('value'), vm: ref('value'), isProtected: ref('value'), vcpus: ref('value') },
        { expect: ref('access') },
      ),
      step(
        'dma',
        'A device reads or writes 32 bits',
        { device: { type: 'string', minLength: 1 }, access: { enum: ['read', 'write'] }, iova: ref('value') },
        {
          value: ref('value'),
          pasid: whole(0, 2 ** 20 - 1),
          cached: { const: true },
          expect: ref('dmaExpectation'),
        },
      ),
      step('smmu', 'An SMMU stops answering, or goes on', {
        smmu: { type: 'string', minLength: 1 },
        answers: { type: 'boolean' },
      }),
      step('run', 'The call in progress runs so many pauses further, or to its end', {
        cpu,
        yields: { oneOf: [yields, { const: 'end' }] },
      }),
      step('drain', 'A store that waits becomes visible', { cpu }, { store: whole(1) }),
      step(
        'expect',
        'The step before violates that property',
        { property: { type: 'string', minLength: 1 } },
        { text: { type: 'string', minLength: 1 } },
      ),
    ],
  },
};

/** The schema of {@link Scenario}. */
export const scenarioSchema: Schema = {
  $schema: 'https://json-schema.org/draft/2020-12/schema',
  title: `Postern scenario, version ${SCENARIO_VERSION}`,
  description: 'What was done to a machine, step by step, and what should come of it: docs/scenarios.md',
  ...object(
    {
      profile: { enum: [...profileNames] },
      machine: { type: 'string', minLength: 1 },
      hypervisor: { type: 'string', minLength: 1 },
      steps: { type: 'array', items: ref('step') },
    },
    { title: { type: 'string', minLength: 1 } },
  ),
  $defs: definitions,
};
