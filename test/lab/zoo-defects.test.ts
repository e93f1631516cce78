/** Each defect of the zoo does what its card says, and the correct hypervisor does not. */
import { expect, test } from 'vitest';
import { callNamed, encodeCall, type SteppedHypervisor } from '#hypercall-abi';
import { hypervisorByIdentity, steppedHypervisorByIdentity } from '#lab/zoo/index';
import type { Touch } from '#machine';
import { FREE_RAM, hypPageAt, PAGE, unpaused, ZooRig } from './zoo-rig.ts';

const RW = 3;
const IOVA = 0x1000;
const READ_WRITE_GUEST = 6;

/** A machine whose disk has one page mapped, and whose CPU 1 has a guest to give pages to. */
function mapped(create: ConstructorParameters<typeof ZooRig>[0]): ZooRig {
  const rig = new ZooRig(create);
  rig.startGuest(1);
  expect(rig.driver.allocDomain(0, 1)).toBe(1);
  expect(rig.driver.attach(0, 1, rig.machine.device('disk').sid)).toBe(0);
  expect(rig.driver.map(1, IOVA, FREE_RAM, PAGE, 1, RW)).toBe(PAGE);
  expect(rig.refcount(FREE_RAM)).toBe(1);
  return rig;
}

function giveToGuest(rig: ZooRig, pa: number): number {
  return rig.boundary.call(1, 'map_guest', pa / PAGE, 0x10, 1, READ_WRITE_GUEST).errno;
}

/** Whether the page had no references while the disk could reach it, at any write to its record during an unmap. */
function releasedTooEarly(identity: string): boolean {
  const rig = mapped(hypervisorByIdentity(identity));
  const { memory } = rig.machine;
  let early = false;
  const observer = memory.observe({
    wrote: (pa, _slot, _oldHi, _oldLo, _hi, lo) => {
      if (pa === hypPageAt(FREE_RAM) && (lo & 0xffff) === 0) early ||= rig.mayReach('disk', IOVA, FREE_RAM);
    },
  });
  memory.watch(hypPageAt(FREE_RAM), observer);
  expect(rig.driver.unmap(1, IOVA, PAGE, 1)).toBe(PAGE);
  expect(rig.refcount(FREE_RAM)).toBe(0);
  expect(rig.mayReach('disk', IOVA, FREE_RAM)).toBe(false);
  return early;
}

/**
 * How often an attack succeeds that stops CPU 0 at each of its pauses during an unmap, and there gives the page to a
 * guest from CPU 1: the disk then reaches memory of the guest.
 */
function racesWon(identity: string): number {
  const create = steppedHypervisorByIdentity(identity);
  let stepped: SteppedHypervisor<Touch> | undefined;
  const rig = mapped((machine) => {
    stepped = create(machine);
    return unpaused(() => stepped!)(machine);
  });
  const { memory } = rig.machine;
  let won = 0;
  for (let pause = 0, ended = false; !ended; pause++) {
    const mark = memory.mark();
    const x = rig.boundary.registers(0);
    encodeCall(x, callNamed('unmap_pages'), [1, IOVA, PAGE, 1]);
    const steps = stepped!.hvc(0, x);
    for (let i = 0; i <= pause && !ended; i++) ended = steps.next().done === true;
    if (!ended && tryToGive(rig) && rig.mayReach('disk', IOVA, FREE_RAM)) won++;
    memory.undo(mark);
  }
  return won;
}

/** Gives the page to the guest unless CPU 1 would have to wait for a lock, or is refused. */
function tryToGive(rig: ZooRig): boolean {
  try {
    return giveToGuest(rig, FREE_RAM) === 0;
  } catch (error) {
    if (/waits for lock/.test((error as Error).message)) return false;
    throw error;
  }
}

test('Z14: a page has no references while the device may still reach it', () => {
  expect(releasedTooEarly('postern')).toBe(false);
  expect(releasedTooEarly('postern+Z14')).toBe(true);
});

test('Z14: a second CPU gives the page to a guest, and the device reaches it there', () => {
  expect(racesWon('postern')).toBe(0);
  expect(racesWon('postern+Z14')).toBeGreaterThan(0);
});

/** A map of three pages that ends short after two, because the table of the third holds a leaf already. */
function shortMap(identity: string): ZooRig {
  const rig = new ZooRig(hypervisorByIdentity(identity));
  rig.startGuest(1);
  expect(rig.driver.allocDomain(0, 1)).toBe(1);
  expect(rig.driver.attach(0, 1, rig.machine.device('disk').sid)).toBe(0);
  expect(rig.driver.map(1, 0x200000, FREE_RAM + 8 * PAGE, PAGE, 1, RW)).toBe(PAGE);
  expect(rig.driver.map(1, 0x1fe000, FREE_RAM, PAGE, 3, RW)).toBe(2 * PAGE);
  return rig;
}

test('Z23: a map that ends short takes the references of mapped pages', () => {
  const counts = (rig: ZooRig): number[] => [0, 1, 2].map((n) => rig.refcount(FREE_RAM + n * PAGE));
  expect(counts(shortMap('postern'))).toEqual([1, 1, 0]);
  expect(counts(shortMap('postern+Z23'))).toEqual([0, 1, 1]);
});

test('Z23: the host gives a mapped page to a guest, and the device reaches it there', () => {
  const correct = shortMap('postern');
  expect(giveToGuest(correct, FREE_RAM)).toBe(-22);
  const defective = shortMap('postern+Z23');
  expect(giveToGuest(defective, FREE_RAM)).toBe(0);
  expect(defective.machine.device('disk').write(0x1fe000, [0x12345678])).toMatchObject({ ok: true, pa: FREE_RAM });
});

test('defects can be had together', () => {
  expect(releasedTooEarly('postern+Z14+Z23')).toBe(true);
  expect(shortMap('postern+Z14+Z23').refcount(FREE_RAM)).toBe(0);
});
