/** Tables at addresses whose page numbers are no 31-bit integers, between and below those whose are. */

import { expect, test } from 'vitest';
import { tiny } from '#machine';
import { cdWord, mapPage, S1_RW, Setup } from './bench-setup.ts';

const SID = 1;
const IOVA = 0x1234_5000;
const PA = 0x40100000;
const HIGH = 2 ** 44;
/** There is no RAM. */
const NOWHERE = 2 ** 45;
const IPS = 7n << 32n;
const IPS_48 = 5n << 32n;
const ADDRESS = 0xfffffffff000n;

/** A stage-1 stream; the level-2 and the level-3 table are moved to the addresses given, 0 for where they are. */
function reach(l2To: number, l3To: number): number | string {
  const s = new Setup({
    ...tiny,
    ram: [...tiny.ram, { base: HIGH, size: 0x10000 }],
    smmus: [{ ...tiny.smmus[0]!, oas: 48 }],
  }).enable();
  const top = s.page();
  const { l2, l3 } = mapPage(s, top, IOVA, BigInt(PA) | BigInt(S1_RW) | 3n);
  const cd = s.stage1(SID, 9, top);
  s.put(cd, (cdWord(9) & ~IPS) | IPS_48);
  const move = (table: number, to: number, at: number): number => {
    if (to === 0) return table;
    if (to !== NOWHERE) for (let i = 0; i < 512; i++) s.put(to + 8 * i, s.get(table + 8 * i));
    s.put(at, (s.get(at) & ~ADDRESS) | BigInt(to));
    return to;
  };
  move(l3, l3To, l2 + 8 * (Math.floor(IOVA / 2 ** 21) % 512));
  move(l2, l2To, top + 8 * Math.floor(IOVA / 2 ** 30));
  const [outcome] = s.reaches(SID, IOVA);
  return outcome!;
}

test.each([
  ['both low', 0, 0, PA],
  ['level 3 high', 0, HIGH, PA],
  ['level 2 high', HIGH, 0, PA],
  ['both high', HIGH, HIGH + 0x1000, PA],
  ['level 3 nowhere', 0, NOWHERE, 'F_WALK_EABT'],
  ['level 2 nowhere', NOWHERE, 0, 'F_WALK_EABT'],
  ['level 3 nowhere below a high one', HIGH, NOWHERE, 'F_WALK_EABT'],
])('%s', (_name, l2, l3, expected) => {
  expect(reach(l2, l3)).toBe(expected);
});
