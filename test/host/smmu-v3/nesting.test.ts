import fc from 'fast-check';
import { expect, test } from 'vitest';
import { smmuV3 } from '#host';
import { structures } from '#machine/host-view';
import { hexWords, int32s, num, vectors } from './rig.ts';

const { vste, user_cmd } = vectors('nesting');

test('each of 121 stream table entries of guests is judged and cleaned the same way', () => {
  expect(vste).toHaveLength(121);
  for (const { in: given, ret, ats, out } of vste) {
    const guest = { words: int32s(given), ats: true };
    const result = smmuV3.validateVirtualSte(guest);
    expect([result, Number(guest.ats), hexWords(guest.words)], String(given)).toEqual([ret, ats, out]);
  }
});

test('each of 147 commands of guests is judged and rewritten the same way', () => {
  expect(user_cmd).toHaveLength(147);
  for (const { in: given, vmid, vsid_map, ret, out } of user_cmd) {
    const streams = new Map(
      Object.entries(vsid_map as Record<string, string>).map(([vsid, sid]) => [num(vsid), num(sid)]),
    );
    const command = int32s(given);
    const result = smmuV3.rewriteUserCommand(command, { vmid, streamOf: (vsid) => streams.get(vsid) });
    expect(result, String(given)).toBe(ret);
    // What was refused must not have been changed.
    expect(hexWords(command), String(given)).toEqual(out ?? given);
  }
});

test('a guest that wants ATS for its stage 1 is heard, and the field is left to the host', () => {
  const guest = { words: int32s(['b', '10000000']), ats: false };
  expect([smmuV3.validateVirtualSte(guest), guest.ats, hexWords(guest.words)]).toEqual([0, true, ['b', '0']]);
});

test('whatever a guest gives, its STE translates through its own stage 2 or aborts', () => {
  const parent: smmuV3.Stage2Domain = {
    vmid: 7,
    vttbrHi: 0,
    vttbrLo: 0x80000000 | 0,
    vtcr: { ps: 5, tg: 0, sh: 3, orgn: 1, irgn: 1, sl: 1, tsz: 25 },
    fwb: true,
  };
  const master = { ats: false, stall: false };
  const plain = new Int32Array(smmuV3.ENTRY_INTS);
  smmuV3.makeStage2Ste(plain, {}, parent, master);
  const word = fc.oneof(fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }), fc.nat(0xff), fc.constant(0));
  const seen = new Set<number>();
  fc.assert(
    fc.property(fc.tuple(word, word, word, word), (words) => {
      const guest = { words: Int32Array.from(words), ats: false };
      if (smmuV3.validateVirtualSte(guest) !== 0) return;
      const ste = new Int32Array(smmuV3.ENTRY_INTS);
      smmuV3.makeNestedSte(ste, {}, parent, guest, master);
      const config = structures.getField(ste, structures.STE.field.Config);
      seen.add(config);
      if (config === 0) return;
      expect([6, 7]).toContain(config);
      expect(ste.subarray(4)).toEqual(plain.subarray(4));
    }),
    { seed: 7, numRuns: 2000, examples: [[[11, 0, 0, 0]], [[9, 0, 0, 0]]] },
  );
  expect([...seen].sort()).toEqual([0, 6, 7]);
});
