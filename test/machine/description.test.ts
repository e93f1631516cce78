import { expect, test } from 'vitest';
import { createMachine, DescriptionError, preset, presets, ScratchMmio, tiny, validateDescription } from '#machine';

const copy = (): Record<string, unknown> => JSON.parse(JSON.stringify(tiny)) as Record<string, unknown>;

test('every preset is valid and survives a trip through JSON', () => {
  for (const [name, description] of Object.entries(presets)) {
    expect(validateDescription(JSON.parse(JSON.stringify(description)))).toEqual(description);
    expect(description.name).toBe(name);
    expect(createMachine(preset(name)).smmus).toHaveLength(description.smmus.length);
  }
  expect(() => preset('mmu9')).toThrow('preset "mmu9": expected one of tiny, switched, qemu-virt, mmu700, two-smmus');
  expect(() => preset('toString')).toThrow(DescriptionError);
});

test('addresses may be hex strings', () => {
  const description = copy();
  description.carveOut = { base: '0x40300000', size: '0x100000' };
  expect(validateDescription(description)).toEqual(tiny);
});

// biome-ignore lint/suspicious/noExplicitAny: the cases break the shape on purpose.
type Change = (d: Record<string, any>) => void;

test.each<[string, Change, string]>([
  ['no name', (d) => delete d.name, 'name: expected a name'],
  ['an unknown field', (d) => (d.ghost = 1), 'the description.ghost: expected only the fields'],
  ['no RAM', (d) => (d.ram = []), 'ram: expected a list of at least 1'],
  ['misaligned RAM', (d) => (d.ram[0].base = 0x40000800), 'ram[0].base: expected a multiple of 4096'],
  ['RAM beyond the space', (d) => (d.ram[0].base = 2 ** 52), 'ram[0].base: expected an address below 2^52'],
  ['an empty carve-out', (d) => (d.carveOut.size = 0), 'carveOut.size: expected a positive multiple of 4096'],
  ['a carve-out outside RAM', (d) => (d.carveOut.base = 0x50000000), 'carveOut: expected a range inside one RAM range'],
  ['no CPU', (d) => (d.cpus = 0), 'cpus: expected a whole number from 1 to 8'],
  ['an SMMU in RAM', (d) => (d.smmus[0].base = 0x40000000), 'smmus[0]: expected a range that does not overlap ram[0]'],
  ['a misplaced SMMU', (d) => (d.smmus[0].base = 0x9051000), 'smmus[0].base: expected a multiple of 64 KiB'],
  ['an odd address width', (d) => (d.smmus[0].oas = 41), 'smmus[0].oas: expected one of 32, 36, 40, 42, 44, 48, 52'],
  ['an odd granule', (d) => (d.smmus[0].granules = [13]), 'smmus[0].granules[0]: expected 12, 14 or 16'],
  ['an odd VA width', (d) => (d.smmus[0].vaBits = 49), 'smmus[0].vaBits: expected one of 48, 52'],
  [
    'an odd flag update',
    (d) => (d.smmus[0].hardwareUpdate = 1),
    'smmus[0].hardwareUpdate: expected one of none, access',
  ],
  ['an odd stall model', (d) => (d.smmus[0].stallModel = ''), 'smmus[0].stallModel: expected one of both, terminate'],
  ['an optional flag that is null', (d) => (d.smmus[0].ats = null), 'smmus[0].ats: expected true or false'],
  [
    'an odd termination model',
    (d) => (d.smmus[0].termModel = 'raz'),
    'smmus[0].termModel: expected one of abort, both',
  ],
  ['PRI without ATS', (d) => (d.smmus[0].pri = true), 'smmus[0].pri: expected false: there is no ats'],
  [
    'a PRI queue too large',
    (d) => (d.smmus[0].priqLog2 = 20),
    'smmus[0].priqLog2: expected a whole number from 0 to 19',
  ],
  ['a flag that is a number', (d) => (d.smmus[0].sev = 1), 'smmus[0].sev: expected true or false'],
  ['no stage', (d) => (d.smmus[0].stage1 = d.smmus[0].stage2 = false), 'smmus[0].stage2: expected stage 1, stage 2'],
  ['a device behind nothing', (d) => (d.devices[0].smmu = 'x'), 'devices[0].smmu: expected one of smmu0'],
  ['a StreamID that is too wide', (d) => (d.devices[0].sid = 8), 'devices[0].sid: expected a whole number from 0 to 7'],
  [
    'two devices on one stream',
    (d) => (d.devices[1].sid = 0),
    'devices[1].sid: expected another StreamID than devices[0]',
  ],
  [
    'one stream twice in a device',
    (d) => (d.devices[0].moreStreams = [{ smmu: 'smmu0', sid: 0 }]),
    'devices[0].moreStreams[0].sid: expected another StreamID than devices[0]',
  ],
  [
    'a further stream behind nothing',
    (d) => (d.devices[0].moreStreams = [{ smmu: 'x', sid: 0 }]),
    'devices[0].moreStreams[0].smmu: expected one of smmu0',
  ],
  [
    'more streams than a device may have',
    (d) => {
      d.smmus[0].sidBits = 8;
      d.devices[0].moreStreams = Array.from({ length: 32 }, (_, i) => ({ smmu: 'smmu0', sid: 16 + i }));
    },
    'devices[0].moreStreams: expected at most 31 streams',
  ],
  [
    'registers that are nowhere',
    (d) => (d.devices[0].assignable = { group: 0, mmio: ['m'] }),
    'devices[0].assignable.mmio[0]: expected one of the MMIO ranges (there are none)',
  ],
  [
    'registers of two devices',
    (d) => {
      d.mmio = [{ name: 'm', base: 0x1000, size: 4096 }];
      d.devices[0].assignable = { group: 0, mmio: ['m'] };
      d.devices[2].assignable = { group: 1, mmio: ['m'] };
    },
    'devices[2].assignable.mmio[0]: expected another range than devices[0].assignable.mmio[0]',
  ],
  [
    'a group that is no number',
    (d) => (d.devices[0].assignable = { group: 'a', mmio: [] }),
    'devices[0].assignable.group: expected a whole number from 0 to 65535',
  ],
  ['two devices of one name', (d) => (d.devices[1].name = 'disk'), 'devices[1].name: expected a name of its own'],
  ['MMIO over RAM', (d) => (d.mmio = [{ name: 'm', base: 0x40000000, size: 4096 }]), 'mmio[0]: expected a range'],
])('a description with %s is refused with the field and what was expected', (_, change, message) => {
  const description = copy();
  change(description);
  expect(() => validateDescription(description)).toThrow(DescriptionError);
  expect(() => validateDescription(description)).toThrow(message);
});

test('the bus decodes RAM, SMMU registers and other MMIO, and nothing else', () => {
  const m = createMachine(preset('qemu-virt'));
  const { bus } = m;
  bus.write64(0x40000008, 1, 2);
  expect([bus.read64(0x40000008), bus.hi, bus.read32(0x4000000c)]).toEqual([2, 1, 1]);
  expect(bus.read32(0x09050000) >>> 0).toBe(0x0d44101b);
  bus.write64(0x09050080, 0, 0x40010000);
  expect(bus.read32(0x09050080)).toBe(0x40010000);
  bus.write32(0x08090040, 77);
  expect(bus.read32(0x08090040)).toBe(77);
  bus.write64(0x08090048, 3, 4);
  expect([bus.read64(0x08090048), bus.hi]).toEqual([4, 3]);
  expect(() => bus.read32(0x1000)).toThrow('no RAM at physical address 0x1000');
  expect(() => bus.read32(0x40000002)).toThrow('not aligned');
  expect(() => bus.write64(0x40000004, 0, 0)).toThrow('not aligned');
  expect(bus.decodes(0x0906ffff)).toBe(true);
  expect(bus.decodes(0x09070000)).toBe(false);
  expect(() => bus.attach(0x40000000, 4096, new ScratchMmio(m.memory, 4096))).toThrow('overlaps RAM');
});

test('devices and SMMUs are found by name, and a wrong name lists the right ones', () => {
  const m = createMachine(tiny);
  expect(m.device('gpu')).toBe(m.device(2));
  expect(() => m.device('tape')).toThrow('no device "tape": there are disk (0x0), net (0x1)');
  expect(m.smmu('smmu0')).toBe(m.smmus[0]);
  expect(() => m.smmu('x')).toThrow('there are smmu0');
});
