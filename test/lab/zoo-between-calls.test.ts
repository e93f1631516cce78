/**
 * Defects that no sequence of whole calls shows: another CPU is in the middle of a call, or a store is not visible yet.
 * Z64g, a second fetch, is in test/hyp/host-buffers.test.ts; more schedules for Z14 and Z56 are in two-cpus.test.ts there.
 */
import { expect, test } from 'vitest';
import {
  callNamed,
  encodeCall,
  encodeGuestCall,
  GuestStatus,
  guestCallNamed,
  makeRegisters,
  type SteppedHypervisor,
} from '#hypercall-abi';
import { steppedHypervisorByIdentity } from '#lab/zoo/index';
import { run, type Touch, twoSmmus } from '#machine';
import { attached } from '../hyp/guest-rig.ts';
import { booted } from '../hyp/harness.ts';
import { PAGE, SteppedRig } from '../hyp/stepped-rig.ts';
import { unpaused } from './zoo-rig.ts';

const RW = 3;
/** Pairs of commands (TLBI, SYNC) that fill the queue of the machine. */
const ROUND = 128;

/**
 * What the disk may reach although nothing counts it any more, after an unmap of which no store becomes visible before a
 * barrier asks for it, when the queue holds the commands of a round before.
 */
function reachedAfterLateStores(identity: string): number[] {
  const rig = new SteppedRig(steppedHypervisorByIdentity(identity));
  rig.attachedDomain(1, 1, 0);
  const [old, page] = [rig.memory.alloc(), rig.memory.alloc()];
  for (let i = 0; i < ROUND; i++) {
    expect(rig.call('map_pages', 1, 0x5000, old, PAGE, 1, RW)[2]).toBe(PAGE);
    expect(rig.call('unmap_pages', 1, 0x5000, PAGE, 1)[2]).toBe(PAGE);
  }
  expect(rig.call('map_pages', 1, 0x1000, page, PAGE, 1, RW)[2]).toBe(PAGE);
  expect(rig.reachable('disk', 0x1000)).toEqual([page]);
  const x = rig.start(0, 'unmap_pages', 1, 0x1000, PAGE, 1);
  while (rig.cpus.isBusy(0)) rig.step(0);
  expect(x[2]).toBe(PAGE);
  expect(rig.page(page).refcount).toBe(0);
  return rig.reachable('disk', 0x1000);
}

test('Z56: the hardware executes the commands of a round before, and the page stays reachable', () => {
  expect(reachedAfterLateStores('postern')).toEqual([]);
  expect(reachedAfterLateStores('postern+Z56').length).toBe(1);
});

/**
 * How often a guest's free of its idle domain fails while the host, on another CPU, is in the middle of a map in that
 * domain, which is to be refused; by the pause at which the host is stopped.
 */
function freesRefused(identity: string): number {
  let stepped: SteppedHypervisor<Touch> | undefined;
  const create = steppedHypervisorByIdentity(identity);
  const h = booted(twoSmmus, (machine) => {
    stepped = create(machine);
    return unpaused(() => stepped!)(machine);
  });
  const { guest, domain } = attached(h);
  expect(guest.call('guest_detach_dev', 7, 1, 0, domain).status).toBe(GuestStatus.success);
  const pa = h.memory.alloc();
  let refused = 0;
  for (let pause = 1, ended = false; !ended; pause++) {
    const mark = h.machine.memory.mark();
    const host = makeRegisters();
    encodeCall(host, callNamed('map_pages'), [domain, 0x1000, pa, PAGE, 1, RW]);
    const steps = stepped!.hvc(1, host);
    for (let i = 0; i < pause && !ended; i++) ended = steps.next().done === true;
    const x = makeRegisters();
    encodeGuestCall(x, guestCallNamed('guest_free_domain'), [domain]);
    run(stepped!.guestHvc!(0, x));
    if (x[0] !== GuestStatus.success) refused++;
    while (!ended && steps.next().done !== true) {
      // The host's call comes to its end.
    }
    expect(host[0]).toBe(-2);
    h.machine.memory.undo(mark);
  }
  return refused;
}

test('Z65: a call of the host that is to be refused keeps a guest from freeing its domain', () => {
  expect(freesRefused('postern')).toBe(0);
  expect(freesRefused('postern+Z65')).toBeGreaterThan(0);
});
