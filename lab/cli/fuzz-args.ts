/** What the options of `postern fuzz` ask for. */
import { type CallName, findProfile, type Profile } from '#hypercall-abi';
import type { MachineDescription } from '#machine';
import { DEFAULT_MAX_STEPS } from '../fuzz/engine.ts';
import { ALL_FEEDBACK, type FeedbackChoice, NO_FEEDBACK } from '../fuzz/feedback.ts';
import { stepsOfTrace } from '../fuzz/from-trace.ts';
import type { FuzzJob } from '../fuzz/job.ts';
import type { FuzzNames } from '../fuzz/worker.ts';
import type { FuzzSetup } from '../io/fuzz-folder.ts';
import { readMachine } from '../io/machine.ts';
import { displayName, readText } from '../io/read-text.ts';
import { readTrace } from '../io/trace.ts';
import { SCENARIO_MAGIC } from '../scenario/format.ts';
import { parseScenario, type Step } from '../scenario/index.ts';
import { withoutExpectation } from '../scenario/shrink.ts';
import { operationsOf } from '../trace/operations.ts';
import { hypervisorByIdentity } from '../zoo/index.ts';
import { type CommandArgs, flagArg, numberArg, textArg, UsageError } from './command.ts';
import { profileArg } from './profile-arg.ts';
import { propertiesArg } from './property-args.ts';

/** Workers of one machine, at most: the shards of a run number theirs in steps of this. */
const WORKERS_MAX = 256;
const SHARDS_MAX = 1024;
const STEPS_MAX = 100_000;
const DEFAULT_MACHINE = 'tiny';
const TRACE_MACHINE = 'qemu-virt';

/** What holds where an option is not given. They are not the parser's, so that `--resume` knows what was given. */
export const DEFAULTS = {
  hypervisor: 'postern',
  seed: 1,
  maxSteps: DEFAULT_MAX_STEPS,
  feedback: 'edges,states,rows',
  jobs: 1,
};

/** The run that the options describe. @throws UsageError, InputError */
export async function fuzzSetup(args: CommandArgs): Promise<FuzzSetup> {
  const hypervisor = textArg(args, 'hypervisor') ?? DEFAULTS.hypervisor;
  hypervisorByIdentity(hypervisor);
  const { machine, profile, steps } = await startOf(args);
  const properties = propertiesArg(args);
  const calls = callsArg(args, profile);
  const weights = weightsArg(args);
  if (flagArg(args, 'twin') && flagArg(args, 'interleave')) {
    throw new UsageError('--twin and --interleave: two machines in lock step run one call after the other');
  }
  if (flagArg(args, 'interleave') && profile.request === 'needs-page') {
    const why = 'pages that its calls move between caches and pool cannot be told apart when calls overlap';
    throw new UsageError(`--interleave: not under ${profile.name}: ${why}`);
  }
  const keepGoing = flagArg(args, 'keepGoing');
  const job: FuzzJob = {
    machine,
    profile: profile.name,
    hypervisor,
    ...(properties !== undefined && { properties }),
    feedback: feedbackArg(args),
    seed: numberArg(args, 'seed') ?? DEFAULTS.seed,
    maxSteps: countArg(args, 'maxSteps', '--max-steps', STEPS_MAX),
    ...(calls !== undefined && { calls }),
    ...(weights !== undefined && { weights }),
    prefix: steps,
    interleaved: flagArg(args, 'interleave'),
    twin: flagArg(args, 'twin'),
    stopAtFirst: !keepGoing,
  };
  const workers = countArg(args, 'jobs', '--jobs', WORKERS_MAX);
  return {
    job,
    workers,
    firstWorker: shardArg(args) * WORKERS_MAX,
    keepGoing,
    required: listArg(args, 'require') ?? [],
    recipes: [],
  };
}

interface Start {
  readonly machine: MachineDescription;
  readonly profile: Profile;
  readonly steps: readonly Step[];
}

/** Where inputs begin: at boot, or where a scenario or a trace ends. */
async function startOf(args: CommandArgs): Promise<Start> {
  const from = textArg(args, 'from');
  const machine = textArg(args, 'machine');
  if (from === undefined) {
    return { machine: await readMachine(machine ?? DEFAULT_MACHINE), profile: profileArg(args), steps: [] };
  }
  const text = await readText(from);
  if (!text.startsWith(SCENARIO_MAGIC)) {
    const description = await readMachine(machine ?? TRACE_MACHINE);
    const profile = profileArg(args);
    const log = operationsOf((await readTrace(from)).events);
    return { machine: description, profile, steps: await stepsOfTrace(log, description, profile, 1) };
  }
  if (textArg(args, 'profile') !== undefined) throw new UsageError('--profile: the scenario of --from names it');
  const scenario = parseScenario(text, displayName(from));
  const steps = scenario.steps.filter(({ kind }) => kind !== 'expect').map(withoutExpectation);
  return { machine: await readMachine(machine ?? scenario.machine), profile: findProfile(scenario.profile)!, steps };
}

/** What only a booted machine can tell: names in `--weights` and `--require` that mean nothing. @throws UsageError */
export function checkNames({ job, required }: FuzzSetup, { recipes, rows, sometimes }: FuzzNames): void {
  for (const name of Object.keys(job.weights ?? {})) {
    if (recipes.includes(name)) continue;
    throw new UsageError(`--weights: there is no step '${name}'; there are ${recipes.join(', ')}`);
  }
  for (const name of required) {
    if (rows.includes(name) || sometimes.includes(name)) continue;
    const known = `rows of the call specification (${rows.slice(0, 3).join(', ')}, …) and ${sometimes.join(', ')}`;
    throw new UsageError(`--require: nothing is called '${name}'; there are ${known}`);
  }
}

function countArg(args: CommandArgs, name: 'maxSteps' | 'jobs', option: string, max: number): number {
  const value = numberArg(args, name) ?? DEFAULTS[name];
  if (value >= 1 && value <= max) return value;
  throw new UsageError(`${option}: expected a number from 1 to ${max}, got ${value}`);
}

function listArg(args: CommandArgs, name: string): string[] | undefined {
  return textArg(args, name)
    ?.split(',')
    .map((entry) => entry.trim());
}

function callsArg(args: CommandArgs, profile: Profile): CallName[] | undefined {
  return listArg(args, 'calls')?.map((name) => {
    if (profile.has(name)) return name;
    const all = profile.calls.map((call) => call.name).join(', ');
    throw new UsageError(`--calls: ${profile.name} has no call '${name}'; there are ${all}`);
  });
}

function weightsArg(args: CommandArgs): Record<string, number> | undefined {
  const entries = listArg(args, 'weights')?.map((entry): [string, number] => {
    const [, name, weight] = /^([a-z-]+)=(\d{1,4})$/.exec(entry) ?? [];
    if (name !== undefined) return [name, Number(weight)];
    throw new UsageError(`--weights: expected NAME=WEIGHT such as map=40, got '${entry}'`);
  });
  return entries && Object.fromEntries(entries);
}

function feedbackArg(args: CommandArgs): FeedbackChoice {
  const names = listArg(args, 'feedback') ?? DEFAULTS.feedback.split(',');
  if (names.length === 1 && names[0] === 'none') return NO_FEEDBACK;
  const wrong = names.find((name) => !Object.hasOwn(ALL_FEEDBACK, name));
  if (wrong !== undefined)
    throw new UsageError(`--feedback: expected edges, states, rows (a,b), or none, got '${wrong}'`);
  return { edges: names.includes('edges'), states: names.includes('states'), rows: names.includes('rows') };
}

/** Number of the shard, from 0. */
function shardArg(args: CommandArgs): number {
  const text = textArg(args, 'shard');
  if (text === undefined) return 0;
  const [, i, n] = /^(\d+)\/(\d+)$/.exec(text) ?? [];
  const [shard, shards] = [Number(i), Number(n)];
  if (shard >= 1 && shard <= shards && shards <= SHARDS_MAX) return shard - 1;
  throw new UsageError(`--shard: expected i/n with i from 1 to n, and n at most ${SHARDS_MAX}, got '${text}'`);
}
