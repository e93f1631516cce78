/** The builds of the hypervisor are one hypervisor: generators and plain twin, bundled and built at run time. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { createHypervisor as createStepped } from '#hyp';
import { createHypervisor as createPlain } from '#hyp/plain';
import { type ArgumentValue, type CallName, type CallSpec, callNamed, calls, FUNCTION_ID_BASE } from '#hypercall-abi';
import { buildHypervisor, cards } from '#lab/zoo/index';
import type { PhysicalMemory } from '#machine/memory';
import { FREE_RAM, PAGE, unpaused, ZooRig } from './zoo-rig.ts';

/** What the host does: a call, whose request it may serve; any registers; or a write to memory. */
type Move =
  | {
      readonly do: 'call';
      readonly cpu: number;
      readonly name: CallName;
      readonly args: readonly ArgumentValue[];
      readonly serve: boolean;
    }
  | { readonly do: 'registers'; readonly cpu: number; readonly words: readonly number[] }
  | { readonly do: 'write'; readonly cpu: number; readonly pa: number; readonly value: number };

const cpu = fc.nat({ max: 1 });
/** Few values, so that calls meet each other; the last ones are wrong. */
const few = {
  domain: fc.constantFrom(1, 1, 2, 2, 3, 0, 255, 600),
  iova: fc.constantFrom(0, 0x1000, 0x1fe000, 0x1ff000, 0x200000, 0x400000, 2 ** 47, 2 ** 52, 0x800),
  pa: fc.constantFrom(FREE_RAM, FREE_RAM + PAGE, FREE_RAM + 0x2000, FREE_RAM + 0x200000, 0x40300000, 0x8000000, 5),
  bytes: fc.constantFrom(4096, 4096, 4096, 2 ** 21, 2 ** 30, 1024, 0),
  count: fc.constantFrom(1, 1, 2, 3, 513, 0, 2 ** 40),
  prot: fc.constantFrom(3, 3, 7, 1, 0, 64),
  stream: fc.constantFrom(0, 1, 2, 3, 9),
  iommu: fc.constantFrom(0, 0, 0, 1),
  handle: fc.constantFrom(0x1000, 0x1000, 0x1001, 5),
  pool: fc.constantFrom(0, 1, 1, 2),
  domainType: fc.constantFrom(0, 1, 2, -1),
  gfn: fc.constantFrom(0, 1, 512),
  pfn: fc.nat({ max: 3 }).map((n) => FREE_RAM / PAGE + n),
  pages: fc.constantFrom(1, 1, 512, 2),
} as const;
const small = fc.nat({ max: 2 });

function argument(unit: string): fc.Arbitrary<number> {
  return Object.hasOwn(few, unit) ? few[unit as keyof typeof few] : small;
}

function callOf(spec: CallSpec, of: (unit: string) => fc.Arbitrary<number>): fc.Arbitrary<Move> {
  const args = fc.tuple(...spec.args.map(({ unit }) => of(unit)));
  return fc.record({ do: fc.constant('call' as const), cpu, name: fc.constant(spec.name), args, serve: fc.boolean() });
}

/** Any call with any of those arguments, and, more often, the ones that make and unmake mappings as a driver does. */
const anyCall = fc.constantFrom(...calls).chain((spec) => callOf(spec, argument));
const sensible: Readonly<Record<string, fc.Arbitrary<number>>> = {
  domain: fc.constantFrom(1, 1, 2),
  iova: fc.constantFrom(0, 0x1000, 0x1fe000, 0x1ff000, 0x200000),
  pa: fc.nat({ max: 3 }).map((n) => FREE_RAM + n * PAGE),
  bytes: fc.constantFrom(PAGE, PAGE, PAGE, 2 ** 21),
  count: fc.constantFrom(1, 2, 3),
  prot: fc.constantFrom(3, 1),
  stream: fc.constantFrom(0, 1, 2),
};
const mapping = fc
  .constantFrom('map_pages', 'map_pages', 'unmap_pages', 'iova_to_phys')
  .chain((name) => callOf(callNamed(name), (unit) => sensible[unit]!));
const attaching = fc
  .constantFrom('alloc_domain', 'attach_dev')
  .chain((name) => callOf(callNamed(name), (unit) => sensible[unit] ?? fc.constant(0)));
const registers = fc.record<Move & { do: 'registers' }>({
  do: fc.constant('registers'),
  cpu,
  words: fc
    .tuple(fc.nat({ max: 80 }), fc.array(fc.oneof(small, fc.integer()), { minLength: 14, maxLength: 14 }))
    .map(([position, rest]) => [FUNCTION_ID_BASE + position, 0, ...rest]),
});
const write = fc.record<Move & { do: 'write' }>({
  do: fc.constant('write'),
  cpu,
  pa: fc.constantFrom(FREE_RAM, FREE_RAM + PAGE, 0x40300000, 0x40301000),
  value: fc.integer(),
});
const moves = fc.array(
  fc.oneof(
    { weight: 6, arbitrary: anyCall },
    { weight: 6, arbitrary: mapping },
    { weight: 2, arbitrary: attaching },
    registers,
    write,
  ),
  {
    minLength: 5,
    maxLength: 40,
    size: 'max',
  },
);

/** How a move ended, and what the caller sees then. An error of the hypervisor (a dead CPU) ends the run. */
interface Ending {
  readonly text: string;
  readonly dead: boolean;
}

function play(rig: ZooRig, move: Move): Ending {
  const { boundary, driver } = rig;
  const registersOf = (n: number): string => boundary.registers(n).join(' ');
  try {
    if (move.do === 'write') return { text: `written ${boundary.write32(move.cpu, move.pa, move.value)}`, dead: false };
    if (move.do === 'registers') {
      boundary.registers(move.cpu).set(move.words);
      boundary.hvc(move.cpu);
      return { text: `registers: ${registersOf(move.cpu)}`, dead: false };
    }
    const { errno, value, request } = boundary.call(move.cpu, move.name, ...move.args);
    const left = registersOf(move.cpu);
    const served = move.serve && request !== null ? driver.serve(request) : 'no';
    return {
      text: `${move.name} ${errno}${value > 0 ? ' with a value' : ''}: ${left}, served: ${served}`,
      dead: false,
    };
  } catch (error) {
    return { text: `${(error as Error).message}`, dead: true };
  }
}

/** Everything written since the journal was last emptied: each word's place and old content, in the order of writes. */
function journal(memory: PhysicalMemory): Buffer {
  const { log, logLength } = memory as unknown as { log: Int32Array; logLength: number };
  expect(logLength).toBeGreaterThan(0);
  return Buffer.from(log.buffer, log.byteOffset, 4 * logLength);
}

function ready(rig: ZooRig): ZooRig {
  rig.startGuest(0);
  expect(rig.driver.allocDomain(0, 1)).toBe(1);
  expect(rig.driver.allocDomain(0, 2)).toBe(2);
  expect(rig.driver.attach(0, 1, 0)).toBe(0);
  // Tables for the addresses of the mapping calls, and a pool that is not empty.
  for (const domain of [1, 2]) {
    for (const iova of [0, 0x200000]) {
      expect(rig.driver.map(domain, iova, FREE_RAM, PAGE, 1, 3)).toBe(PAGE);
      if (domain === 2) expect(rig.driver.unmap(domain, iova, PAGE, 1)).toBe(PAGE);
    }
  }
  return rig;
}

/** What stops {@link ready}: a defect may kill a CPU before anything interesting has happened. Empty if nothing does. */
function stopped(rig: ZooRig): string {
  try {
    ready(rig);
    return '';
  } catch (error) {
    return (error as Error).message;
  }
}

/** Both hypervisors do the same in all that can be seen, and write the same words in the same order. */
function expectSame(one: () => ZooRig, other: () => ZooRig, numRuns: number, mayStop = false): Set<string> {
  const reached = new Set<string>();
  const property = fc.property(moves, (list) => {
    const [a, b] = [one(), other()];
    const memories = [a.machine.memory, b.machine.memory] as const;
    for (const memory of memories) memory.mark();
    const stops = stopped(a);
    expect(stopped(b)).toBe(stops);
    if (!mayStop) expect(stops).toBe('');
    for (const move of stops === '' ? list : []) {
      const { text, dead } = play(a, move);
      expect(play(b, move).text).toBe(text);
      reached.add(text.split(':')[0]!);
      if (dead) break;
    }
    expect(journal(memories[1]).equals(journal(memories[0]))).toBe(true);
    expect(memories[1].stateHash(true)).toBe(memories[0].stateHash(true));
  });
  fc.assert(property, { seed: 1, numRuns });
  return reached;
}

const plain = () => new ZooRig(createPlain);
const stepped = () => new ZooRig(unpaused(createStepped));

test('the generator build and its plain twin give equal results, memory and journals', () => {
  const reached = expectSame(plain, stepped, 60);
  for (const ending of ['map_pages 0', 'unmap_pages 0', 'iova_to_phys 0']) {
    expect(reached).toContain(`${ending} with a value`);
  }
  for (const ending of [
    'map_pages -1',
    'map_pages -17',
    'map_guest 0',
    'attach_dev 0',
    'free_domain 0',
    'alloc_mgt_refill 0',
  ]) {
    expect(reached).toContain(ending);
  }
});

test('what the loader builds without edits is the bundled hypervisor, plain and stepped', () => {
  const [builtPlain, builtStepped] = [buildHypervisor([], { plain: true }), buildHypervisor([], { plain: false })];
  expectSame(plain, () => new ZooRig(builtPlain.createHypervisor), 15);
  expectSame(stepped, () => new ZooRig(unpaused(builtStepped.createHypervisor)), 8);
});

test.each(cards.map((card) => [card.id, card] as const))('the two builds with %s are one hypervisor too', (_, card) => {
  const one = buildHypervisor([card], { plain: true }).createHypervisor;
  const other = buildHypervisor([card], { plain: false }).createHypervisor;
  expectSame(
    () => new ZooRig(one),
    () => new ZooRig(unpaused(other)),
    2,
    true,
  );
});
