import { expect, test } from 'vitest';
import {
  COMMAND_NAMES,
  createMachine,
  Opcode,
  preset,
  registers,
  type SmmuDescription,
  smmuFeatures,
  tiny,
} from '#machine';
import { CMDQ, EVTQ, Setup, STRTAB } from './bench-setup.ts';

const { Register } = registers;
const UNMAPPED = 0x1000;

function smmuWith(change: Partial<SmmuDescription>): Setup {
  return new Setup({ ...tiny, smmus: [{ ...tiny.smmus[0]!, ...change }] });
}

test('the ID registers of qemu-virt are those of the board', () => {
  const smmu = createMachine(preset('qemu-virt')).smmus[0]!;
  const ids = [0, 4, 8, 0xc, 0x10, 0x14, 0x18, 0x1c].map((offset) => smmu.read32(offset) >>> 0);
  expect(ids).toEqual([0x0d44101b, 0x02730010, 0, 0x1414, 0, 0x74, 0, 1]);
});

test('each feature shows in its ID register field', () => {
  const idr = (change: Partial<SmmuDescription>, offset: number): number => smmuWith(change).smmu.read32(offset);
  expect(idr({ stage1: false }, Register.IDR0) & 3).toBe(1);
  expect(idr({ stage2: false }, Register.IDR0) & 3).toBe(2);
  expect(idr({ coherent: false }, Register.IDR0) & 0x10).toBe(0);
  expect(idr({ asid16: false, vmid16: false, sev: true }, Register.IDR0) & 0x45000).toBe(0x4000);
  expect(idr({ ssidBits: 20 }, Register.IDR1)).toBe(3 | (20 << 6) | (7 << 16) | (8 << 21));
  expect(idr({ rangeInvalidation: false }, Register.IDR3) & 0x400).toBe(0);
  expect(idr({ oas: 48, granules: [16] }, Register.IDR5)).toBe(0x45);
});

test('optional features show in their fields, and are off when left out', () => {
  const idr = (change: Partial<SmmuDescription>, offset: number): number => smmuWith(change).smmu.read32(offset) >>> 0;
  const { IDR0, IDR1, IDR3, IDR5 } = Register;
  const off = (offset: number): number => idr({}, offset);
  expect(idr({ twoLevelCdTable: true }, IDR0) ^ off(IDR0)).toBe(1 << 19);
  expect(idr({ hardwareUpdate: 'access' }, IDR0) ^ off(IDR0)).toBe(1 << 6);
  expect(idr({ hardwareUpdate: 'dirty' }, IDR0) ^ off(IDR0)).toBe(2 << 6);
  expect(idr({ msi: true }, IDR0) ^ off(IDR0)).toBe(1 << 13);
  // ATS and ATSRECERR; NS1ATS only where there is nesting.
  const ATS = (1 << 10) | (1 << 23);
  expect(idr({ ats: true }, IDR0) ^ off(IDR0)).toBe(ATS);
  expect(idr({ ats: true, splitStageAts: false }, IDR0) ^ off(IDR0)).toBe(ATS | (1 << 11));
  expect(idr({ ats: true, splitStageAts: false, stage2: false }, IDR0) ^ idr({ stage2: false }, IDR0)).toBe(ATS);
  expect(idr({ splitStageAts: false }, IDR0)).toBe(off(IDR0));
  expect(idr({ ats: true, pri: true }, IDR0) ^ off(IDR0)).toBe(ATS | (1 << 16));
  expect(idr({ ats: true, pri: true, priqLog2: 5 }, IDR1) ^ off(IDR1)).toBe(5 << 11);
  expect(idr({ priqLog2: 5 }, IDR1)).toBe(off(IDR1));
  expect(idr({ termModel: 'both' }, IDR0) ^ off(IDR0)).toBe(1 << 26);
  expect((off(IDR0) >>> 24) & 3).toBe(1);
  expect([idr({ stallModel: 'both' }, IDR0), idr({ stallModel: 'stall' }, IDR0)].map((v) => (v >>> 24) & 3)).toEqual([
    0, 2,
  ]);
  expect([off(IDR5) >>> 16, idr({ stallModel: 'both' }, IDR5) >>> 16]).toEqual([0, 16]);
  expect(idr({ smallTables: true }, IDR3) ^ off(IDR3)).toBe(1 << 9);
  expect(idr({ oas: 52, vaBits: 52 }, IDR5)).toBe(6 | (1 << 4) | (1 << 10));
  expect(idr({ ...smmuFeatures.full, pri: false }, IDR1) >>> 6).toBe((off(IDR1) >>> 6) | 20);
});

test('feature presets: one stage, both, substreams', () => {
  const stages = (['stage1Only', 'stage2Only', 'nested', 'full'] as const).map(
    (name) => smmuWith(smmuFeatures[name]).smmu.read32(Register.IDR0) & 3,
  );
  expect(stages).toEqual([2, 1, 3, 3]);
});

test('CR0 is acknowledged at once and keeps only the fields that exist', () => {
  const { smmu } = new Setup();
  smmu.write32(Register.CR0, 0xffff_fff0 | 0xc);
  expect([smmu.read32(Register.CR0), smmu.read32(Register.CR0ACK)]).toEqual([0xc, 0xc]);
  smmu.write32(Register.CR0ACK, 0);
  expect(smmu.read32(Register.CR0ACK)).toBe(0xc);
  smmu.write32(Register.IRQ_CTRL, 0xff);
  expect([smmu.read32(Register.IRQ_CTRL), smmu.read32(Register.IRQ_CTRLACK)]).toEqual([5, 5]);
});

test('ID registers and acknowledgements cannot be written', () => {
  const { smmu } = new Setup();
  for (const offset of [Register.IDR0, Register.IDR5, Register.GERROR, Register.STATUSR]) {
    const before = smmu.read32(offset);
    smmu.write32(offset, ~before);
    expect(smmu.read32(offset)).toBe(before);
  }
});

test('a base register is writable only while what it serves is off', () => {
  const s = new Setup().enable();
  const { smmu } = s;
  const guarded = [
    Register.STRTAB_BASE,
    Register.STRTAB_BASE_CFG,
    Register.CMDQ_BASE,
    Register.CMDQ_CONS,
    Register.EVENTQ_BASE,
    Register.EVENTQ_PROD,
    Register.CR1,
    Register.CR2,
  ];
  const read = (): number[] => guarded.map((offset) => smmu.read32(offset));
  const before = read();
  for (const offset of guarded) smmu.write32(offset, 0x0000_0540);
  expect(read()).toEqual(before);
  smmu.write32(Register.CR0, 0);
  for (const offset of guarded) smmu.write32(offset, 0x0000_0540);
  read().forEach((value, i) => {
    expect(value, `register 0x${guarded[i]!.toString(16)}`).not.toBe(before[i]);
  });
});

test('the queue fields of CR1 are guarded by the queues, the table fields by SMMUEN', () => {
  const { smmu } = new Setup();
  smmu.write32(Register.CR1, 0xd75);
  expect(smmu.read32(Register.CR1)).toBe(0xd75);
  smmu.write32(Register.CR0, registers.CR0_CMDQEN);
  smmu.write32(Register.CR1, 0);
  expect(smmu.read32(Register.CR1)).toBe(0xd75 & registers.CR1_QUEUE_FIELDS);
});

test('64-bit registers take 64-bit and 32-bit accesses, others only 32-bit ones', () => {
  const { smmu } = new Setup();
  smmu.write64(Register.STRTAB_BASE, 0x4000_0012, 0x3456_7fc0);
  expect([smmu.read64(Register.STRTAB_BASE), smmu.hi]).toEqual([0x3456_7fc0, 0x4000_0012]);
  expect(smmu.read32(Register.STRTAB_BASE + 4)).toBe(0x4000_0012);
  smmu.write64(Register.CR1, 0, 0xd75);
  expect([smmu.read32(Register.CR1), smmu.read64(Register.CR0), smmu.hi]).toEqual([0, 0, 0]);
  expect(smmu.read32(0x1_0000)).toBe(0);
});

test('GBPA takes a value only together with Update, and decides while the SMMU is off', () => {
  const s = new Setup();
  const { smmu } = s;
  const disk = s.machine.device('disk');
  expect(smmu.read32(Register.GBPA)).toBe(0x1000);
  expect(disk.read(STRTAB, 1)).toMatchObject({ ok: true, pa: STRTAB });
  expect(disk.read(2 ** 40, 1)).toMatchObject({ ok: false, event: null });
  smmu.write32(Register.GBPA, registers.GBPA_ABORT);
  expect(disk.read(STRTAB, 1).ok).toBe(true);
  smmu.write32(Register.GBPA, registers.GBPA_ABORT | registers.GBPA_UPDATE);
  expect(smmu.read32(Register.GBPA)).toBe(registers.GBPA_ABORT);
  expect(disk.read(STRTAB, 1)).toMatchObject({ ok: false, event: null });
});

test('the command queue wraps', () => {
  const s = new Setup().enable();
  const seen: number[] = [];
  s.smmu.observer = { command: (index) => seen.push(index) };
  for (let i = 0; i < 600; i++) s.command(0x46n);
  expect(seen.slice(254, 258)).toEqual([254, 255, 0, 1]);
  expect(s.smmu.read32(Register.CMDQ_CONS)).toBe(600 % 512);
  expect(s.smmu.read32(Register.CMDQ_PROD)).toBe(600 % 512);
});

test('a full queue of commands is consumed with one PROD write', () => {
  const s = new Setup().enable();
  for (let i = 0; i < 256; i++) s.put(CMDQ + 16 * i, i === 200 ? 0x30n : 0x46n);
  let count = 0;
  s.smmu.observer = { command: () => count++ };
  s.smmu.write32(Register.CMDQ_PROD, 256);
  expect(count).toBe(256);
});

test('a bad command stops the queue at it until the error is acknowledged; then it is fetched again', () => {
  const s = new Setup().enable();
  const { smmu } = s;
  s.put(CMDQ, 0x46n);
  s.put(CMDQ + 16, 0xffn);
  s.put(CMDQ + 32, 0x46n);
  smmu.write32(Register.CMDQ_PROD, 3);
  expect(smmu.read32(Register.CMDQ_CONS)).toBe(1 | (registers.CERROR_ILL << 24));
  expect(smmu.read32(Register.GERROR)).toBe(registers.GERROR_CMDQ_ERR);
  // While the error is active nothing is consumed.
  smmu.write32(Register.CMDQ_PROD, 3);
  expect(smmu.read32(Register.CMDQ_CONS) & 0xfffff).toBe(1);
  // Acknowledged without a repair: the same command, the same error again.
  smmu.write32(Register.GERRORN, registers.GERROR_CMDQ_ERR);
  expect(smmu.read32(Register.CMDQ_CONS)).toBe(1 | (registers.CERROR_ILL << 24));
  expect(smmu.read32(Register.GERROR)).toBe(0);
  s.put(CMDQ + 16, 0x46n);
  smmu.write32(Register.GERRORN, 0);
  expect(smmu.read32(Register.CMDQ_CONS)).toBe(3);
});

test('commands that are outside memory abort the queue', () => {
  const s = new Setup();
  s.smmu.write64(Register.CMDQ_BASE, 0, 0x2000_0008);
  s.smmu.write32(Register.CR0, registers.CR0_CMDQEN);
  s.smmu.write32(Register.CMDQ_PROD, 1);
  expect(s.smmu.read32(Register.CMDQ_CONS)).toBe(registers.CERROR_ABT << 24);
  expect(s.smmu.read32(Register.GERROR)).toBe(1);
});

test('commands written before the queue is enabled are consumed when it is', () => {
  const s = new Setup();
  s.smmu.write64(Register.CMDQ_BASE, 0, CMDQ | 8);
  s.put(CMDQ, 0x46n);
  s.smmu.write32(Register.CMDQ_PROD, 1);
  expect(s.smmu.read32(Register.CMDQ_CONS)).toBe(0);
  s.smmu.write32(Register.CR0, registers.CR0_CMDQEN);
  expect(s.smmu.read32(Register.CMDQ_CONS)).toBe(1);
});

test('every opcode has a name', () => {
  expect(COMMAND_NAMES.get(Opcode.TLBI_S12_VMALL)).toBe('TLBI_S12_VMALL');
});

test('the event queue wraps, overflows once, and recovers when the overflow is acknowledged', () => {
  const s = new Setup().enable();
  const { smmu } = s;
  const net = s.machine.device('net');
  for (let i = 0; i < 128; i++) net.read(UNMAPPED, 1);
  expect(smmu.read32(Register.EVENTQ_PROD)).toBe(128);
  net.read(UNMAPPED, 1);
  net.read(UNMAPPED, 1);
  expect(smmu.read32(Register.EVENTQ_PROD) >>> 0).toBe(0x8000_0080);
  smmu.write32(Register.EVENTQ_CONS, 0x8000_0080 | 0);
  net.read(UNMAPPED, 1);
  expect(smmu.read32(Register.EVENTQ_PROD) >>> 0).toBe(0x8000_0081);
  expect(s.get(EVTQ)).toBe((1n << 32n) | 4n);
});

test('an event queue outside memory raises EVENTQ_ABT, and no event is delivered while it is active', () => {
  const s = new Setup();
  const { smmu } = s;
  smmu.write64(Register.EVENTQ_BASE, 0, 0x2000_0007);
  smmu.write64(Register.STRTAB_BASE, 0, STRTAB);
  smmu.write32(Register.STRTAB_BASE_CFG, 3);
  smmu.write32(Register.CR0, registers.CR0_SMMUEN | registers.CR0_EVENTQEN);
  s.machine.device(1).read(UNMAPPED, 1);
  expect(smmu.read32(Register.GERROR)).toBe(registers.GERROR_EVENTQ_ABT);
  expect(smmu.read32(Register.EVENTQ_PROD)).toBe(0);
});

test('an observer sees register writes, commands and events', () => {
  const s = new Setup().enable();
  const seen: string[] = [];
  s.smmu.observer = {
    registerWrite: (offset, _hi, lo, width) => seen.push(`write ${offset.toString(16)} ${lo} ${width}`),
    command: (index, _hi0, lo0, _hi1, _lo1, error) => seen.push(`command ${index} ${lo0} ${error}`),
    event: (record, written) => seen.push(`event ${record.name} ${record.sid} ${written}`),
  };
  s.sync();
  s.machine.device(2).read(UNMAPPED, 1);
  expect(seen).toEqual(['write 98 1 4', 'command 0 70 0', 'event C_BAD_STE 2 true']);
});
