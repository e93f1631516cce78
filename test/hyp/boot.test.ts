import { expect, test } from 'vitest';
import { createHypervisor } from '#hyp/plain';
import { qemuVirt, tiny } from '#machine';
import { booted, pageRecord, unbooted } from './harness.ts';

const GBPA = 0x44;
const STRTAB_BASE = 0x80;
const STRTAB_BASE_CFG = 0x88;
const CMDQ_BASE = 0x90;
const EVENTQ_BASE = 0xa0;
const GERROR = 0x60;
const GERRORN = 0x64;

test.each([tiny, qemuVirt])(
  'after boot on $name every stream aborts and the host cannot touch what is not its own',
  (description) => {
    const h = booted(description);
    for (const device of h.machine.devices) expect(device.read(0x1000, 1).ok).toBe(false);
    const { carveOut, smmus } = description;
    expect(h.boundary.read32(0, carveOut.base)).toBeNull();
    expect(h.boundary.write32(0, carveOut.base + carveOut.size - 4, 1)).toBe(false);
    expect(h.boundary.read32(0, smmus[0]!.base)).toBeNull();
    expect(h.boundary.read32(0, h.smmuMemory[0]!.strtab)).toBeNull();
    expect(h.boundary.read32(0, h.smmuMemory[0]!.cmdq)).toBeNull();
    // The event queue stays readable, shared and pinned.
    expect(h.boundary.read32(0, h.smmuMemory[0]!.evtq)).not.toBeNull();
    expect(pageRecord(h, h.smmuMemory[0]!.evtq)).toEqual({ refcount: 1, hostState: 1 });
    expect(h.boundary.call(0, 'host_unshare_hyp', h.smmuMemory[0]!.evtq / 4096).errno).toBe(-16);
  },
);

test('the host reaches its own memory through stage 2, mapped when it is touched', () => {
  const h = booted(tiny);
  const pa = h.memory.alloc();
  expect(h.boundary.write32(1, pa, 0x1234)).toBe(true);
  expect(h.boundary.read32(0, pa)).toBe(0x1234);
});

const base = tiny.smmus[0]!.base;

test.each([
  ['DMA is not blocked', (write: Write) => write(GBPA, 1 << 31), -22],
  ['the stream table has more streams than the hardware', (write: Write) => write(STRTAB_BASE_CFG, 4), -22],
  [
    'the stream table is two-level where the hardware knows none',
    (write: Write) => write(STRTAB_BASE_CFG, 0x10000 | (8 << 6) | 3),
    -22,
  ],
  ['the stream table is not RAM', (write: Write) => write(STRTAB_BASE, 0x1000), -22],
  ['the command queue is not aligned to its size', (write: Write) => write(CMDQ_BASE, 0x40001010 + 9), -22],
  ['the command queue lies in the carve-out', (write: Write) => write(CMDQ_BASE, tiny.carveOut.base + 8), -1],
])('boot refuses when %s', (_name, spoil, expected) => {
  const { machine } = unbooted(tiny);
  spoil((offset, value) => machine.bus.write32(base + offset, value));
  expect(createHypervisor(machine).boot({ smmus: [base] })).toBe(expected);
});

test('boot refuses an SMMU in service failure mode, and acknowledges any other error', () => {
  const failed = unbooted(tiny).machine;
  failed.smmus[0]!.put(GERROR, 1 << 8);
  expect(createHypervisor(failed).boot({ smmus: [base] })).toBe(-5);
  const { machine } = unbooted(tiny);
  machine.smmus[0]!.put(GERROR, 5);
  expect(createHypervisor(machine).boot({ smmus: [base] })).toBe(0);
  expect(machine.bus.read32(base + GERRORN)).toBe(5);
});

/** The same with a two-level stream table of 2^10 streams. */
const wide = { ...tiny, smmus: [{ ...tiny.smmus[0]!, twoLevelStreamTable: true, sidBits: 10 }] };
const CARVE_OUT = tiny.carveOut.base;

test.each([
  ['the stream table has no known format', tiny, (write: Write) => write(STRTAB_BASE_CFG, 0x20000 | 3), -22],
  ['the StreamID split is not 8', wide, (write: Write) => write(STRTAB_BASE_CFG, 0x10000 | (6 << 6) | 10), -22],
  ['the stream table is not aligned to its size', tiny, (write: Write) => write(STRTAB_BASE, 0x40001000 + 64), -22],
  ['the stream table lies in the carve-out', tiny, (write: Write) => write(STRTAB_BASE, CARVE_OUT), -1],
  ['the command queue is larger than the hardware has', tiny, (write: Write) => write(CMDQ_BASE, 0x40100000 + 9), -22],
  ['the command queue is not RAM', tiny, (write: Write) => write(CMDQ_BASE, 0x1000 + 8), -22],
  ['the event queue is larger than the hardware has', tiny, (write: Write) => write(EVENTQ_BASE, 0x40100000 + 8), -22],
  ['the event queue begins inside a page', tiny, (write: Write) => write(EVENTQ_BASE, 0x40100400 + 4), -22],
  ['the event queue lies in the carve-out', tiny, (write: Write) => write(EVENTQ_BASE, CARVE_OUT + 7), -1],
  ['the event queue is not RAM', tiny, (write: Write) => write(EVENTQ_BASE, 0x1000 + 7), -22],
])('boot refuses when %s', (_name, description, spoil, expected) => {
  const { machine } = unbooted(description);
  spoil((offset, value) => machine.bus.write32(base + offset, value));
  expect(createHypervisor(machine).boot({ smmus: [base] })).toBe(expected);
});

test.each(['cmdq', 'evtq'] as const)('boot refuses a stream table that is the %s as well', (other) => {
  const { machine, smmuMemory } = unbooted(tiny);
  machine.bus.write32(base + STRTAB_BASE, smmuMemory[0]![other]);
  expect(createHypervisor(machine).boot({ smmus: [base] })).toBe(-1);
});

test('boot refuses hardware that does not answer the first invalidation', () => {
  const { machine } = unbooted(tiny);
  machine.smmus[0]!.setAnswers(false);
  expect(createHypervisor(machine).boot({ smmus: [base] })).toBe(-110);
});

test('boot refuses an event queue of several pages that hardware would take to lie elsewhere', () => {
  const description = { ...tiny, smmus: [{ ...tiny.smmus[0]!, evtqLog2: 8 }] };
  for (const [pa, expected] of [
    [0x40102000, 0],
    [0x40101000, -22],
  ] as const) {
    const { machine } = unbooted(description);
    machine.bus.write32(base + EVENTQ_BASE, pa + 8);
    expect(createHypervisor(machine).boot({ smmus: [base] })).toBe(expected);
  }
});

type Write = (offset: number, value: number) => void;

test('boot refuses SMMUs other than those of the machine', () => {
  const { machine } = unbooted(tiny);
  expect(createHypervisor(machine).boot({ smmus: [0x1000] })).toBe(-22);
});
