/** The calls for a stage 1 of the host's own, which this generation's driver does not have: the checks before that. */

import { expect, test } from 'vitest';
import { DeviceRecord } from '#hyp/layout';
import { Errno } from '#hypercall-abi';
import { LayoutReader, offsetOf } from '#lab/oracle/layout-reader';
import { twoSmmus } from '#machine';
import { scenarios } from '#scenarios';
import { parseScenario } from '../../lab/scenario/index.ts';
import { runScenario } from '../../lab/scenario/run.ts';
import { hypervisorByIdentity } from '../../lab/zoo/index.ts';
import { hits, makeRig, PAGE, type Rig, tell } from '../lab/oracle-rig.ts';
import { booted } from './harness.ts';

const ATTACH = 'attach_dev_nested';
const SYNC = 'nested_cfg_sync';
const INVALIDATE = 'iotlb_inv_nested_domain';

/** A rig with domain 1 and two neighbouring pages, the first of them shared with the hypervisor. */
function shared(): { readonly rig: Rig; readonly pa: number } {
  const rig = makeRig();
  rig.refill(1, 8);
  rig.call('alloc_domain', 0, 0, 1, 1);
  const pa = rig.page(1);
  expect(rig.call('host_share_hyp', pa / PAGE).errno).toBe(0);
  return { rig, pa };
}

const attach = (rig: Rig, domain: number, pa: number | bigint, size: number | bigint): number =>
  rig.call(ATTACH, 0, domain, 0, 0, 0, pa, size).errno;

test('-ENODEV, and nothing stays pinned', () => {
  const { rig, pa } = shared();
  expect(attach(rig, 1, pa, 64)).toBe(-Errno.ENODEV);
  expect(rig.call(ATTACH, 0, 1, 0, 0, 0, pa, 64).request).toBe(null);
  expect(rig.call(SYNC, 0, 0, pa + 8, 16).errno).toBe(-Errno.ENODEV);
  expect(rig.call(SYNC, 7, 9, pa, 16).errno).toBe(-Errno.ENODEV);
  expect(rig.call(INVALIDATE, 1, 0, PAGE, PAGE, 1).errno).toBe(-Errno.ENODEV);
  expect([hits(rig, `${ATTACH}/ENODEV`), hits(rig, `${SYNC}/ENODEV`), hits(rig, `${INVALIDATE}/ENODEV`)]).toEqual([
    2, 2, 1,
  ]);
  expect(rig.call('host_unshare_hyp', pa / PAGE).errno).toBe(0);
  expect(rig.call('free_domain', 1).errno).toBe(0);
  expect(tell(rig.oracle.findings)).toBe('');
});

test('-EPERM: every page that the buffer touches must be shared', () => {
  const { rig, pa } = shared();
  expect(attach(rig, 1, pa + PAGE - 8, 16)).toBe(-Errno.EPERM);
  expect(attach(rig, 1, pa + PAGE, 64)).toBe(-Errno.EPERM);
  expect(rig.call(SYNC, 0, 0, pa + PAGE - 8, 16).errno).toBe(-Errno.EPERM);
  expect([hits(rig, `${ATTACH}/EPERM-pin`), hits(rig, `${SYNC}/EPERM`)]).toEqual([2, 1]);
  rig.call('host_share_hyp', pa / PAGE + 1);
  expect(attach(rig, 1, pa + PAGE - 8, 16)).toBe(-Errno.ENODEV);
  expect(tell(rig.oracle.findings)).toBe('');
});

test('-EINVAL: the buffer is not in RAM, wherever it begins and ends', () => {
  const { rig, pa } = shared();
  for (const [at, size] of [
    [0n, 16n],
    [BigInt(pa), 2n ** 64n - 1n],
    [2n ** 64n - 8n, 16n],
    [2n ** 64n - 1n, 2n ** 64n - 1n],
    [2n ** 52n, 0n],
  ] as const) {
    expect(attach(rig, 1, at, size)).toBe(-Errno.EINVAL);
    expect(rig.call(SYNC, 0, 0, at, size).errno).toBe(-Errno.EINVAL);
  }
  expect([hits(rig, `${ATTACH}/EINVAL-range`), hits(rig, `${SYNC}/EINVAL`)]).toEqual([5, 5]);
  expect(attach(rig, 1, pa, 0)).toBe(-Errno.ENODEV);
  expect(tell(rig.oracle.findings)).toBe('');
});

test('-EINVAL: no such domain, after the buffer was looked at', () => {
  const { rig, pa } = shared();
  for (const domain of [0, 2, 256, 0xffffffff]) {
    expect(attach(rig, domain, pa, 64)).toBe(-Errno.EINVAL);
    expect(rig.call(INVALIDATE, domain, 0, 0, 0, 0).errno).toBe(-Errno.EINVAL);
  }
  expect(attach(rig, 2, pa + PAGE, 64)).toBe(-Errno.EPERM);
  expect([hits(rig, `${ATTACH}/EINVAL-domain`), hits(rig, `${INVALIDATE}/EINVAL`)]).toEqual([4, 4]);
  expect(tell(rig.oracle.findings)).toBe('');
});

test('-EPERM: the device is with a guest, before anything else', () => {
  const h = booted(twoSmmus);
  const { memory } = h.machine;
  const context = h.layout.devices + offsetOf(DeviceRecord, 'context');
  memory.write32(context, 0x1000);
  expect(h.boundary.call(0, ATTACH, 0, 200, 0x20, 0, 0, 0, 0).errno).toBe(-Errno.EPERM);
  memory.write32(context, 0);
  expect(h.boundary.call(0, ATTACH, 0, 200, 0x20, 0, 0, 0, 0).errno).toBe(-Errno.EINVAL);
  expect(new LayoutReader(memory, h.layout).deviceRefs(0)).toBe(0);
});

test("-EINVAL: a domain that is a guest's", () => {
  const guests = scenarios.Z64f!.split('\n').filter((line) => !/^expect|^hypervisor|unmap_pages|^# /.test(line));
  const refused = `@cpu1 ${ATTACH} iommu=0 domain=256 endpoint=disk descriptor=page:k size=64 -> -EINVAL
@cpu1 ${INVALIDATE} domain=256 size=0x1000 -> -EINVAL
@cpu1 iotlb_sync_map domain=256 size=0x1000 -> -EINVAL
`;
  const text = `${guests.join('\n')}\n${refused}`.replace('machine ', 'hypervisor postern\nmachine ');
  const { ok, violations, firstDifference } = runScenario(parseScenario(text), { hypervisors: hypervisorByIdentity });
  expect({ ok, violations, firstDifference }).toEqual({ ok: true, violations: [], firstDifference: null });
});
