import { expect, test } from 'vitest';
import { createMachine, registers, Smmu, tiny } from '#machine';
import { CMDQ, type Setup } from './bench-setup.ts';
import { smmuWith } from './nested-setup.ts';

const { Register } = registers;
const DOORBELL = 0x4010_0000;

function withMsi(): { s: Setup; seen: string[] } {
  const s = smmuWith({ msi: true });
  const seen: string[] = [];
  s.smmu.observer = { interrupt: (which, address, data) => seen.push(`${which} ${address.toString(16)} ${data}`) };
  return { s, seen };
}

test('interrupt configuration is writable while its interrupt is off, and only where there are MSIs', () => {
  const { smmu } = withMsi().s;
  smmu.write64(Register.GERROR_IRQ_CFG0, 0xfff0_0001 | 0, 0x4010_0003);
  smmu.write32(Register.GERROR_IRQ_CFG1, 0x55);
  smmu.write32(Register.GERROR_IRQ_CFG2, 0xfff);
  expect([smmu.read64(Register.GERROR_IRQ_CFG0), smmu.hi]).toEqual([0x4010_0000, 1]);
  expect([smmu.read32(Register.GERROR_IRQ_CFG1), smmu.read32(Register.GERROR_IRQ_CFG2)]).toEqual([0x55, 0x3f]);
  smmu.write32(Register.IRQ_CTRL, registers.IRQ_GERROR);
  smmu.write32(Register.GERROR_IRQ_CFG1, 0x66);
  smmu.write32(Register.EVENTQ_IRQ_CFG1, 0x77);
  expect([smmu.read32(Register.GERROR_IRQ_CFG1), smmu.read32(Register.EVENTQ_IRQ_CFG1)]).toEqual([0x55, 0x77]);
  const plain = smmuWith({}).smmu;
  plain.write32(Register.GERROR_IRQ_CFG1, 0x55);
  expect(plain.read32(Register.GERROR_IRQ_CFG1)).toBe(0);
  expect([smmu.read32(0) & 0x2000, plain.read32(0) & 0x2000]).toEqual([0x2000, 0]);
});

test('the event queue interrupts when it is no longer empty, and not again', () => {
  const { s, seen } = withMsi();
  s.smmu.write64(Register.EVENTQ_IRQ_CFG0, 0, DOORBELL);
  s.smmu.write32(Register.EVENTQ_IRQ_CFG1, 42);
  s.smmu.write32(Register.IRQ_CTRL, registers.IRQ_EVENTQ);
  s.enable();
  s.machine.device(1).read(0, 1);
  s.machine.device(1).read(0, 1);
  expect(seen).toEqual([`eventq ${DOORBELL.toString(16)} 42`]);
  expect(s.machine.memory.read32(DOORBELL)).toBe(42);
  s.smmu.write32(Register.EVENTQ_CONS, 2);
  s.machine.device(1).read(0, 1);
  expect(seen).toHaveLength(2);
});

test('a global error interrupts when it becomes active', () => {
  const { s, seen } = withMsi();
  s.smmu.write64(Register.GERROR_IRQ_CFG0, 0, DOORBELL);
  s.smmu.write32(Register.IRQ_CTRL, registers.IRQ_GERROR);
  s.enable();
  s.command(0xffn);
  expect(seen).toEqual([`gerror ${DOORBELL.toString(16)} 0`]);
  // Acknowledged without a repair it becomes active again.
  s.smmu.write32(Register.GERRORN, 1);
  expect(seen).toHaveLength(2);
});

test('CMD_SYNC with CS 1 sends its MSI to any physical address; an address of 0 means the wire, CS 0 nothing', () => {
  const { s, seen } = withMsi();
  s.enable();
  s.command(0x1046n | (7n << 32n), BigInt(DOORBELL + 4));
  s.command(0x1046n | (8n << 32n), 0n);
  s.command(0x2046n | (9n << 32n), BigInt(DOORBELL + 4));
  s.sync();
  expect(seen).toEqual([`sync ${(DOORBELL + 4).toString(16)} 7`, 'sync -1 0']);
  expect(s.machine.memory.read32(DOORBELL + 4)).toBe(7);
});

test('an MSI that nothing takes is an error of its own kind; that of GERROR interrupts nobody', () => {
  const { s, seen } = withMsi();
  s.smmu.write64(Register.GERROR_IRQ_CFG0, 0, 0x2000_0000);
  s.smmu.write32(Register.IRQ_CTRL, registers.IRQ_GERROR);
  s.enable();
  s.command(0x1046n, 0x2000_0000n);
  expect(seen).toEqual(['sync 20000000 0', 'gerror 20000000 0']);
  expect(s.smmu.read32(Register.GERROR)).toBe(registers.GERROR_MSI_CMDQ | registers.GERROR_MSI_GERROR);
  // Both stay active until software acknowledges them: no toggle in between.
  s.command(0x1046n, 0x2000_0000n);
  expect(s.smmu.read32(Register.GERROR)).toBe(registers.GERROR_MSI_CMDQ | registers.GERROR_MSI_GERROR);
  s.smmu.write32(Register.GERRORN, registers.GERROR_MSI_CMDQ | registers.GERROR_MSI_GERROR);
  s.command(0x1046n, 0x2000_0000n);
  expect(s.smmu.read32(Register.GERROR)).toBe(0);
});

test('without MSIs, interrupts go to wires', () => {
  const s = smmuWith({});
  const seen: string[] = [];
  s.smmu.observer = { interrupt: (which, address) => seen.push(`${which} ${address}`) };
  s.smmu.write32(Register.IRQ_CTRL, registers.IRQ_GERROR | registers.IRQ_EVENTQ);
  s.enable();
  s.command(0x1046n, BigInt(DOORBELL));
  s.machine.device(1).read(0, 1);
  s.command(0xffn);
  expect(seen).toEqual(['sync -1', 'eventq -1', 'gerror -1']);
  expect(s.machine.memory.read32(DOORBELL)).toBe(0);
});

test('MSIs reach devices through the bus, and RAM alone when an SMMU stands by itself', () => {
  const machine = createMachine({
    ...tiny,
    mmio: [{ name: 'doorbell', base: 0x0809_0000, size: 4096 }],
    smmus: [{ ...tiny.smmus[0]!, msi: true }],
  });
  const send = (smmu: Smmu, to: number): void => {
    smmu.write64(Register.CMDQ_BASE, 0, CMDQ | 8);
    machine.memory.write64(CMDQ, 5, 0x1046);
    machine.memory.write64(CMDQ + 8, 0, to);
    smmu.write32(Register.CR0, registers.CR0_CMDQEN);
    smmu.write32(Register.CMDQ_PROD, 1);
  };
  send(machine.smmus[0]!, 0x0809_0040);
  expect(machine.bus.read32(0x0809_0040)).toBe(5);
  const alone = new Smmu(machine.memory, machine.description.smmus[0]!);
  send(alone, 0x0809_0040);
  expect(alone.read32(Register.GERROR)).toBe(registers.GERROR_MSI_CMDQ);
  const other = new Smmu(machine.memory, machine.description.smmus[0]!);
  send(other, DOORBELL);
  expect(machine.memory.read32(DOORBELL)).toBe(5);
});
