/**
 * `postern soak`: millions of random hypercalls with all oracles, in runs from boot. Each run ends with everything
 * decoded anew: no lock is held, and every page of the hypervisor is free in a pool or holds something in use. What was
 * done is kept in a file, so that a soak can be interrupted and goes on where it was.
 */
import { existsSync } from 'node:fs';
import { performance } from 'node:perf_hooks';
import { createHypervisor, identity } from '#hyp/plain';
import type { Profile } from '#hypercall-abi';
import type { MachineDescription } from '#machine';
import { InputError } from '../../input-error.ts';
import { readMachine } from '../../io/machine.ts';
import { progressBar } from '../../io/progress.ts';
import { readText } from '../../io/read-text.ts';
import { replaceText } from '../../io/write-text.ts';
import type { SometimesCount } from '../../oracle/index.ts';
import { type Finding, type FindOptions, searchViolation } from '../../random/find.ts';
import { printScenario } from '../../scenario/index.ts';
import { type Command, flagArg, numberArg, textArg } from '../command.ts';
import { profileArg, profileOption } from '../profile-arg.ts';
import { propertiesArg, propertyOptions } from '../property-args.ts';
import { breathe } from './breathe.ts';

const SCHEMA = 'postern/soak/0';
const DEFAULT_CALLS = 10_000_000;
/** Longest run, and calls between two full checks within a run. */
const MAX_STEPS = 400;
const FULL_EVERY = 256;
/** How often the file is written, in milliseconds. */
const SAVE_EVERY = 10_000;

/** What was done so far; what is in the file. */
interface SoakRecord {
  readonly schema: typeof SCHEMA;
  readonly hypervisor: string;
  readonly profile: string;
  readonly machine: string;
  readonly seed: number;
  readonly maxSteps: number;
  readonly fullEvery: number;
  /** Whether each step was made on two machines. */
  readonly twin?: true;
  /** The properties that were reported, if not all of them. */
  readonly properties?: string;
  readonly runs: number;
  readonly steps: number;
  readonly calls: number;
  readonly milliseconds: number;
  /** Runs that ended with every lock free and every page accounted for: all of them, unless something was found. */
  readonly runsAccounted: number;
  /** How often each state was reached in which a run should have been (lab/oracle/sometimes.ts). */
  readonly sometimes?: Readonly<Record<string, number>>;
  readonly found: { readonly run: number; readonly text: string; readonly scenario: string } | null;
}

export const soakCommand: Command = {
  name: 'soak',
  describe: 'Make millions of random hypercalls with all oracles; can be interrupted, and goes on',
  options: [
    profileOption,
    { flags: '--machine <name>', describe: 'Preset, or a JSON file that describes a machine', default: 'tiny' },
    { flags: '--calls <n>', describe: 'Hypercalls in all', default: DEFAULT_CALLS },
    { flags: '--seed <n>', describe: 'Seed of the random steps', default: 1 },
    { flags: '--state <file>', describe: 'Where what was done is kept; an existing file is gone on with' },
    ...propertyOptions,
    {
      flags: '--twin',
      describe: 'Make each step on a second machine, too, which differs in what the host must not know',
    },
    { flags: '--json', describe: 'Print one JSON document' },
  ],
  examples: ['postern soak --profile android17 --calls 10000000 --seed 1 --state soak.json'],
  async run(args, io) {
    const profile = profileArg(args);
    const machine = await readMachine(textArg(args, 'machine')!);
    const calls = numberArg(args, 'calls')!;
    const state = textArg(args, 'state');
    const properties = propertiesArg(args);
    const fresh: SoakRecord = {
      ...freshRecord(profile, machine, numberArg(args, 'seed')!),
      ...(flagArg(args, 'twin') && { twin: true }),
      ...(properties !== undefined && { properties: properties.join() }),
    };
    const start = await open(state, fresh);
    let stopped = false;
    const release = io.onInterrupt(() => {
      stopped = true;
    });
    const progress = progressBar(io, `soak ${profile.name}`, !flagArg(args, 'json'));
    const save = async (record: SoakRecord): Promise<void> => {
      if (state !== undefined) await replaceText(state, `${JSON.stringify(record, null, 2)}\n`);
    };
    // Better to hear now than after hours that it cannot be kept.
    await save(start);
    const judged = { twin: flagArg(args, 'twin'), ...(properties !== undefined && { properties }) };
    const record = await soak(start, { ...judged, profile, machine }, calls, save, (done) => {
      progress.update(done, calls);
      return stopped;
    });
    release();
    progress.end();
    await save(record);
    io.out(flagArg(args, 'json') ? `${JSON.stringify(record, null, 2)}\n` : rendered(record, calls));
    return record.found === null ? 0 : 1;
  },
};

function freshRecord(profile: Profile, machine: MachineDescription, seed: number): SoakRecord {
  return {
    schema: SCHEMA,
    hypervisor: identity,
    profile: profile.name,
    machine: machine.name,
    seed,
    maxSteps: MAX_STEPS,
    fullEvery: FULL_EVERY,
    runs: 0,
    steps: 0,
    calls: 0,
    milliseconds: 0,
    runsAccounted: 0,
    found: null,
  };
}

/** What must be the same in a file that is gone on with. */
const FIXED = [
  'schema',
  'hypervisor',
  'profile',
  'machine',
  'seed',
  'maxSteps',
  'fullEvery',
  'twin',
  'properties',
] as const;

async function open(path: string | undefined, fresh: SoakRecord): Promise<SoakRecord> {
  if (path === undefined || !existsSync(path)) return fresh;
  let known: Partial<SoakRecord> | null;
  try {
    known = JSON.parse(await readText(path)) as Partial<SoakRecord> | null;
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    throw new InputError({ file: path, expected: 'the JSON of an earlier soak', got: error.message });
  }
  for (const field of FIXED) {
    if (known?.[field] === fresh[field]) continue;
    const got = JSON.stringify(known?.[field]) ?? 'nothing';
    throw new InputError({
      file: path,
      field,
      expected: `${fresh[field] ?? 'nothing'}, as asked for (or another file)`,
      got,
    });
  }
  for (const field of ['runs', 'steps', 'calls', 'milliseconds', 'runsAccounted'] as const) {
    const value = known?.[field];
    if (isCount(value)) continue;
    throw new InputError({ file: path, field, expected: 'a count', got: JSON.stringify(value) ?? 'nothing' });
  }
  for (const [name, value] of Object.entries(known?.sometimes ?? {})) {
    if (isCount(value)) continue;
    throw new InputError({ file: path, field: `sometimes.${name}`, expected: 'a count', got: JSON.stringify(value) });
  }
  if (!isFound(known?.found)) {
    const expected = 'null, or what was found: run, text and scenario';
    throw new InputError({ file: path, field: 'found', expected, got: JSON.stringify(known?.found) ?? 'nothing' });
  }
  return known as SoakRecord;
}

const isCount = (value: unknown): boolean => Number.isSafeInteger(value) && (value as number) >= 0;

function isFound(value: SoakRecord['found'] | undefined): boolean {
  if (value === null) return true;
  return isCount(value?.run) && typeof value?.text === 'string' && typeof value.scenario === 'string';
}

/** Go on until `calls` are made, something is found, or `stop` says so. */
async function soak(
  start: SoakRecord,
  judged: Pick<FindOptions, 'profile' | 'machine' | 'properties' | 'twin'>,
  calls: number,
  save: (record: SoakRecord) => Promise<void>,
  stop: (calls: number) => boolean,
): Promise<SoakRecord> {
  if (start.found !== null || start.calls >= calls) return start;
  const began = performance.now();
  let saved = began;
  const search = searchViolation({
    ...judged,
    hypervisor: createHypervisor,
    identity,
    seed: start.seed,
    maxSteps: MAX_STEPS,
    full: FULL_EVERY,
    firstRun: start.runs,
    maxCalls: calls - start.calls,
  });
  for (;;) {
    const { done, value } = search.next();
    const found = 'found' in value ? value.found : null;
    const record: SoakRecord = {
      ...start,
      runs: start.runs + value.runs,
      steps: start.steps + value.steps,
      calls: start.calls + value.calls,
      milliseconds: Math.round(start.milliseconds + performance.now() - began),
      runsAccounted: start.runsAccounted + value.runs - (found === null ? 0 : 1),
      sometimes: added(start.sometimes, value.sometimes),
      found: found === null ? null : describe(found),
    };
    if (done || stop(record.calls)) return record;
    if (performance.now() - saved > SAVE_EVERY) {
      saved = performance.now();
      await save(record);
    }
    await breathe();
  }
}

/** The counts of earlier parts of a soak and of this one. */
function added(before: SoakRecord['sometimes'], counts: readonly SometimesCount[]): Record<string, number> {
  return Object.fromEntries(counts.map(({ name, hits }) => [name, (before?.[name] ?? 0) + hits]));
}

function describe({ run, violation, scenario }: Finding): NonNullable<SoakRecord['found']> {
  return {
    run,
    text: `${violation.property}/${violation.rule}: ${violation.text}`,
    scenario: printScenario(scenario),
  };
}

/** How many of the interesting states were reached, and which never. */
function reached({ sometimes = {} }: SoakRecord): string[] {
  const names = Object.keys(sometimes);
  const never = names.filter((name) => sometimes[name] === 0);
  if (names.length === 0) return [];
  const which = never.length === 0 ? '' : `; never: ${never.join(', ')}`;
  return [`  states reached    ${names.length - never.length} of ${names.length}${which}`];
}

function rendered(record: SoakRecord, calls: number): string {
  const { found } = record;
  const count = (n: number): string => n.toLocaleString('en-US');
  const lines = [
    `${record.profile} on ${record.machine}, seed ${record.seed}`,
    `  hypercalls        ${count(record.calls)} of ${count(calls)}`,
    `  runs from boot    ${count(record.runs)}, ${count(record.steps)} steps`,
    `  violations        ${found === null ? 'none' : found.text}`,
    ...reached(record),
    `  locks and pages   balanced and accounted for after ${count(record.runsAccounted)} of ${count(record.runs)} runs`,
    `  time              ${(record.milliseconds / 1000).toFixed(0)} s, ${count(Math.round((1000 * record.calls) / Math.max(1, record.milliseconds)))} calls/s`,
  ];
  return `${lines.join('\n')}\n${found === null ? '' : `\n${found.scenario}`}`;
}
