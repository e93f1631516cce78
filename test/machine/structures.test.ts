import fc from 'fast-check';
import { expect, test } from 'vitest';
import { CD_FIELDS, COMMANDS, decodeEvent, EventCode, STE_FIELDS } from '#lab/oracle/decode/index';
import { L1CD_FIELDS, L1STD_FIELDS } from '#lab/oracle/decode/l1std';
import { EventType, Opcode, structures } from '#machine';
import { row, structure } from '../../machine/smmu-v3/structures/field.ts';

const { CD, COMMAND_STRUCTURES, EVENT_STRUCTURES, L1CD, L1STD, STE } = structures;

const all: readonly structures.Structure[] = [
  STE,
  CD,
  L1STD,
  L1CD,
  ...Object.values(COMMAND_STRUCTURES),
  ...Object.values(EVENT_STRUCTURES),
  // A field across the halves of its word, as no structure has one yet.
  structure('across', '', 1, [row('A', 0, '40:20', ''), row('B', 0, '63:41', '')]),
];

/** Every value that a field can hold. */
function valuesOf({ kind, high, low }: structures.Field): fc.Arbitrary<number> {
  const width = high - low + 1;
  if (kind === 'number') return fc.maxSafeNat().map((value) => value % 2 ** width);
  // An address of more than 53 bits is exact below 2^55; one that reaches bit 63 is signed.
  const signed = high === 63;
  const bits = Math.min(signed ? width - 1 : width, 53);
  const value = fc.bigInt(signed ? -(1n << BigInt(bits)) : 0n, (1n << BigInt(bits)) - 1n);
  return value.map((steps) => Number(steps) * 2 ** low);
}

const word = fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 });

test.each(all.map((of) => [of.name, of] as const))(
  '%s: what is encoded is decoded, and the other way round',
  (_, of) => {
    const values = fc.record(Object.fromEntries(of.fields.map((field) => [field.name, valuesOf(field)])));
    const mask = structures.maskOf(of, ...of.fields.map(({ name }) => name));
    fc.assert(
      fc.property(values, fc.nat(3), (given, at) => {
        const words = new Int32Array(2 * of.size + 6).fill(-1);
        structures.encode(of, given, words, at);
        expect(structures.decode(of, words, at)).toEqual(given);
        expect([...words.subarray(0, at), ...words.subarray(at + 2 * of.size)]).toEqual(Array(6).fill(-1));
      }),
      { seed: 1, numRuns: 20 },
    );
    fc.assert(
      fc.property(fc.array(word, { minLength: 2 * of.size, maxLength: 2 * of.size }), (ints) => {
        const words = Int32Array.from(ints, (int, i) => int & mask[i]!);
        if (of === (COMMAND_STRUCTURES.SYNC as structures.Structure)) words[3]! &= 0x7fffff;
        expect(structures.encode(of, structures.decode(of, words))).toEqual(words);
      }),
      { seed: 2, numRuns: 20 },
    );
  },
);

test('a field is set alone, and drops what does not fit', () => {
  for (const of of all)
    for (const field of of.fields) {
      const only = structures.maskOf(of, field.name);
      const words = new Int32Array(2 * of.size);
      structures.setField(words, field, field.kind === 'address' ? -1 : 2 ** 53 - 1);
      expect(words, `${of.name}.${field.name}`).toEqual(only);
      words.fill(-1);
      structures.setField(words, field, 0);
      expect(words, `${of.name}.${field.name}`).toEqual(only.map((bits) => ~bits));
      words.fill(0);
      structures.setWord(words, field, -1, -1);
      expect(words, `${of.name}.${field.name}`).toEqual(only);
    }
});

test('a value that does not fit its field is refused with its name', () => {
  expect(() => structures.encode(STE, { Config: 8 })).toThrow(new RangeError('STE.Config cannot be 8'));
  expect(() => structures.encode(STE, { S2VMID: -1 })).toThrow('STE.S2VMID cannot be -1');
  expect(() => structures.encode(CD, { TTB0: 0x1008 })).toThrow('CD.TTB0 cannot be 4104');
  expect(() => structures.encode(CD, { TTB0: 2 ** 56 })).toThrow('CD.TTB0');
  expect(() => structures.encodeCommand('ATC_INV', { Address: 2 ** 63 })).toThrow('ATC_INV.Address');
  expect(() => structures.encode(L1STD, { Span: 1.5 })).toThrow('L1STD.Span cannot be 1.5');
});

test('a table whose fields overlap, or lie outside, is refused', () => {
  expect(() => structure('X', '', 1, [row('A', 0, '7:4', ''), row('B', 0, '4', '')])).toThrow('X: A overlaps B');
  expect(() => structure('X', '', 1, [row('A', 1, '0', '')])).toThrow('X.A is out of place');
  expect(() => structure('X', '', 1, [row('A', 0, '64:60', '')])).toThrow('X.A is out of place');
  expect(() => structure('X', '', 1, [row('A', 0, '63:0', '')])).toThrow('X.A is too wide for a number');
});

/** Place of each field by name. */
const places = (fields: readonly { name: string; word: number; low: number; high: number }[]) =>
  new Map(fields.map(({ name, word, low, high }) => [name, `q${word}[${high}:${low}]`]));

test('the tables agree with the oracle’s, which were written on their own', () => {
  const oracle = (fields: readonly { name: string; word: number; lo: number; hi: number }[]) =>
    places(fields.map(({ name, word, lo, hi }) => ({ name, word, low: lo, high: hi })));
  const pairs = [
    ['STE', STE, STE_FIELDS],
    ['CD', CD, CD_FIELDS],
    ['L1STD', L1STD, L1STD_FIELDS],
    ['L1CD', L1CD, L1CD_FIELDS],
    ...[...COMMANDS.values()].map(({ name, fields }) => {
      return [name, COMMAND_STRUCTURES[name as structures.CommandName], fields] as const;
    }),
  ] as const;
  let compared = 0;
  const missing: string[] = [];
  for (const [name, of, fields] of pairs) {
    const ours = places(of.fields);
    for (const [field, place] of oracle(fields)) {
      if (!ours.has(field)) missing.push(`${name}.${field}`);
      else expect(ours.get(field), `${name}.${field}`).toBe(place);
      compared++;
    }
  }
  // Security bits 0 and 1 of word 3: the oracle calls them by name and place.
  expect(missing).toEqual(['STE.S2NSW0', 'STE.S2NSA1']);
  expect(compared).toBeGreaterThan(190);
});

test('an event that is encoded from the tables is what the oracle decodes', () => {
  for (const [name, of] of Object.entries(EVENT_STRUCTURES) as [structures.EventName, structures.EventStructure][]) {
    const words = structures.encode(of, { Event: of.number, SID: 0x12345678, SSV: 1, SSID: 9 });
    expect(decodeEvent(words)).toMatchObject({ code: EventCode[name], name, known: true, sid: 0x12345678 });
    expect(structures.eventOf(words[0]!)).toBe(of);
  }
  // What may be a stall's tag is a reason where nothing can stall.
  const same: Record<string, string> = {
    InputAddrLow: 'InputAddrLo',
    InputAddrHigh: 'InputAddrHi',
    Reason: 'STAG',
  };
  const nameOf = ({ name }: { name: string }) => same[name] ?? name;
  let compared = 0;
  for (const of of Object.values(EVENT_STRUCTURES) as structures.EventStructure[])
    for (let bit = 8; bit < 256; bit++) {
      const words = Int32Array.from({ length: 8 }, (_, i) => (i === bit >> 5 ? 1 << (bit & 31) : 0));
      words[0]! |= of.number;
      const { fields } = decodeEvent(words);
      const theirNames = new Set(fields.map(nameOf));
      const ourNames = new Set(of.fields.map(nameOf));
      const theirs = fields.filter(({ value }) => value !== 0).map(nameOf);
      const ours = of.fields.filter((field) => structures.getField(words, field) !== 0).map(nameOf);
      // Each reads some fields that the other leaves out.
      const both = ours.filter((name) => theirNames.has(name));
      expect(both, `${of.name} bit ${bit}`).toEqual(theirs.filter((name) => ourNames.has(name)));
      compared += both.length;
    }
  expect(compared).toBeGreaterThan(1000);
  const { F_PERMISSION } = EVENT_STRUCTURES;
  const words = structures.encode(F_PERMISSION, {
    Event: 0x13,
    RnW: 1,
    S2: 1,
    CLASS: 2,
    InputAddrLo: 0x1000,
    InputAddrHi: 1,
    IPA: 0x40001000,
  });
  const decoded = decodeEvent(words);
  const said = Object.fromEntries(decoded.fields.map(({ name, value }) => [name, value]));
  expect(decoded.inputAddress).toBe(0x100001000);
  expect(said).toMatchObject({ RnW: 1, S2: 1, CLASS: 2, IPA: 0x40001000 });
});

test('the SMMU model uses the numbers of the tables', () => {
  for (const [name, opcode] of Object.entries(Opcode))
    expect(COMMAND_STRUCTURES[name as structures.CommandName].opcode, name).toBe(opcode);
  for (const [name, number] of Object.entries(EventType))
    expect(EVENT_STRUCTURES[name as structures.EventName].number, name).toBe(number);
});

test('a command is found by its opcode', () => {
  for (const [name, of] of Object.entries(COMMAND_STRUCTURES)) {
    expect(of.name).toBe(name);
    const words = structures.encodeCommand(name as structures.CommandName);
    expect(structures.commandOf(words[0]!)).toBe(of);
  }
  expect(new Set(Object.values(COMMAND_STRUCTURES).map(({ opcode }) => opcode)).size).toBe(34);
  expect(new Set(Object.values(EVENT_STRUCTURES).map(({ number }) => number)).size).toBe(19);
  expect(structures.commandOf(0x47)).toBeUndefined();
  expect(structures.eventOf(0x0c)).toBeUndefined();
});

test('structures are told to people by the fields that are set', () => {
  const ste = structures.encode(STE, { V: 1, Config: 6, S2VMID: 7, S2TTB: 0x80000000, S2AA64: 1 });
  expect(structures.describe(STE, ste)).toBe(
    'STE V=1 (valid) Config=6 (stage 2) S2VMID=0x7 S2AA64=1 (AArch64) S2TTB=0x80000000',
  );
  const tlbi = structures.encodeCommand('TLBI_NH_VA', { VMID: 3, ASID: 5, Leaf: 1, Address: -0x2000 });
  expect(structures.describeCommand(tlbi)).toBe('TLBI_NH_VA VMID=0x3 ASID=0x5 Leaf=1 Address=0xffffffffffffe000');
  expect(structures.describeCommand(structures.encodeCommand('CFGI_STE_RANGE', { Range: 31 }))).toBe(
    'CFGI_ALL Range=31 (all streams)',
  );
  expect(structures.describeCommand(structures.encodeCommand('CFGI_STE_RANGE', { SID: 8, Range: 2 }))).toBe(
    'CFGI_STE_RANGE SID=0x8 Range=2',
  );
  expect(structures.describeCommand([0x47, 0, 0, 0])).toBe('opcode 0x47');
  const event = structures.encode(EVENT_STRUCTURES.C_BAD_STE, { Event: 4, SID: 0x20 });
  expect(structures.describeEvent(event)).toBe('C_BAD_STE SID=0x20');
  expect(structures.describeEvent([0xff, 0, 0, 0, 0, 0, 0, 0])).toBe('event 0xff');
});
