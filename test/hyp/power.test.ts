/** Power of SMMUs, and SMMUs that consume no commands: what the calls answer, and that nothing stale comes back. */

import { describe, expect, test } from 'vitest';
import { defaultProfile, Errno } from '#hypercall-abi';
import { createMachine, DescriptionError, type MachineDescription, tiny, validateDescription } from '#machine';
import { hits, kinds, makeRig, PAGE, type Rig, RW, tell } from '../lab/oracle-rig.ts';
import { commandsDuring } from './harness.ts';

const { s1: S1, s2: S2 } = defaultProfile.domainTypes;
const smmu = tiny.smmus[0]!;
const DOMAIN = 5;
const switched: MachineDescription = { ...tiny, name: 'switched', smmus: [{ ...smmu, powerDomain: DOMAIN }] };
const CR0 = 0x20;
const CFGI_ALL = 0x04;
const NSNH_ALL = 0x30;
const SYNC = 0x46;

const power = (rig: Rig, on: boolean): number => rig.call('hvc_pd', DOMAIN, on ? 1 : 0).errno;
const reaches = (rig: Rig, iova: number): boolean => rig.session.devices[0]!.read(iova).ok;
const mayReach = (rig: Rig, iova: number): boolean =>
  rig.session.devices[0]!.device.possible(iova, false).some(({ ok }) => ok);

/** A rig with stage-1 domain 1, stream 0 attached, one page mapped at 0x1000. */
function mapped(options: Parameters<typeof makeRig>[0] = {}): Rig & { readonly pa: number } {
  const rig = makeRig({ machine: switched, ...options });
  rig.refill(1, 20);
  rig.call('alloc_domain', 0, 0, 1, S1);
  rig.call('attach_dev', 0, 1, 0, 0, 0, 0);
  const pa = rig.page();
  rig.call('map_pages', 1, 0x1000, pa, PAGE, 1, RW);
  return Object.assign(rig, { pa });
}

describe('hvc_pd', () => {
  test('-E2BIG and -ENOENT', () => {
    const rig = makeRig({ machine: switched });
    for (const device of [32n, 2n ** 32n + 5n, 2n ** 64n - 1n]) {
      expect(rig.call('hvc_pd', device, 1).errno).toBe(-Errno.E2BIG);
    }
    expect(hits(rig, 'hvc_pd/E2BIG')).toBe(3);
    expect(rig.call('hvc_pd', 31, 0).errno).toBe(-Errno.ENOENT);
    expect(hits(rig, 'hvc_pd/ENOENT')).toBe(1);
    expect(makeRig().call('hvc_pd', DOMAIN, 0).errno).toBe(-Errno.ENOENT);
    expect(tell(rig.oracle.findings)).toBe('');
  });

  test('off blocks every device; on lets it translate again', () => {
    const rig = mapped();
    expect(reaches(rig, 0x1000)).toBe(true);
    expect(power(rig, false)).toBe(0);
    expect(hits(rig, 'hvc_pd/off')).toBe(1);
    expect(rig.machine.smmus[0]!.get(CR0)).toBe(0);
    expect(mayReach(rig, 0x1000)).toBe(false);
    expect(power(rig, true)).toBe(0);
    expect(hits(rig, 'hvc_pd/on')).toBe(1);
    expect(reaches(rig, 0x1000)).toBe(true);
    expect(tell(rig.oracle.findings)).toBe('');
  });

  test('off takes no commands, and on invalidates everything before it enables', () => {
    const rig = mapped();
    power(rig, false);
    expect(commandsDuring(rig.machine, () => rig.call('unmap_pages', 1, 0x1000, PAGE, 1))).toEqual([]);
    expect(commandsDuring(rig.machine, () => power(rig, true))).toEqual([CFGI_ALL, NSNH_ALL, SYNC]);
    expect(tell(rig.oracle.findings)).toBe('');
  });

  test('a page that was unmapped and given away while it was off is not reached when it is on', () => {
    const rig = mapped();
    const other = rig.page();
    rig.call('set_identity', 0, 0, 1, 1, 0);
    expect(reaches(rig, 0x1000)).toBe(true);
    expect(rig.session.devices[1]!.read(other).ok).toBe(true);
    power(rig, false);
    expect(rig.call('unmap_pages', 1, 0x1000, PAGE, 1).value).toBe(PAGE);
    expect(rig.call('alloc_mgt_refill', 1, rig.pa, 1).errno).toBe(0);
    expect(rig.call('alloc_mgt_refill', 1, other, 1).errno).toBe(0);
    expect(rig.call('detach_dev', 0, 1, 0, 0).errno).toBe(0);
    expect(rig.call('free_domain', 1).errno).toBe(0);
    power(rig, true);
    expect(mayReach(rig, 0x1000)).toBe(false);
    expect(rig.session.devices[1]!.device.possible(other, false).some(({ ok }) => ok)).toBe(false);
    expect(tell(rig.oracle.findings)).toBe('');
  });

  test('streams attached and domains made while it is off work when it is on', () => {
    const rig = makeRig({ machine: switched });
    rig.refill(1, 20);
    power(rig, false);
    rig.call('alloc_domain', 0, 0, 1, S2);
    expect(rig.call('attach_dev', 0, 1, 0, 0, 0, 0).errno).toBe(0);
    rig.call('map_pages', 1, 0x1000, rig.page(), PAGE, 1, RW);
    expect(reaches(rig, 0x1000)).toBe(false);
    power(rig, true);
    expect(reaches(rig, 0x1000)).toBe(true);
    expect(tell(rig.oracle.findings)).toBe('');
  });

  test('may be repeated', () => {
    const rig = mapped();
    for (const on of [true, true, false, false, true]) expect(power(rig, on)).toBe(0);
    expect(reaches(rig, 0x1000)).toBe(true);
    expect(tell(rig.oracle.findings)).toBe('');
  });

  test('-ETIMEDOUT: hardware that does not answer stays off', () => {
    const rig = mapped();
    power(rig, false);
    rig.machine.smmus[0]!.setAnswers(false);
    expect(power(rig, true)).toBe(-Errno.ETIMEDOUT);
    expect(hits(rig, 'hvc_pd/ETIMEDOUT')).toBe(1);
    expect(rig.machine.smmus[0]!.get(CR0)).toBe(0);
    rig.machine.smmus[0]!.setAnswers(true);
    expect(power(rig, true)).toBe(0);
    expect(reaches(rig, 0x1000)).toBe(true);
    expect(tell(rig.oracle.findings)).toBe('');
  });

  test('the oracle sees an SMMU that goes on with what it held (defect Z25)', () => {
    const rig = mapped();
    power(rig, false);
    const { layout } = (rig.oracle as unknown as { reader: { layout: { smmus: number } } }).reader;
    rig.machine.smmus[0]!.write32(CR0, 0xd);
    rig.machine.memory.write32(layout.smmus + 48, 0);
    rig.call('vcpu_put');
    expect(kinds(rig.oracle.findings)).toContain('invalidation/power-on');
    expect(kinds(rig.oracle.findings)).toContain('structure/power');
  });
});

describe('an SMMU that consumes no commands', () => {
  const hang = (rig: Rig, hangs = true): void => rig.machine.smmus[0]!.setAnswers(!hangs);

  test('attach_dev: -ETIMEDOUT, the stream stays blocked, the domain referenced', () => {
    const rig = makeRig();
    rig.refill(1, 20);
    rig.call('alloc_domain', 0, 0, 1, S1);
    rig.call('alloc_domain', 0, 0, 2, S2);
    hang(rig);
    expect(rig.call('attach_dev', 0, 1, 0, 0, 0, 0).errno).toBe(-Errno.ETIMEDOUT);
    expect(rig.call('attach_dev', 0, 2, 1, 0, 0, 0).errno).toBe(-Errno.ETIMEDOUT);
    expect(hits(rig, 'attach_dev/ETIMEDOUT')).toBe(2);
    hang(rig, false);
    expect(rig.call('free_domain', 1).errno).toBe(-Errno.EINVAL);
    expect(rig.call('attach_dev', 0, 1, 0, 0, 0, 0).errno).toBe(0);
    expect(tell(rig.oracle.findings)).toBe('');
  });

  test('detach_dev: -ETIMEDOUT, and the stream stays attached', () => {
    const rig = mapped();
    hang(rig);
    expect(rig.call('detach_dev', 0, 1, 0, 0).errno).toBe(-Errno.ETIMEDOUT);
    expect(hits(rig, 'detach_dev/ETIMEDOUT')).toBe(1);
    hang(rig, false);
    expect(reaches(rig, 0x1000)).toBe(true);
    expect(rig.call('detach_dev', 0, 1, 0, 0).errno).toBe(0);
    expect(rig.call('free_domain', 1).errno).toBe(0);
    expect(tell(rig.oracle.findings)).toBe('');
  });

  test('unmap_pages: the pages stay referenced for good', () => {
    const rig = mapped();
    hang(rig);
    expect(rig.call('unmap_pages', 1, 0x1000, PAGE, 1).value).toBe(PAGE);
    hang(rig, false);
    expect(rig.call('alloc_mgt_refill', 1, rig.pa, 1).errno).toBe(-Errno.EINVAL);
    expect(tell(rig.oracle.findings)).toBe('');
  });

  test('free_domain: -ETIMEDOUT and nothing changed; it is freed later', () => {
    const rig = mapped();
    rig.call('detach_dev', 0, 1, 0, 0);
    hang(rig);
    expect(rig.call('free_domain', 1).errno).toBe(-Errno.ETIMEDOUT);
    expect(hits(rig, 'free_domain/ETIMEDOUT')).toBe(1);
    expect(rig.call('iova_to_phys', 1, 0x1000).value).toBe(rig.pa);
    hang(rig, false);
    expect(rig.call('free_domain', 1).errno).toBe(0);
    expect(tell(rig.oracle.findings)).toBe('');
  });

  test('set_identity: -ETIMEDOUT both ways', () => {
    const rig = makeRig();
    rig.call('set_identity', 0, 0, 1, 1, 0);
    hang(rig);
    expect(rig.call('set_identity', 0, 0, 0, 1, 0).errno).toBe(-Errno.ETIMEDOUT);
    expect(rig.call('set_identity', 0, 0, 1, 0, 0).errno).toBe(-Errno.ETIMEDOUT);
    expect(hits(rig, 'set_identity/ETIMEDOUT')).toBe(2);
    hang(rig, false);
    expect(rig.call('set_identity', 0, 0, 1, 0, 0).errno).toBe(0);
    expect(rig.call('set_identity', 0, 0, 0, 1, 0).errno).toBe(0);
    expect(tell(rig.oracle.findings)).toBe('');
  });

  test('a page does not leave the host while a stream with identity may reach it', () => {
    const rig = makeRig();
    const [kvm, pgd, page] = [rig.page(), rig.page(), rig.page()];
    rig.call('set_identity', 0, 0, 0, 1, 0);
    const vm = rig.call('reserve_vm').value;
    rig.call('host_share_hyp', kvm / PAGE);
    for (const [i, word] of [vm, 1, 1].entries()) rig.session.boundary.write32(0, kvm + 4 * i, word);
    hang(rig);
    expect(rig.call('alloc_mgt_refill', 1, page, 1).errno).toBe(-Errno.ETIMEDOUT);
    expect(rig.call('init_vm', kvm, pgd).errno).toBe(-Errno.ETIMEDOUT);
    hang(rig, false);
    expect(rig.call('init_vm', kvm, pgd).errno).toBe(0);
    rig.call('vcpu_load', vm, 0);
    hang(rig);
    expect(rig.call('map_guest', page / PAGE, 0, 1, 0).errno).toBe(-Errno.ETIMEDOUT);
    expect(rig.session.devices[0]!.read(page).ok).toBe(true);
    hang(rig, false);
    expect(rig.call('map_guest', page / PAGE, 0, 1, 0).errno).toBe(0);
    expect(rig.session.devices[0]!.device.possible(page, false).some(({ ok }) => ok)).toBe(false);
    for (const call of ['alloc_mgt_refill', 'init_vm', 'map_guest']) expect(hits(rig, `${call}/ETIMEDOUT`)).toBe(1);
    expect(tell(rig.oracle.findings)).toBe('');
  });

  test('a queue that is full does not hang the hypervisor, and goes on when the hardware does', () => {
    const rig = makeRig({ full: 'never' });
    rig.refill(1, 400);
    rig.call('alloc_domain', 0, 0, 1, S2);
    hang(rig);
    for (let i = 0; i < 300; i++) {
      expect(rig.call('attach_dev', 0, 1, 0, 0, 0, 0).errno).toBe(-Errno.ETIMEDOUT);
    }
    hang(rig, false);
    expect(rig.call('attach_dev', 0, 1, 0, 0, 0, 0).errno).toBe(0);
    rig.oracle.checkAll();
    expect(tell(rig.oracle.findings)).toBe('');
  });
});

test('power domains of a machine description', () => {
  expect(validateDescription(switched).smmus[0]!.powerDomain).toBe(DOMAIN);
  expect(createMachine(switched).smmus[0]!.answers).toBe(true);
  const two = (first: unknown, second: unknown) => ({
    ...tiny,
    smmus: [
      { ...smmu, powerDomain: first },
      { ...smmu, name: 'b', base: 0x09080000, powerDomain: second },
    ],
  });
  expect(() => validateDescription(two(1, 2))).not.toThrow();
  expect(() => validateDescription(two(null, null))).not.toThrow();
  expect(() => validateDescription(two(1, 32))).toThrow(DescriptionError);
  expect(() => validateDescription(two(1, 1))).toThrow('smmus[1].powerDomain');
});
