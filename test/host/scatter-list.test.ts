/** The host's side of map_sg: a list that is shortened as it is mapped, and a loop that always ends. */

import { expect, test } from 'vitest';
import { ScatterList, type ScatterRange } from '#host';
import { android16, android17, type Profile, ScatterElement } from '#hypercall-abi';
import { makeRig, PAGE, type Rig, RW, tell } from '../lab/oracle-rig.ts';

const BLOCK = 0x200000;

/** A domain, and the list in a page that is shared. */
function start(profile: Profile, ranges: (rig: Rig) => readonly ScatterRange[]) {
  const rig = makeRig({ profile });
  const { driver, boundary } = rig.session;
  const id = driver.allocDomain(0, 1);
  expect(driver.attach(0, id, rig.machine.description.devices[0]!.sid)).toBe(0);
  const page = rig.page();
  const list = new ScatterList(boundary, page, ranges(rig));
  rig.call('host_share_hyp', page / PAGE);
  return { rig, driver, id, page, list };
}

for (const profile of [android17, android16]) {
  test(`${profile.name}: all of a list is mapped, with memory given on the way`, () => {
    const made = start(profile, (rig) => [
      { phys: rig.page(), pgsize: PAGE, pgcount: 1 },
      { phys: rig.page(2), pgsize: PAGE, pgcount: 0 },
      { phys: rig.page(2), pgsize: PAGE, pgcount: 3 },
      { phys: rig.page(), pgsize: PAGE, pgcount: 0 },
    ]);
    const { rig, driver, id, list } = made;
    expect(driver.mapList(id, BLOCK - 2 * PAGE, list, RW)).toBe(4 * PAGE);
    expect(list.count).toBe(0);
    expect(driver.unmap(id, BLOCK - 2 * PAGE, PAGE, 4)).toBe(4 * PAGE);
    expect(tell(rig.oracle.findings)).toBe('');
  });

  test(`${profile.name}: what cannot be mapped ends the loop, an element of no bytes in front of it or not`, () => {
    const { rig, driver, id, list } = start(profile, (rig) => [
      { phys: rig.page(), pgsize: PAGE, pgcount: 1 },
      { phys: rig.page(), pgsize: PAGE, pgcount: 0 },
      { phys: rig.machine.description.carveOut.base, pgsize: PAGE, pgcount: 1 },
    ]);
    expect(driver.mapList(id, 0, list, RW)).toBe(PAGE);
    expect(list.count).toBe(1);
    expect(tell(rig.oracle.findings)).toBe('');
  });
}

test('an element is shortened where it stands', () => {
  const { rig, page, list } = start(android17, () => [
    { phys: 0x1_0000_0000, pgsize: PAGE, pgcount: 5 },
    { phys: 0x2_0000_0000, pgsize: BLOCK, pgcount: 2 },
  ]);
  list.skip(2 * PAGE);
  expect([list.at, list.count, list.bytes]).toEqual([page, 2, 3 * PAGE + 2 * BLOCK]);
  const read = (offset: number): number | null => rig.session.boundary.read32(0, page + offset);
  expect([read(0), read(4), read(ScatterElement.pgsize), read(ScatterElement.pgcount)]).toEqual([0x2000, 1, PAGE, 3]);
  list.skip(3 * PAGE + BLOCK);
  expect([list.at, list.count, list.bytes]).toEqual([page + ScatterElement.size, 1, BLOCK]);
  expect(read(ScatterElement.size)).toBe(BLOCK);
});

test('a list where the host may not write is refused', () => {
  const { rig } = start(android17, () => []);
  const { base } = rig.machine.description.carveOut;
  expect(() => new ScatterList(rig.session.boundary, base, [{ phys: 0, pgsize: PAGE, pgcount: 1 }])).toThrow(
    RangeError,
  );
});
