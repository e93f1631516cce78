/**
 * The host holds one object, the boundary. Here the compiler proves that no path of types leads from it to what stands
 * behind, and the tests walk an instance at run time to show the same of values.
 */
import { expect, expectTypeOf, test } from 'vitest';
import { Boundary, type CpuPort, type Hypervisor, LifeCycleTracker, makeRegisters } from '#hypercall-abi';
import type { Machine } from '#machine';
import type { PhysicalMemory } from '#machine/memory';

/** What must not be reached, by members that nothing else has. */
type Hidden =
  | Pick<Hypervisor, 'hvc' | 'abort' | 'boot'>
  | Pick<CpuPort, 'el1Read32'>
  | Pick<LifeCycleTracker, 'crossed'>
  | Pick<Machine, 'memory'>
  | Pick<PhysicalMemory, 'write64'>;

type Primitive = string | number | bigint | boolean | symbol | null | undefined;
/** How many members and results one may follow after another. */
type Depth = readonly [0, 0, 0, 0, 0];
type Less<D extends readonly unknown[]> = D extends readonly [unknown, ...infer Rest] ? Rest : readonly [];

/** Whether a hidden thing can be had from a value of type T by reading members, calling them, and taking elements. */
type Leads<T, D extends readonly unknown[] = Depth> = T extends Primitive
  ? false
  : T extends Hidden
    ? true
    : T extends Int32Array
      ? false
      : D extends readonly []
        ? false
        : T extends (...args: never[]) => infer Result
          ? Leads<Result, Less<D>>
          : T extends readonly (infer Element)[]
            ? Leads<Element, Less<D>>
            : true extends { [K in keyof T]: Leads<T[K], Less<D>> }[keyof T]
              ? true
              : false;

test('no path of types leads from the boundary to the hypervisor, the machine or its memory', () => {
  expectTypeOf<Leads<Boundary>>().toEqualTypeOf<false>();
});

test('the search of types finds what is there to be found', () => {
  expectTypeOf<Leads<{ inner: Hypervisor }>>().toEqualTypeOf<true>();
  expectTypeOf<Leads<{ a: () => readonly { b: () => PhysicalMemory }[] }>>().toEqualTypeOf<true>();
  expectTypeOf<Leads<Boundary & { machine: Machine }>>().toEqualTypeOf<true>();
  expectTypeOf<Leads<Boundary & { port(cpu: number): CpuPort }>>().toEqualTypeOf<true>();
  expectTypeOf<Leads<Boundary & { tracker: LifeCycleTracker | null }>>().toEqualTypeOf<true>();
});

test('the members that one would try do not exist', () => {
  const name: string = 'hypervisor';
  const attempts = (boundary: Boundary) => [
    // @ts-expect-error The hypervisor is private.
    boundary.hypervisor,
    // @ts-expect-error A private name is no property.
    boundary['#hypervisor'],
    // @ts-expect-error The ports are private.
    boundary.ports,
    // @ts-expect-error A private name is no property.
    boundary['#ports'],
    // @ts-expect-error The tracker is private.
    boundary.tracker,
    // @ts-expect-error A private name is no property.
    boundary['#tracker'],
    // @ts-expect-error There is no machine.
    boundary.machine,
    // @ts-expect-error There is no memory.
    boundary.memory,
    // @ts-expect-error Nor can a name be made up.
    boundary[name],
  ];
  // @ts-expect-error Violations are for reading.
  const write = (boundary: Boundary) => boundary.violations.push();
  const { boundary } = makeBoundary();
  expect(attempts(boundary)).toEqual(Array(9).fill(undefined));
  expect(write).toBeTypeOf('function');
});

function makeBoundary() {
  const hypervisor: Hypervisor = {
    identity: 'a test',
    boot: () => 0,
    hvc: (_, x) => x.fill(0),
    abort: () => 'inject',
  };
  const port: CpuPort = {
    cpu: 0,
    x: makeRegisters(),
    el1Read32: (ipa) => ({ ipa, write: false }),
    el1Write32: () => null,
    el1Write64: () => null,
  };
  const tracker = new LifeCycleTracker();
  return { boundary: new Boundary(hypervisor, [port], tracker), hypervisor, port, tracker };
}

/** Everything that can be had from a value: own and inherited members, results of getters, elements. */
function reachable(start: unknown): Set<unknown> {
  const seen = new Set<unknown>();
  const queue = [start];
  while (queue.length > 0) {
    const value = queue.pop();
    if ((typeof value !== 'object' && typeof value !== 'function') || value === null || seen.has(value)) continue;
    seen.add(value);
    if (value === Object.prototype || value === Function.prototype) continue;
    queue.push(Object.getPrototypeOf(value));
    for (const key of Reflect.ownKeys(value)) {
      const property = Object.getOwnPropertyDescriptor(value, key);
      queue.push(property?.value, property?.get, property?.set);
      try {
        queue.push(Reflect.get(value, key, start));
      } catch {
        // A getter that does not like its receiver shows nothing.
      }
    }
  }
  return seen;
}

test('no path of values leads from the boundary to what stands behind it', () => {
  const { boundary, hypervisor, port, tracker } = makeBoundary();
  const found = reachable(boundary);
  expect(found.size).toBeGreaterThan(10);
  for (const hidden of [hypervisor, hypervisor.hvc, hypervisor.abort, port, port.el1Read32, tracker]) {
    expect(found.has(hidden)).toBe(false);
  }
  expect(Reflect.ownKeys(boundary)).toEqual(['identity', 'onCall']);
  expect(JSON.stringify(boundary)).toBe('{"identity":"a test","onCall":null}');
  expect(reachable({ boundary, behind: hypervisor }).has(hypervisor.hvc)).toBe(true);
});

test('what crosses is what was asked, and nobody can cross on a CPU that there is not', () => {
  const { boundary, port } = makeBoundary();
  expect(boundary.cpus).toBe(1);
  expect(boundary.registers(0)).toBe(port.x);
  expect(boundary.read32(0, 0x1000)).toBe(null);
  expect(boundary.write32(0, 0x1000, 1)).toBe(true);
  expect(boundary.write64(0, 0x1000, 1, 1)).toBe(true);
  expect(boundary.call(0, 'free_domain', 1)).toEqual({ errno: 0, value: 0, supported: true, request: null });
  expect(boundary.violations).toMatchObject([{ machine: 'domain', event: 'FREE', call: 'free_domain(domain=1)' }]);
  expect(() => boundary.call(1, 'free_domain', 1)).toThrow('no CPU 1: there are 1');
});
