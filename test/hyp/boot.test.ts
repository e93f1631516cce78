import { expect, test } from 'vitest';
import { createHypervisor } from '#hyp/plain';
import { qemuVirt, tiny } from '#machine';
import { booted, pageRecord, unbooted } from './harness.ts';

const GBPA = 0x44;
const STRTAB_BASE = 0x80;
const STRTAB_BASE_CFG = 0x88;
const CMDQ_BASE = 0x90;

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

type Write = (offset: number, value: number) => void;

test('boot refuses SMMUs other than those of the machine', () => {
  const { machine } = unbooted(tiny);
  expect(createHypervisor(machine).boot({ smmus: [0x1000] })).toBe(-22);
});
