import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  DescriptionError,
  featuresOf,
  ID_FIELDS,
  ID_REGISTER_NAMES,
  identify,
  idField,
  idRegisters,
  type SmmuDescription,
  tiny,
  validateDescription,
} from '#machine';

const base = tiny.smmus[0]!;
const flag = fc.boolean();

/** Any SMMU that a description may ask for. */
const anySmmu = fc
  .record({
    sidBits: fc.integer({ min: 0, max: 32 }),
    oas: fc.constantFrom(32, 36, 40, 42, 44, 48, 52),
    stages: fc.constantFrom([true, false], [false, true], [true, true]),
    granules: fc.subarray([12, 14, 16], { minLength: 1 }),
    flags: fc.record({
      asid16: flag,
      vmid16: flag,
      coherent: flag,
      rangeInvalidation: flag,
      twoLevelStreamTable: flag,
      sev: flag,
      twoLevelCdTable: flag,
      smallTables: flag,
      splitStageAts: flag,
      msi: flag,
    }),
    ats: fc.constantFrom({ ats: false, pri: false }, { ats: true, pri: false }, { ats: true, pri: true }),
    ssidBits: fc.integer({ min: 0, max: 20 }),
    cmdqLog2: fc.integer({ min: 0, max: 19 }),
    evtqLog2: fc.integer({ min: 0, max: 19 }),
    priqLog2: fc.integer({ min: 0, max: 19 }),
    vaBits: fc.constantFrom(48, 52),
    hardwareUpdate: fc.constantFrom('none', 'access', 'dirty'),
    stallModel: fc.constantFrom('both', 'terminate', 'stall'),
    termModel: fc.constantFrom('both', 'abort'),
  })
  .map(({ stages: [stage1, stage2], flags, ats, ...rest }) => {
    return { name: 'smmu0', base: base.base, stage1, stage2, ...flags, ...ats, ...rest } as SmmuDescription;
  });

test('every SMMU that can be described is a valid description, and its ID registers tell it again', () => {
  fc.assert(
    fc.property(anySmmu, (smmu) => {
      const machine = { ...tiny, smmus: [smmu], devices: [] };
      expect(validateDescription(JSON.parse(JSON.stringify(machine))).smmus[0]).toEqual(smmu);
      const { features, notModelled } = identify(idRegisters(featuresOf(smmu)));
      expect(notModelled).toEqual([]);
      const { name: _, base: __, ...expected } = featuresOf(smmu);
      // What does not show in the registers does not count either.
      const split = smmu.ats === true && smmu.stage1 && smmu.stage2;
      expect(features).toEqual({
        ...expected,
        splitStageAts: split ? expected.splitStageAts : true,
        priqLog2: smmu.pri === true ? expected.priqLog2 : 0,
      });
    }),
    { seed: 3, numRuns: 300 },
  );
});

test('fields neither overlap nor leave a register', () => {
  const taken = new Map<number, string>();
  for (const { register, name, high, low } of ID_FIELDS) {
    expect(high >= low && high < 32 && register < ID_REGISTER_NAMES.length, name).toBe(true);
    for (let bit = low; bit <= high; bit++) {
      expect(taken.get(32 * register + bit), name).toBeUndefined();
      taken.set(32 * register + bit, name);
    }
  }
});

const absent = ID_FIELDS.filter(({ refused }) => refused !== '');

test.each(absent.map((field) => [`${ID_REGISTER_NAMES[field.register]}.${field.name}`, field] as const))(
  '%s is not modelled: reported as 0, found in foreign registers, refused in a description',
  (name, field) => {
    const own = idRegisters(featuresOf(base));
    expect(idField(field, own)).toBe(0);
    const foreign = own.slice();
    foreign[field.register]! |= 1 << field.low;
    expect(identify(foreign).notModelled).toEqual([name]);
    const asking = (value: unknown) => ({ ...tiny, smmus: [{ ...base, [field.refused]: value }] });
    expect(() => validateDescription(asking(true))).toThrow(DescriptionError);
    expect(() => validateDescription(asking(true))).toThrow(
      `smmus[0].${field.refused}: expected false: ${name} (${field.meaning}) is not modelled`,
    );
    // Denied, it is no field of the result.
    expect(validateDescription(asking(false))).toEqual(tiny);
  },
);

test.each([
  ['IDR0.TTF', 0, 3, 2, 3],
  ['IDR0.HTTU', 0, 7, 6, 3],
  ['IDR0.TTENDIAN', 0, 22, 21, 0],
  ['IDR0.STALL_MODEL', 0, 25, 24, 3],
  ['IDR0.ATSRECERR', 0, 23, 23, 1],
  ['IDR3.HAD', 3, 2, 2, 0],
  ['IDR3.BBML', 3, 12, 11, 0],
  ['IDR5.OAS', 5, 2, 0, 7],
  ['IDR5.VAX', 5, 11, 10, 2],
  ['AIDR.ArchMinorRev', 7, 3, 0, 4],
] as const)('%s with a value that the model does not have is named', (name, register, high, low, value) => {
  const ids = idRegisters(featuresOf(base));
  ids[register] = (ids[register]! & ~((2 ** (high - low + 1) - 1) << low)) | (value << low);
  expect(identify(ids).notModelled).toContain(name);
});
