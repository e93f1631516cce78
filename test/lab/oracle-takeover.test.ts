/** What boot does to the hardware, and where accesses end: broken one at a time, the oracle must tell. */

import { expect, test } from 'vitest';
import { HostMemory, setUpSmmu } from '#host';
import { hypLayout } from '#hyp/layout';
import { createHypervisor } from '#hyp/plain';
import { callNamed, FUNCTION_ID_BASE, type Hypervisor } from '#hypercall-abi';
import { CheckedHypervisor } from '#lab/oracle/index';
import { findViolation } from '#lab/random/index';
import { CandidateRunner } from '#lab/scenario/index';
import { oracleView } from '#lab/session/oracle-view';
import { createMachine, hostPort, type Machine, type MachineDescription, SystemRegister, tiny } from '#machine';
import { kinds, type Mischief, makeRig, PAGE, type Rig, RW, tell } from './oracle-rig.ts';

const layout = hypLayout(tiny);
const carveOut = tiny.carveOut.base;
const WRITE_MMIO = 0x12;
const DOORBELL = 0x08090000;
const withDoorbell: MachineDescription = {
  ...tiny,
  mmio: [{ name: 'doorbell', base: DOORBELL, size: 2 * PAGE }],
};

/** Something done at the end of boot, as if the hypervisor had done it. */
function atBoot(act: (machine: Machine) => void): Mischief {
  return (inner, machine) => ({
    ...plain(inner),
    boot: (parameters) => {
      const result = inner.boot(parameters);
      act(machine);
      return result;
    },
  });
}

function plain(inner: Hypervisor): Hypervisor {
  return {
    identity: 'mischief',
    boot: (parameters) => inner.boot(parameters),
    abort: (...access) => inner.abort(...access),
    hvc: (cpu, x) => inner.hvc(cpu, x),
  };
}

/** Done after each call of that name that succeeds. */
function after(name: Parameters<typeof callNamed>[0], act: (machine: Machine) => void): Mischief {
  const id = FUNCTION_ID_BASE + callNamed(name).position;
  return (inner, machine) => ({
    ...plain(inner),
    hvc: (cpu, x) => {
      const isIt = x[0]! >>> 0 === id;
      inner.hvc(cpu, x);
      if (isIt) act(machine);
    },
  });
}

function put(offset: number, value: number): (machine: Machine) => void {
  return ({ smmus }) => smmus[0]!.put(offset, value);
}

function attached(rig: Rig, type: number): number {
  rig.refill(1, 16);
  const page = rig.page();
  expect(rig.call('alloc_domain', 0, 0, 1, type).errno).toBe(0);
  expect(rig.call('attach_dev', 0, 1, 0, 0, 0, 0).errno).toBe(0);
  expect(rig.call('map_pages', 1, 0x10000, page, PAGE, 1, RW).value).toBe(PAGE);
  return page;
}

test('boot as it is leaves nothing to say, on every machine', () => {
  for (const machine of [tiny, withDoorbell]) expect(tell(makeRig({ machine }).oracle.findings)).toBe('');
});

test.each<[string, string, (machine: Machine) => void]>([
  [
    'an SMMU that was switched off and lets everything through',
    'isolation/takeover/smmu-off',
    ({ smmus }) => {
      smmus[0]!.put(0x20, 0xc);
      smmus[0]!.put(0x24, 0xc);
      smmus[0]!.put(0x44, 0);
    },
  ],
  [
    'an SMMU that does not acknowledge',
    'structure/takeover/smmu-off',
    ({ smmus }) => {
      smmus[0]!.put(0x24, 0xc);
    },
  ],
  ['a bypass that waits for the SMMU to be off', 'structure/takeover/bypass', put(0x44, 0)],
  ['another stream table', 'structure/takeover/stream-table', put(0x80, 0x40200000)],
  ['a smaller stream table', 'structure/takeover/stream-table', put(0x88, 1)],
  ['another command queue', 'structure/takeover/command-queue', put(0x90, 0x40200008)],
  [
    'a command queue of another size',
    'structure/takeover/command-queue',
    ({ smmus }) => smmus[0]!.put(0x90, smmus[0]!.get(0x90) - 1),
  ],
  [
    'a command queue that is off',
    'structure/takeover/command-queue',
    ({ smmus }) => {
      smmus[0]!.put(0x20, 5);
      smmus[0]!.put(0x24, 5);
    },
  ],
  ['another event queue', 'structure/takeover/event-queue', put(0xa0, 0x40200007)],
  ['tables and queues that are fetched past the caches', 'structure/takeover/control', put(0x28, 0xd74)],
  ['invalidations that come from the CPUs', 'structure/takeover/control', put(0x2c, 2)],
  [
    'a CPU whose host has no stage 2',
    'isolation/takeover/host-stage2',
    ({ cpus }) => cpus[1]!.writeSystem(SystemRegister.HCR_EL2, 0, 0),
  ],
  [
    'a CPU on which the host is not under EL2 control',
    'isolation/takeover/host-stage2',
    ({ cpus }) => cpus[1]!.writeSystem(SystemRegister.HCR_EL2, 0, 1 | (1 << 27)),
  ],
  [
    'a CPU with another stage 2',
    'isolation/takeover/host-stage2',
    ({ cpus }) => cpus[1]!.writeSystem(SystemRegister.VTTBR_EL2, 0, 0x40200000),
  ],
  [
    'a CPU that reads the stage 2 in another shape',
    'isolation/takeover/host-stage2',
    ({ cpus }) => cpus[1]!.writeSystem(SystemRegister.VTCR_EL2, 0, cpus[1]!.systemLo(SystemRegister.VTCR_EL2) + 1),
  ],
])('%s is found at boot, and in every full check', (_, rule, act) => {
  expect(kinds(makeRig({ full: 'never', mischief: atBoot(act) }).oracle.findings)).toEqual([rule]);
  const rig = makeRig({ full: 'never' });
  act(rig.machine);
  expect(tell(rig.oracle.findings)).toBe('');
  rig.oracle.checkAll();
  expect(kinds(rig.oracle.findings)).toEqual([rule]);
});

test('what is found at boot is still found after the machine went back to boot', () => {
  const rig = makeRig({ full: 'never', mischief: atBoot(put(0x44, 0)) });
  rig.call('reserve_vm');
  rig.machine.memory.write32(layout.vmLock, 1);
  rig.call('vcpu_put');
  rig.oracle.reset();
  expect(kinds(rig.oracle.findings)).toEqual(['structure/takeover/bypass']);
});

/** Boots by hand, with the host's settings changed before. */
function boot(spoil: (machine: Machine) => void, mischief: Mischief = (inner) => inner, readers = true) {
  const machine = createMachine(tiny);
  const memory = new HostMemory(tiny);
  for (const smmu of tiny.smmus) setUpSmmu(hostPort(machine.cpus[0]!), memory, smmu);
  spoil(machine);
  const inner = mischief(createHypervisor(machine), machine);
  const { description } = machine;
  const oracle = new CheckedHypervisor(inner, readers ? oracleView(machine) : { memory: machine.memory, description });
  const result = oracle.boot({ smmus: tiny.smmus.map(({ base }) => base) });
  return { oracle, result };
}

test('a takeover of an SMMU in service failure mode', () => {
  const failed = put(0x60, 1 << 8);
  expect(boot(failed).result).toBe(-5);
  const careless: Mischief = (inner, machine) => ({
    ...plain(inner),
    boot: (parameters) => {
      put(0x60, 0)(machine);
      return inner.boot(parameters);
    },
  });
  const { oracle, result } = boot(failed, careless);
  expect(result).toBe(0);
  expect(kinds(oracle.findings)).toEqual(['spec/boot/refused', 'structure/takeover/service-failure']);
});

test('a takeover while devices are not blocked', () => {
  const open = put(0x44, 0x1000);
  expect(boot(open).result).not.toBe(0);
  const careless: Mischief = (inner, machine) => ({
    ...plain(inner),
    boot: (parameters) => {
      put(0x44, 1 << 20)(machine);
      return inner.boot(parameters);
    },
  });
  const { oracle, result } = boot(open, careless);
  expect(result).toBe(0);
  expect(kinds(oracle.findings)).toEqual(['spec/boot/refused', 'isolation/takeover/dma-not-blocked']);
});

/** Answers to boot with that number, and otherwise boots as it is. */
function saying(result: number): Mischief {
  return (inner) => ({
    ...plain(inner),
    boot: (parameters) => {
      inner.boot(parameters);
      return result;
    },
  });
}

test('what boot answers is judged by what the host had set up', () => {
  expect(kinds(boot(() => {}, saying(-22)).oracle.findings)).toEqual(['spec/boot/ok']);
  const { oracle } = boot(put(0x44, 0x1000), saying(-1));
  expect(tell(oracle.findings)).toContain('boot gave -EPERM; -EINVAL: smmu0 lets devices through');
  expect(tell(boot(put(0x44, 0x1000)).oracle.findings)).toBe('');
  expect(tell(boot(put(0x44, 0x1000), saying(-1), false).oracle.findings)).toBe('');
});

test('an error of the queues that was not acknowledged', () => {
  expect(tell(boot(put(0x60, 4)).oracle.findings)).toBe('');
  const { oracle } = boot(put(0x60, 4), atBoot(put(0x64, 0)));
  expect(kinds(oracle.findings)).toEqual(['structure/takeover/errors']);
});

test('without readers of registers the statement says what is off', () => {
  const { oracle } = boot(put(0x44, 1 << 20), atBoot(put(0x44, 0)), false);
  expect(tell(oracle.findings)).toBe('');
  const { notModelled } = oracle.statement();
  expect(notModelled.filter((line) => line.includes('no reader was given'))).toHaveLength(2);
  const without = makeRig().oracle.statement().notModelled;
  expect(without.filter((line) => line.includes('no reader was given'))).toEqual([]);
});

test.each<[string, string, (machine: Machine, evtq: number) => void]>([
  ['not pinned', 'refcount/page', ({ memory }, at) => memory.write32(at, memory.read32(at) & ~0xffff)],
  ['not shared', 'ownership/page-record', ({ memory }, at) => memory.write32(at, memory.read32(at) & 0xffff)],
])('the event queue is known from the registers: it is %s', (_, rule, act) => {
  let at = 0;
  const mischief = atBoot((machine) => {
    const evtq = (machine.smmus[0]!.get(0xa0) & ~31) >>> 0;
    at = layout.vmemmap + ((evtq - tiny.ram[0]!.base) / PAGE) * 8;
    act(machine, at);
  });
  expect(kinds(makeRig({ full: 'never', mischief }).oracle.findings)).toEqual([rule]);
});

test('the stream table is known from the registers: the record names another one', () => {
  const mischief = atBoot(({ memory }) => memory.write32(layout.smmus + 8, 0x40200000));
  expect(kinds(makeRig({ full: 'never', mischief }).oracle.findings)).toContain('structure/smmu-record');
});

test('a CMD_SYNC counts as completed that the hardware was not told of', () => {
  const rig = makeRig({
    full: 'never',
    mischief: after('attach_dev', ({ smmus }) => smmus[0]!.put(0x9c, smmus[0]!.get(0x9c) - 1)),
  });
  rig.refill(1, 16);
  rig.call('alloc_domain', 0, 0, 1, 0);
  expect(tell(rig.oracle.findings)).toBe('');
  rig.call('attach_dev', 0, 1, 0, 0, 0, 0);
  expect(kinds(rig.oracle.findings)).toEqual(['invalidation/sync-not-done']);
});

test('a command queue that has stopped at an error completes nothing', () => {
  const rig = makeRig({
    full: 'never',
    mischief: after('attach_dev', ({ smmus }) => smmus[0]!.put(0x9c, smmus[0]!.get(0x9c) | 0x01000000)),
  });
  rig.refill(1, 16);
  rig.call('alloc_domain', 0, 0, 1, 0);
  rig.call('attach_dev', 0, 1, 0, 0, 0, 0);
  expect(kinds(rig.oracle.findings)).toEqual(['invalidation/sync-not-done']);
});

// ---- accesses

/** Lets every access of devices through, behind the oracle's back. */
function bypass({ smmus }: Machine): void {
  smmus[0]!.put(0x20, 0);
  smmus[0]!.put(0x44, 0);
}

test('a device that reaches a page of the hypervisor is found by the access itself', () => {
  const rig = makeRig({ full: 'never' });
  bypass(rig.machine);
  expect(rig.session.devices[0]!.write(carveOut, 1).ok).toBe(true);
  expect(kinds(rig.oracle.findings)).toEqual(['isolation/device-reached']);
  expect(rig.oracle.findings[0]!.detail).toMatchObject({ sid: 0, pa: carveOut });
});

test('a device that reaches a register of an SMMU', () => {
  const rig = makeRig({ full: 'never' });
  bypass(rig.machine);
  rig.session.devices[0]!.read(tiny.smmus[0]!.base);
  expect(kinds(rig.oracle.findings)).toEqual(['isolation/device-reached']);
});

test('a device that is attached to nothing, and reaches a page of the host', () => {
  const rig = makeRig({ full: 'never' });
  bypass(rig.machine);
  rig.session.devices[0]!.read(rig.page());
  expect(kinds(rig.oracle.findings)).toEqual(['isolation/device-not-attached']);
});

test.each([
  ['a page that is mapped elsewhere', 0x10000 + PAGE, false],
  ['another page than the one that is mapped', 0x10000, false],
  ['a page that may only be read', 0x10000, true],
])('a device reaches %s', (_, iova, readOnly) => {
  const rig = makeRig({ full: 'never' });
  const page = attached(rig, 0);
  const other = rig.page();
  if (readOnly) {
    rig.call('unmap_pages', 1, iova, PAGE, 1);
    rig.call('map_pages', 1, iova, page, PAGE, 1, 1);
  }
  const access = { smmu: 0, sid: 0, pasid: 0, iova, pa: readOnly ? page : other, write: readOnly, cached: false };
  rig.oracle.deviceReached(access);
  expect(kinds(rig.oracle.findings)).toEqual(['tables/device-reached']);
  rig.oracle.reset();
  rig.oracle.deviceReached({ ...access, iova: 0x10008, pa: page + 8, write: false });
  expect(rig.session.devices[0]!.read(0x10000).ok).toBe(true);
  expect(tell(rig.oracle.findings)).toBe('');
});

test.each<[string, (rig: Rig) => unknown]>([
  ['a read', ({ session }) => session.boundary.read32(1, carveOut)],
  ['a write', ({ session }) => session.boundary.write32(1, carveOut, 1)],
  ['a write of 64 bits', ({ session }) => session.boundary.write64(1, carveOut, 1, 1)],
])('the host reaches a page of the hypervisor by %s', (_, access) => {
  const rig = makeRig({ full: 'never' });
  access(rig);
  expect(tell(rig.oracle.findings)).toBe('');
  rig.machine.cpus[1]!.writeSystem(SystemRegister.HCR_EL2, 0, 0);
  access(rig);
  expect(kinds(rig.oracle.findings)).toEqual(['isolation/host-reached']);
});

test('the host reaches another page than it meant', () => {
  const rig = makeRig({ full: 'never' });
  rig.oracle.hostReached(0, 0x40100000, 0x40101000, false);
  expect(kinds(rig.oracle.findings)).toEqual(['ownership/host-elsewhere']);
});

// ---- every field of entries and descriptors

/** Flips one bit of the structure of stream 0 and asks a full check. */
function flip(type: number, cd: boolean, bit: number): string[] {
  const rig = makeRig({ full: 'never' });
  attached(rig, type);
  const { memory } = rig.machine;
  const ste = rig.session.smmuMemory[0]!.strtab;
  const at = (cd ? (memory.read32(ste) & ~63) >>> 0 : ste) + 4 * (bit >>> 5);
  memory.write32(at, memory.read32(at) ^ (1 << (bit & 31)));
  rig.oracle.reset();
  rig.oracle.checkAll();
  return kinds(rig.oracle.findings);
}

test('a VMID in the entry of a stage-1 stream: its translations would have a tag that nothing invalidates', () => {
  expect(flip(0, false, 128)).toContain('streams/entry');
});

test.each([
  [
    'stage-1 entry',
    0,
    false,
    [4, 63, 64, 67, 69, 71, 75, 77, 92, 94, 100, 108, 112, 116, 128, 143, 160, 192, 260, 511],
  ],
  [
    'stage-2 entry',
    1,
    false,
    [6, 63, 64, 100, 108, 128, 143, 160, 166, 168, 170, 172, 174, 176, 181, 183, 184, 192, 198, 204, 320, 511],
  ],
  [
    'context descriptor',
    0,
    true,
    [0, 6, 8, 10, 12, 14, 15, 16, 30, 32, 35, 38, 40, 42, 43, 45, 46, 47, 48, 63, 65, 76, 132, 192, 206, 256, 352, 511],
  ],
] as const)('any bit of a %s that is not as it must be', (_, type, cd, bits) => {
  for (const bit of bits) expect([bit, flip(type, cd, bit)]).toEqual([bit, expect.arrayContaining(['streams/entry'])]);
});

// ---- device pages

/** Address of the leaf of a device page in the host's stage 2. */
function deviceLeaf({ memory }: Machine, pa: number): number {
  let table = memory.read32(layout.hostStage2Root) >>> 0;
  for (let level = 0; level < 3; level++) {
    table = (memory.read32(table + 8 * (Math.floor(pa / 2 ** (39 - 9 * level)) % 512)) & ~0xfff) >>> 0;
  }
  return table + 8 * ((pa / PAGE) % 512);
}

function mapDoorbell(rig: Rig): void {
  rig.refill(1, 16);
  rig.refill(0, 4);
  rig.call('alloc_domain', 0, 0, 1, 0);
  rig.call('attach_dev', 0, 1, 0, 0, 0, 0);
  expect(rig.call('map_pages', 1, 0x10000, DOORBELL, PAGE, 1, WRITE_MMIO).value).toBe(PAGE);
}

test('a device page that is mapped for DMA and not marked as such', () => {
  const loses = after('map_pages', (machine) => {
    const at = deviceLeaf(machine, DOORBELL);
    machine.memory.write32(at + 4, machine.memory.read32(at + 4) & ~(1 << 23));
  });
  const rig = makeRig({ machine: withDoorbell, full: 'never', mischief: loses });
  mapDoorbell(rig);
  expect(kinds(rig.oracle.findings)).toEqual(['ownership/dma-mark']);
});

test('the mark of a device page is lost later, and stays after it was unmapped', () => {
  const rig = makeRig({ machine: withDoorbell, full: 'never' });
  mapDoorbell(rig);
  rig.call('unmap_pages', 1, 0x10000, PAGE, 1);
  rig.oracle.checkAll();
  expect(tell(rig.oracle.findings)).toBe('');
  const at = deviceLeaf(rig.machine, DOORBELL);
  rig.machine.memory.write32(at + 4, rig.machine.memory.read32(at + 4) & ~(1 << 23));
  rig.oracle.checkAll();
  expect(kinds(rig.oracle.findings)).toEqual(['ownership/dma-mark']);
});

test('a device page that nobody asked for is marked', () => {
  const rig = makeRig({ machine: withDoorbell, full: 'never' });
  mapDoorbell(rig);
  rig.session.boundary.read32(0, DOORBELL + PAGE);
  const at = deviceLeaf(rig.machine, DOORBELL + PAGE);
  rig.machine.memory.write32(at + 4, rig.machine.memory.read32(at + 4) | (1 << 23));
  rig.oracle.checkAll();
  expect(kinds(rig.oracle.findings)).toEqual(['ownership/dma-mark']);
});

test('the host has a register of an SMMU in its stage 2, at any page of them', () => {
  const rig = makeRig({ machine: withDoorbell, full: 'never' });
  mapDoorbell(rig);
  const { memory } = rig.machine;
  const leaf = deviceLeaf(rig.machine, DOORBELL);
  const at = deviceLeaf(rig.machine, tiny.smmus[0]!.base + 17 * PAGE);
  memory.write64(at, 0, (tiny.smmus[0]!.base + 17 * PAGE) | (memory.read32(leaf) & 0xfff) | 0);
  rig.oracle.checkAll();
  expect(kinds(rig.oracle.findings)).toEqual(['ownership/smmu-registers']);
});

// ---- how often everything is decoded anew

test('where the memory keeps a journal, a write into a page of the host is found without a full check', () => {
  const rig = makeRig({ full: 'never', mischief: after('vcpu_put', ({ memory }) => memory.write32(0x40100010, 1)) });
  rig.machine.memory.mark();
  rig.call('reserve_vm');
  expect(tell(rig.oracle.findings)).toBe('');
  rig.call('vcpu_put');
  expect(kinds(rig.oracle.findings)).toEqual(['unchanged/foreign-write']);
});

test('after a reset the next full check is as far away as after boot', () => {
  const rig = makeRig({ full: 8 });
  const mark = rig.machine.memory.mark();
  const checks: number[] = [];
  for (let run = 0; run < 5; run++) {
    rig.machine.memory.undo(mark);
    rig.oracle.reset();
    const before = rig.oracle.statement().fullChecks;
    for (let i = 0; i < 13; i++) rig.call('vcpu_put');
    checks.push(rig.oracle.statement().fullChecks - before);
  }
  expect(checks).toEqual([1, 1, 1, 1, 1]);
});

/** Address of the entry of the carve-out's first page in the host's stage 2, which on this machine has pages there. */
function annotation({ memory }: Machine): number {
  let table = memory.read32(layout.hostStage2Root) >>> 0;
  for (const index of [0, 1, 1]) table = (memory.read32(table + 8 * index) & ~0xfff) >>> 0;
  return table + 8 * 0x100;
}

test('a page that changes hands takes what stands beside it along: found at that call', () => {
  const loses = after('alloc_mgt_refill', (machine) => machine.memory.write64(annotation(machine), 0, 0));
  const rig = makeRig({ full: 'never', mischief: loses });
  while (rig.page() < carveOut - 8 * PAGE);
  rig.refill(1, 1);
  expect(kinds(rig.oracle.findings)).toEqual(['ownership/stage2']);
});

/** Counts a page too many in a pool with each page that is shared: nothing that the call itself touches tells. */
function forgetful(machine: Machine): Hypervisor {
  const freePages = layout.heapPool + 4;
  const forget = after('host_share_hyp', ({ memory }) => memory.write32(freePages, memory.read32(freePages) + 1));
  return forget(createHypervisor(machine), machine);
}

test('the finder finds what only a full check sees, at the step that does it', () => {
  const options = { machine: tiny, hypervisor: forgetful, identity: 'forgetful', seed: 1, maxCalls: 3000 };
  const { found } = findViolation(options);
  expect(found?.signature).toEqual({ property: 'allocation', rule: 'pool-count', call: 'host_share_hyp' });
  expect(found!.full).toBe('every');
  const { steps } = found!.scenario;
  expect(steps.filter((step) => step.kind === 'call' && step.call === 'host_share_hyp')).toHaveLength(1);
  expect(new CandidateRunner(tiny, forgetful, found!.full).run(steps)).toMatchObject(found!.signature);
  expect(new CandidateRunner(tiny, forgetful, 'never').run(steps)).toBeNull();
  expect(findViolation({ ...options, firstRun: found!.run, maxRuns: 1 }).found).toEqual(found);
  // A host that empties the pool would come upon it.
  const calls = ['host_share_hyp', 'host_unshare_hyp', 'alloc_domain', 'map_pages'] as const;
  expect(findViolation({ ...options, calls, maxCalls: 500 }).found?.signature.rule).toBe('pool-count');
  expect(findViolation({ ...options, calls, full: 'never', maxCalls: 500 }).found).toBeNull();
});
