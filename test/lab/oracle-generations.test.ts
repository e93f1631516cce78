/** android16 and RFC v2 beside their rows (test/hyp/rows): several SMMUs, and what is no call of theirs. */

import { expect, test } from 'vitest';
import { android16, encodeCall, makeRegisters, rfcV2 } from '#hypercall-abi';
import { attach, attached, map, SID, two } from '../hyp/rows/older-rig.ts';
import { makeRig, PAGE, tell } from './oracle-rig.ts';

test('android16: streams behind two SMMUs share a table, and each SMMU is rid of it when its last stream leaves', () => {
  const rig = makeRig({ profile: android16, machine: two });
  attached(rig);
  attach(rig, 1, SID, 0, 1);
  const page = rig.page();
  map(rig, 0x10000, page);
  expect(rig.call('iova_to_phys', 1, 0x10000).value).toBe(page);
  expect(rig.call('unmap_pages', 1, 0x10000, PAGE, 1).value).toBe(PAGE);
  map(rig, 0x10000, page);
  expect(rig.call('detach_dev', 0, 1, SID, 0).errno).toBe(0);
  expect(rig.call('unmap_pages', 1, 0x10000, PAGE, 1).value).toBe(PAGE);
  expect(rig.call('detach_dev', 1, 1, SID, 0).errno).toBe(0);
  expect(rig.call('free_domain', 1).errno).toBe(0);
  expect(tell(rig.oracle.findings)).toBe('');
  expect(rig.session.boundary.violations).toEqual([]);
});

test('a domain bound to one SMMU takes no stream of another, or of one that its table does not fit', () => {
  const odd = { ...two, smmus: [two.smmus[0]!, { ...two.smmus[1]!, oas: 36 as const }] };
  for (const [profile, machine, errno] of [
    [rfcV2, two, -22],
    [android16, odd, -16],
  ] as const) {
    const rig = makeRig({ profile, machine });
    attached(rig);
    const args = [1, 1, SID, 0, 0, 0].slice(0, profile.call('attach_dev').args.length);
    expect(rig.call('attach_dev', ...args).errno).toBe(errno);
    expect(tell(rig.oracle.findings)).toBe('');
  }
});

test('a function id beyond the table, or of a call that a generation has not, is not supported', () => {
  for (const profile of [android16, rfcV2]) {
    const rig = makeRig({ profile, full: 'never' });
    const x = rig.session.boundary.registers(0);
    x.set(makeRegisters());
    for (let position = 0; position < 130; position++) {
      if (profile.at(position) !== undefined) continue;
      encodeCall(x, { ...profile.calls[0]!, position, args: [] }, []);
      rig.session.boundary.hvc(0);
      expect([x[0], x[1]]).toEqual([-1, -1]);
    }
    expect(tell(rig.oracle.findings)).toBe('');
  }
});
