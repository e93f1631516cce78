/**
 * How fast a random mix of hypercalls is: a random host is recorded once, call by call, and its calls are then made
 * again and again from boot. Without oracles, with all of them, with the life cycles too, in the build that pauses, and
 * with every call undone.
 */
import { performance } from 'node:perf_hooks';
import { HostMemory, setUpSmmu } from '#host';
import { createHypervisor as createStepped } from '#hyp';
import { createHypervisor } from '#hyp/plain';
import {
  type CallName,
  type CallResult,
  type CallSpec,
  copyRegisters,
  type Hypervisor,
  PoolId,
  succeeded,
} from '#hypercall-abi';
import { createMachine, hostPort, type Machine, run, streamsOf, tiny } from '#machine';
import { CheckedHypervisor } from '../oracle/index.ts';
import { StepGenerator } from '../random/generate.ts';
import { Prng } from '../random/prng.ts';
import { CannotDo, Executor } from '../scenario/index.ts';
import { oracleView } from '../session/oracle-view.ts';
import { fullInterval, Session } from '../session/session.ts';
import type { Rate } from './hypercalls.ts';

const SEED = 1;
const STEPS = 4000;
/** Calls that a recorded host makes before it starts anew: about as long as a run of a fuzzer. */
const RUN_STEPS = 200;

/** What the host does, in order: hypercalls and stores to its memory, with aborts where they map on demand. */
type Act =
  | { readonly kind: 'hvc' | 'guestHvc'; readonly cpu: number; readonly x: Int32Array }
  | { readonly kind: 'write32'; readonly cpu: number; readonly ipa: number; readonly value: number }
  | { readonly kind: 'write64'; readonly cpu: number; readonly ipa: number; readonly hi: number; readonly lo: number }
  | { readonly kind: 'abort'; readonly cpu: number; readonly ipa: number; readonly write: boolean };

export interface RandomMix {
  /** Each run begins at boot. */
  readonly runs: readonly (readonly Act[])[];
  readonly calls: number;
  /** Share of the calls that did what they were asked to, at least in part, 0 to 1. */
  readonly success: number;
}

/** The calls of DMA mapping, with what they need: the six, iova_to_phys, and memory for tables. */
export const DMA_CALLS: readonly CallName[] = [
  'alloc_domain',
  'free_domain',
  'attach_dev',
  'detach_dev',
  'map_pages',
  'unmap_pages',
  'iova_to_phys',
  'alloc_mgt_refill',
];

/** Record a random host that makes these calls (all when left out), so many percent of them with a wrong argument. */
export function recordMix(wrongArguments: number, calls?: readonly CallName[]): RandomMix {
  const { session, executor, takeActs } = recordedHost();
  const taken = session.smmuMemory.flatMap(({ strtab, cmdq, evtq }) => [strtab, cmdq, evtq]);
  const names = calls ?? session.profile.calls.map(({ name }) => name);
  const generator = new StepGenerator(tiny, names, new Prng(SEED), taken, session.profile, wrongArguments);
  const runs: Act[][] = [];
  let made = 0;
  let good = 0;
  for (let steps = 0; steps < STEPS; ) {
    executor.reset();
    generator.reset(new Prng(SEED, runs.length));
    for (let i = 0; i < RUN_STEPS; i++, steps++) {
      const step = generator.next();
      try {
        const outcome = executor.perform(step);
        if (outcome.kind === 'call') {
          made++;
          if (isGood(outcome.result, outcome.spec)) good++;
        }
        generator.world.observe(step, outcome);
      } catch (error) {
        if (error instanceof CannotDo) break;
        throw error;
      }
    }
    runs.push(takeActs());
  }
  return { runs, calls: made, success: good / made };
}

const PAGE_SIZE = 4096;
const DRIVER_ID = 0;
/** There is one on the machine. */
const IOMMU = 0;
const PASID_NONE = 0;
const RW_CACHE = 7;
const DOMAINS = 4;
const PAGES = 64;
const IOVA = 0x100000;
/** Pages that the IOMMU pool is given first: no call lacks memory then. */
const POOL_PAGES = 48;

/**
 * Record a host that makes the six calls on single pages, mapping and unmapping most of the time, as drivers do. Every
 * argument is drawn anew from few, whatever was done before: 4 domains, the streams of the machine, 64 IOVAs, 64 pages.
 */
export function recordSinglePages(): RandomMix {
  const { session, takeActs } = recordedHost();
  const { boundary, driver, hostMemory, profile } = session;
  const prng = new Prng(SEED);
  const streams = tiny.devices.flatMap(streamsOf).map(({ sid }) => sid);
  const pages = Array.from({ length: PAGES }, () => hostMemory.alloc());
  const iova = (): number => IOVA + PAGE_SIZE * prng.below(PAGES);
  const domain = (): number => 1 + prng.below(DOMAINS);
  const attachment = (): number[] => [IOMMU, domain(), streams[prng.below(streams.length)]!];
  const six: { readonly name: CallName; readonly weight: number; readonly draw: () => readonly number[] }[] = [
    { name: 'alloc_domain', weight: 2, draw: () => [DRIVER_ID, IOMMU, domain(), prng.below(2)] },
    { name: 'free_domain', weight: 1, draw: () => [domain()] },
    { name: 'attach_dev', weight: 1, draw: () => [...attachment(), PASID_NONE, 0, 0] },
    { name: 'detach_dev', weight: 2, draw: () => [...attachment(), PASID_NONE] },
    {
      name: 'map_pages',
      weight: 12,
      draw: () => [domain(), iova(), pages[prng.below(PAGES)]!, PAGE_SIZE, 1, RW_CACHE],
    },
    { name: 'unmap_pages', weight: 12, draw: () => [domain(), iova(), PAGE_SIZE, 1] },
  ];
  const weighted = six.flatMap((call) => Array.from({ length: call.weight }, () => call));
  for (let i = 0; i < POOL_PAGES; i++) driver.serve({ pool: PoolId.iommu, pages: 1 });
  let good = 0;
  for (let i = 0; i < STEPS; i++) {
    const { name, draw } = weighted[prng.below(weighted.length)]!;
    if (isGood(boundary.call(0, name, ...draw()), profile.call(name))) good++;
  }
  return { runs: [takeActs()], calls: POOL_PAGES + STEPS, success: good / STEPS };
}

/** A host without oracles of which every act is recorded. */
function recordedHost() {
  let acts: Act[] = [];
  const session = new Session({
    machine: tiny,
    unchecked: true,
    hypervisor: (machine, profile) => recorder(machine, createHypervisor(machine, profile), (act) => acts.push(act)),
  });
  const executor = new Executor(session);
  const takeActs = (): Act[] => {
    const taken = acts;
    acts = [];
    return taken;
  };
  // What the host did before boot is none of a run's.
  takeActs();
  return { session, executor, takeActs };
}

/** Whether a call did anything: where it gives bytes or an address, they tell. */
function isGood(result: CallResult, spec: CallSpec | undefined): boolean {
  return spec?.x1 === 'bytes' || spec?.x1 === 'pa' ? result.value !== 0 : succeeded(result);
}

function recorder(machine: Machine, inner: Hypervisor, record: (act: Act) => void): Hypervisor {
  for (const cpu of machine.cpus) {
    const write32 = cpu.el1Write32.bind(cpu);
    const write64 = cpu.el1Write64.bind(cpu);
    cpu.el1Write32 = (ipa, value) => {
      const fault = write32(ipa, value);
      if (fault === null) record({ kind: 'write32', cpu: cpu.cpu, ipa, value });
      return fault;
    };
    cpu.el1Write64 = (ipa, hi, lo) => {
      const fault = write64(ipa, hi, lo);
      if (fault === null) record({ kind: 'write64', cpu: cpu.cpu, ipa, hi, lo });
      return fault;
    };
  }
  return {
    ...inner,
    hvc: (cpu, x) => {
      record({ kind: 'hvc', cpu, x: Int32Array.from(x) });
      inner.hvc(cpu, x);
    },
    guestHvc: (cpu, x) => {
      record({ kind: 'guestHvc', cpu, x: Int32Array.from(x) });
      return inner.guestHvc!(cpu, x);
    },
    abort: (cpu, ipa, write) => {
      record({ kind: 'abort', cpu, ipa, write });
      return inner.abort(cpu, ipa, write);
    },
  };
}

/** How the calls are made: by whom, and whether each is made, undone, and made again. */
export type MixKind = 'plain' | 'checked' | 'tracked' | 'stepped' | 'undone';

/** Makes acts, timed, and goes back to boot. */
interface Player {
  readonly machine: Machine;
  readonly reset: () => void;
  readonly hvc: (cpu: number, x: Int32Array) => void;
  readonly guestHvc: (cpu: number, x: Int32Array) => void;
  readonly abort: (cpu: number, ipa: number, write: boolean) => void;
  readonly write32: (cpu: number, ipa: number, value: number) => void;
  readonly write64: (cpu: number, ipa: number, hi: number, lo: number) => void;
}

/** A rate, and what it takes to go back to boot from the end of a run, in nanoseconds. */
export interface MixRate extends Rate {
  readonly undoOfRun: number;
}

/**
 * Each run is timed for itself, and most of the times that it is made no other program gets in between: the rates are
 * those of the runs' best and median times together, so that they stand also on a machine that has other things to do.
 * @param rounds how often all runs are made; a third of that warms up
 */
export function mixRate(name: string, mix: RandomMix, kind: MixKind, rounds: number): MixRate {
  const player = kind === 'tracked' ? trackedPlayer() : barePlayer(kind);
  const { memory } = player.machine;
  const mark = memory.mark();
  const times = mix.runs.map(() => new Float64Array(rounds));
  const undos = mix.runs.map(() => new Float64Array(rounds));
  let calls = 0;
  for (let round = -Math.ceil(rounds / 3); round < rounds; round++) {
    calls = 0;
    mix.runs.forEach((acts, run) => {
      const begin = performance.now();
      calls += play(player, acts, kind === 'undone');
      const end = performance.now();
      memory.undo(mark);
      player.reset();
      if (round < 0) return;
      times[run]![round] = end - begin;
      undos[run]![round] = performance.now() - end;
    });
  }
  const undoOfRun = (sumOf(undos, 0.5) * 1e6) / mix.runs.length;
  return { name, best: (calls * 1000) / sumOf(times, 0), median: (calls * 1000) / sumOf(times, 0.5), undoOfRun };
}

/** The sum of each run's time at that place (0 the best, 0.5 the median) among its times. */
function sumOf(times: readonly Float64Array[], place: number): number {
  return times.reduce((sum, of) => sum + of.toSorted()[Math.floor(of.length * place)]!, 0);
}

/** @returns how many of the acts were calls */
function play(player: Player, acts: readonly Act[], undone: boolean): number {
  const { memory } = player.machine;
  let calls = 0;
  for (const act of acts) {
    switch (act.kind) {
      case 'hvc':
      case 'guestHvc': {
        const make = act.kind === 'hvc' ? player.hvc : player.guestHvc;
        calls++;
        if (undone) {
          const before = memory.mark();
          make(act.cpu, act.x);
          memory.undo(before);
        }
        make(act.cpu, act.x);
        break;
      }
      case 'abort':
        player.abort(act.cpu, act.ipa, act.write);
        break;
      case 'write32':
        player.write32(act.cpu, act.ipa, act.value);
        break;
      case 'write64':
        player.write64(act.cpu, act.ipa, act.hi, act.lo);
        break;
    }
  }
  return calls;
}

/** A hypervisor without a boundary, with oracles or not. */
function barePlayer(kind: MixKind): Player {
  const machine = createMachine(tiny);
  const memory = new HostMemory(tiny);
  const port = hostPort(machine.cpus[0]!);
  for (const smmu of tiny.smmus) setUpSmmu(port, memory, smmu);
  const plain = createHypervisor(machine);
  const oracle =
    kind === 'checked' ? new CheckedHypervisor(plain, oracleView(machine), { full: fullInterval(tiny) }) : null;
  const hypervisor = oracle ?? (kind === 'stepped' ? steppedToEnd(machine, plain) : plain);
  const result = hypervisor.boot({ smmus: tiny.smmus.map(({ base }) => base) });
  if (result !== 0) throw new Error(`boot: ${result}`);
  const x = new Int32Array(16);
  return {
    machine,
    reset: () => oracle?.reset(),
    hvc: (cpu, frame) => {
      copyRegisters(x, frame);
      hypervisor.hvc(cpu, x);
    },
    guestHvc: (cpu, frame) => {
      copyRegisters(x, frame);
      hypervisor.guestHvc!(cpu, x);
    },
    abort: (cpu, ipa, write) => hypervisor.abort(cpu, ipa, write),
    write32: (cpu, ipa, value) => machine.cpus[cpu]!.el1Write32(ipa, value),
    write64: (cpu, ipa, hi, lo) => machine.cpus[cpu]!.el1Write64(ipa, hi, lo),
  };
}

/** What engines work on: a session with all oracles and life cycles, through the boundary. */
function trackedPlayer(): Player {
  const session = new Session({ machine: tiny });
  const { machine, ports } = session;
  const oracle = session.oracle!;
  const executor = new Executor(session);
  const { boundary } = executor;
  return {
    machine,
    reset: () => executor.reset(),
    hvc: (cpu, frame) => {
      copyRegisters(boundary.registers(cpu), frame);
      boundary.hvc(cpu);
    },
    guestHvc: (cpu, frame) => {
      copyRegisters(boundary.guestRegisters(cpu), frame);
      boundary.guestHvc(cpu);
    },
    abort: (cpu, ipa, write) => oracle.abort(cpu, ipa, write),
    write32: (cpu, ipa, value) => ports[cpu]!.el1Write32(ipa, value),
    write64: (cpu, ipa, hi, lo) => ports[cpu]!.el1Write64(ipa, hi, lo),
  };
}

/** The build that pauses, run to its end each time. */
function steppedToEnd(machine: Machine, plain: Hypervisor): Hypervisor {
  const stepped = createStepped(machine);
  return {
    ...plain,
    boot: (parameters) => run(stepped.boot(parameters)),
    hvc: (cpu, x) => run(stepped.hvc(cpu, x)),
    abort: (cpu, ipa, write) => run(stepped.abort(cpu, ipa, write)),
  };
}
