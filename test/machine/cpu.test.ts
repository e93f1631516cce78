import { expect, test } from 'vitest';
import { BusError, createMachine, HCR_VM, hostPort, SystemRegister, tiny } from '#machine';

const L1 = 0x40300000;
const L2 = 0x40302000;
const L3 = 0x40303000;
/** T0SZ 24, SL0 1 (two concatenated tables at level 1), 4K, 40-bit output. */
const VTCR = 24 | (1 << 6) | (2 << 16);

function machine(vtcr = VTCR): ReturnType<typeof createMachine> {
  const m = createMachine(tiny);
  m.memory.write64(L1 + 8, 0, L2 | 3);
  m.memory.write64(L2, 0, L3 | 3);
  for (const cpu of m.cpus) {
    cpu.writeSystem(SystemRegister.VTCR_EL2, 0, vtcr);
    cpu.writeSystem(SystemRegister.VTTBR_EL2, 5 << 16, L1 | 1);
    cpu.writeSystem(SystemRegister.HCR_EL2, 0, HCR_VM);
  }
  return m;
}

const leaf = (m: ReturnType<typeof createMachine>, page: number, word: number): void =>
  m.memory.write64(L3 + 8 * page, 0, word);

test('EL1 is flat until stage 2 is on, each CPU for itself', () => {
  const m = machine();
  const [first, second] = [m.cpus[0]!, m.cpus[1]!];
  second.writeSystem(SystemRegister.HCR_EL2, 0, 0);
  m.memory.write32(0x40001000, 7);
  expect(second.el1Read32(0x40001000)).toBe(7);
  expect(first.el1Read32(0x40001000)).toEqual({ ipa: 0x40001000, write: false, kind: 'translation', level: 3 });
  expect(() => second.el1Read32(0x2000)).toThrow(BusError);
});

test('an EL1 access goes where stage 2 says', () => {
  const m = machine();
  const cpu = m.cpus[0]!;
  leaf(m, 1, 0x40005000 | 0x7ff);
  expect(cpu.el1Write32(0x40001010, 42)).toBeNull();
  expect(m.memory.read32(0x40005010)).toBe(42);
  expect(cpu.el1Read32(0x40001010)).toBe(42);
  expect(cpu.el1Write64(0x40001018, 1, 2)).toBeNull();
  expect(m.memory.read32(0x4000501c)).toBe(1);
  expect(cpu.el1Translate(0x40001018, false)).toBe(0x40005018);
});

test('each stage-2 fault has its kind and level, and the write does not happen', () => {
  const m = machine();
  const cpu = m.cpus[0]!;
  leaf(m, 1, 0x40005000 | 0x77f);
  expect(cpu.el1Write32(0x40001000, 9)).toEqual({ ipa: 0x40001000, write: true, kind: 'permission', level: 3 });
  expect(m.memory.read32(0x40005000)).toBe(0);
  leaf(m, 1, 0x40005000 | 0x3ff);
  expect(cpu.el1Read32(0x40001000)).toMatchObject({ kind: 'access', level: 3 });
  m.memory.write64(L2, 0x100, L3 | 3);
  expect(cpu.el1Read32(0x40001000)).toMatchObject({ kind: 'address-size', level: 2 });
  m.memory.write64(L2, 0, 0);
  expect(cpu.el1Read32(0x40001000)).toMatchObject({ kind: 'translation', level: 2 });
  expect(cpu.el1Read32(2 ** 40)).toMatchObject({ kind: 'translation', level: 0 });
  m.memory.write64(L2, 0, 0x40000000 | 0x7fd);
  expect(cpu.el1Translate(0x40001234, true)).toBe(0x40001234);
  m.memory.write64(L1 + 8, 0, 0x40000000 | 0x7fd);
  expect(cpu.el1Translate(0x40101234, true)).toBe(0x40101234);
});

test('a start level that does not fit the input size faults', () => {
  expect(machine(16 | (1 << 6) | (2 << 16)).cpus[0]!.el1Read32(0x40001000)).toMatchObject({ level: 0 });
});

test('registers of EL2 are undone, argument registers are not', () => {
  const m = machine();
  const cpu = m.cpus[0]!;
  const mark = m.memory.mark();
  cpu.writeSystem(SystemRegister.VTTBR_EL2, 1, 2);
  cpu.x[0] = 5;
  m.memory.undo(mark);
  expect([cpu.systemHi(SystemRegister.VTTBR_EL2), cpu.systemLo(SystemRegister.VTTBR_EL2)]).toEqual([5 << 16, L1 | 1]);
  expect(cpu.x[0]).toBe(5);
});

test('a host port has no way to EL2', () => {
  const m = machine();
  const port = hostPort(m.cpus[1]!);
  expect(Object.keys(port).sort()).toEqual(['cpu', 'el1Read32', 'el1Write32', 'el1Write64', 'x']);
  expect(port.cpu).toBe(1);
  leaf(m, 1, 0x40005000 | 0x7ff);
  port.el1Write32(0x40001000, 3);
  expect(port.el1Read32(0x40001000)).toBe(3);
  port.x[1] = 9;
  expect(m.cpus[1]!.x[1]).toBe(9);
});
