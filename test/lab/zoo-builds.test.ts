/** The builds of the hypervisor are one hypervisor: generators and plain twin, bundled and built at run time. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { createHypervisor as createStepped } from '#hyp';
import { createHypervisor as createPlain } from '#hyp/plain';
import { type ArgumentValue, type CallName, callNamed, calls, FUNCTION_ID_BASE } from '#hypercall-abi';
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

const call = fc
  .constantFrom(...calls, ...Array(6).fill(callNamed('map_pages')), ...Array(4).fill(callNamed('unmap_pages')))
  .chain(({ name, args }: (typeof calls)[number]) =>
    fc.record<Move & { do: 'call' }>({
      do: fc.constant('call'),
      cpu,
      name: fc.constant(name),
      args: fc.tuple(...args.map(({ unit }) => argument(unit))),
      serve: fc.boolean(),
    }),
  );
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
  pa: few.pa.map((pa) => pa & -4),
  value: fc.integer(),
});
const moves = fc.array(fc.oneof({ weight: 8, arbitrary: call }, registers, write), {
  minLength: 5,
  maxLength: 40,
  size: 'max',
});

/** How a move ended, as plain data. An error of the hypervisor (a dead CPU) ends the run. */
function play(rig: ZooRig, move: Move): unknown {
  try {
    if (move.do === 'write') return rig.boundary.write32(move.cpu, move.pa, move.value);
    if (move.do === 'registers') {
      rig.boundary.registers(move.cpu).set(move.words.map((word) => word | 0));
      rig.boundary.hvc(move.cpu);
      return [...rig.boundary.registers(move.cpu)];
    }
    const result = rig.boundary.call(move.cpu, move.name, ...move.args);
    const served = move.serve && result.request !== null ? rig.driver.serve(result.request) : null;
    return { ...result, registers: [...rig.boundary.registers(move.cpu)], served };
  } catch (error) {
    return `throws ${(error as Error).message}`;
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
  return rig;
}

/** Both hypervisors do the same in everything that can be seen, and write the same words in the same order. */
function expectSame(one: () => ZooRig, other: () => ZooRig, seed: number): Set<string> {
  const reached = new Set<string>();
  const property = fc.property(moves, (list) => {
    const [a, b] = [one(), other()];
    const memories = [a.machine.memory, b.machine.memory] as const;
    for (const memory of memories) memory.mark();
    ready(a);
    ready(b);
    for (const move of list) {
      const result = play(a, move);
      expect(play(b, move)).toEqual(result);
      if (move.do === 'call' && typeof result === 'object')
        reached.add(`${move.name} ${(result as { errno: number }).errno}`);
      if (typeof result === 'string') break;
    }
    expect(journal(memories[1]).equals(journal(memories[0]))).toBe(true);
    expect(memories[1].stateHash(true)).toBe(memories[0].stateHash(true));
    expect(memories[1].stateHash()).toBe(memories[0].stateHash());
  });
  fc.assert(property, { seed, numRuns: 60, endOnFailure: true });
  return reached;
}

const plain = () => new ZooRig(createPlain);
const stepped = () => new ZooRig(unpaused(createStepped));

test('the generator build and its plain twin give equal results, memory and journals', () => {
  const reached = expectSame(plain, stepped, 1);
  console.log([...reached].toSorted().join('\n'));
});

test('what the loader builds without edits is the bundled hypervisor, plain and stepped', () => {
  expectSame(plain, () => new ZooRig(buildHypervisor([], { plain: true }).createHypervisor), 2);
  expectSame(stepped, () => new ZooRig(unpaused(buildHypervisor([], { plain: false }).createHypervisor)), 3);
});

test('the two builds of each defect are one hypervisor too', () => {
  for (const card of cards) {
    const one = buildHypervisor([card], { plain: true }).createHypervisor;
    const other = buildHypervisor([card], { plain: false }).createHypervisor;
    expectSame(
      () => new ZooRig(one),
      () => new ZooRig(unpaused(other)),
      4,
    );
  }
});
