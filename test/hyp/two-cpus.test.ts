import fc from 'fast-check';
import { expect, test } from 'vitest';
import { HostMemory, setUpSmmu } from '#host';
import { createHypervisor } from '#hyp';
import { hypLayout } from '#hyp/layout';
import { type CallName, callNamed, encodeCall, makeRegisters } from '#hypercall-abi';
import { createMachine, hostPort, run, type Steps, tiny } from '#machine';

/** The stepped hypervisor, booted, with a domain that has a stream and enough memory for tables. */
function stepped() {
  const machine = createMachine(tiny);
  const memory = new HostMemory(tiny);
  const port = hostPort(machine.cpus[0]!);
  for (const smmu of tiny.smmus) setUpSmmu(port, memory, smmu);
  const hypervisor = createHypervisor(machine);
  expect(run(hypervisor.boot({ smmus: tiny.smmus.map(({ base }) => base) }))).toBe(0);
  const registers = (name: CallName, ...args: number[]): Int32Array => {
    const x = makeRegisters();
    encodeCall(x, callNamed(name), args);
    return x;
  };
  const call = (name: CallName, ...args: number[]): Int32Array => {
    const x = registers(name, ...args);
    run(hypervisor.hvc(0, x));
    return x;
  };
  expect(call('alloc_mgt_refill', 1, memory.alloc(4) + 4, 1)[2]).toBe(0);
  expect(call('alloc_domain', 0, 0, 1, 1)[2]).toBe(0);
  expect(call('attach_dev', 0, 1, 0, 0, 0, 0)[2]).toBe(0);
  return { machine, memory, hypervisor, registers, call };
}

/** Run calls side by side, one pause at a time, as `choices` say; a CPU that waits for a lock is not chosen. */
function interleave(memory: { read32(pa: number): number }, threads: Steps<void>[], choices: readonly number[]): void {
  const running = threads.map((steps) => ({ steps, at: steps.next() }));
  for (let turn = 0; running.some(({ at }) => !at.done); turn++) {
    const ready = running.filter(
      ({ at }) => !at.done && !(at.value.kind === 'lock' && memory.read32(at.value.at) !== 0),
    );
    expect(ready.length).toBeGreaterThan(0);
    const chosen = ready[(choices[turn % choices.length] ?? 0) % ready.length]!;
    chosen.at = chosen.steps.next();
  }
}

test('calls in flight on two CPUs lose no reference of their domain', () => {
  fc.assert(
    fc.property(fc.array(fc.nat(1), { minLength: 20, maxLength: 200 }), (choices) => {
      const { machine, memory, hypervisor, registers, call } = stepped();
      const domain = hypLayout(tiny).domains + 64;
      const calls = [1, 2].map((i) => registers('map_pages', 1, i * 0x1000, memory.alloc(), 4096, 1, 3));
      interleave(
        machine.memory,
        calls.map((x, cpu) => hypervisor.hvc(cpu, x)),
        choices,
      );
      expect(calls.map((x) => [x[0], x[2]])).toEqual([
        [0, 4096],
        [0, 4096],
      ]);
      expect(machine.memory.read32(domain)).toBe(2);
      expect(call('free_domain', 1)[2]).toBe(-22);
    }),
    { numRuns: 60 },
  );
});

test('a domain that is freed while another CPU maps in it is either refused or gone, never both', () => {
  fc.assert(
    fc.property(fc.array(fc.nat(1), { minLength: 20, maxLength: 200 }), (choices) => {
      const { machine, memory, hypervisor, registers, call } = stepped();
      expect(call('detach_dev', 0, 1, 0, 0)[2]).toBe(0);
      const pa = memory.alloc();
      const map = registers('map_pages', 1, 0x1000, pa, 4096, 1, 3);
      const free = registers('free_domain', 1);
      interleave(machine.memory, [hypervisor.hvc(0, map), hypervisor.hvc(1, free)], choices);
      const mapped = map[2] === 4096;
      const freed = free[2] === 0;
      const refs = machine.memory.read32(hypLayout(tiny).domains + 64);
      expect(refs).toBe(freed ? 0 : 1);
      // What was mapped before the domain went has gone with it: the page can be shared.
      expect(call('host_share_hyp', pa / 4096)[2]).toBe(mapped && !freed ? -22 : 0);
    }),
    { numRuns: 60 },
  );
});
