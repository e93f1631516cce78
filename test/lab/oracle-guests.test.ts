/** What the oracle sees of a guest with devices. Its rows are in test/hyp/rows. */
import { expect, test } from 'vitest';
import { twoSmmus } from '#machine';
import { Guest, IPA, ways } from '../hyp/rows/guests.ts';
import { makeRig, PAGE, tell } from './oracle-rig.ts';

const RW = 3;

test('a life of a guest with a device, from boot to the end, without a finding', () => {
  const g = new Guest(makeRig({ machine: twoSmmus })).attach();
  const { rig } = g;
  expect(g.call('guest_map_pages', 256, 0x4000, IPA, 4 * PAGE, RW).value).toBe(4 * PAGE);
  const net = twoSmmus.devices.findIndex(({ name }) => name === 'net');
  expect(rig.session.devices[net]!.read(0x4000).ok).toBe(true);
  expect(rig.session.devices[net]!.write(0x7000, 1).ok).toBe(true);
  g.host('vcpu_put');
  expect(g.host('start_teardown_vm', g.vm)).toBe(0);
  for (let i = 0; i < 4; i++) expect(g.host('reclaim_dying_guest_page', g.vm, IPA / PAGE + i, 1)).toBe(0);
  expect(g.host('finalize_teardown_vm', g.vm)).toBe(0);
  expect(new Guest(rig).attach().call('guest_map_pages', 256, 0, IPA, PAGE, RW).value).toBe(PAGE);
  expect(tell(rig.oracle.findings)).toBe('');
  expect(states(g)).toEqual(
    expect.arrayContaining(['device-attached-to-guest', 'guest-page-reclaimed', 'teardown-with-devices']),
  );
  expect(states(g)).not.toContain('guest-waits-for-memory');
});

/** The interesting states that were reached. */
function states({ rig }: Guest): string[] {
  return rig.oracle.sometimesCounts().flatMap(({ name, hits }) => (hits > 0 ? [name] : []));
}

test('a guest that waits for memory is a state that a run should have been in', () => {
  const g = new Guest(makeRig({ machine: twoSmmus }));
  ways['guest_map_pages/ENOMEM-iommu']!(g);
  expect(states(g)).toContain('guest-waits-for-memory');
});

test('where faults can only stall, those of a guest do, too', () => {
  const smmus = twoSmmus.smmus.map((one) => ({ ...one, stallModel: 'stall' as const }));
  const g = new Guest(makeRig({ machine: { ...twoSmmus, smmus } })).attach();
  expect(tell(g.rig.oracle.findings)).toBe('');
});
