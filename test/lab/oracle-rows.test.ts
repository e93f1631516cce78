/** Rows of the call specification that random calls rarely reach, each reached on purpose; and the table of rows itself. */

import { expect, test } from 'vitest';
import { HostMemory, setUpSmmu } from '#host';
import { createHypervisor } from '#hyp/plain';
import { android17, callNamed, calls, DomainType, Errno, encodeCall, VM_HANDLE_BASE } from '#hypercall-abi';
import { CheckedHypervisor, specificationOf } from '#lab/oracle/index';
import { createMachine, hostPort, tiny } from '#machine';
import { hits, makeRig, PAGE, type Rig, RW, tell } from './oracle-rig.ts';

const RAM = tiny.ram[0]!.base;
const BEYOND = (RAM + tiny.ram[0]!.size) / PAGE;

/** A VM with one vCPU loaded on CPU 0. */
function makeVm(rig: Rig, isProtected: boolean): void {
  const { boundary } = rig.session;
  const kvm = rig.page();
  const handle = rig.call('reserve_vm').value;
  rig.call('host_share_hyp', kvm / PAGE);
  boundary.write32(0, kvm, handle);
  boundary.write32(0, kvm + 4, isProtected ? 1 : 0);
  boundary.write32(0, kvm + 8, 1);
  expect(rig.call('init_vm', kvm, rig.page()).errno).toBe(0);
  rig.call('vcpu_load', handle, 0);
}

function drainHeap(rig: Rig): void {
  while (rig.call('alloc_mgt_reclaim', 0, 1000).value !== 0);
}

test('every call has rows, and a row of refusal names an error that the call may give', () => {
  for (const call of calls) {
    const mine = specificationOf(android17)
      .rows.map(({ id }) => id)
      .filter((id) => id.startsWith(`${call.name}/`));
    expect(mine.length, call.name).toBeGreaterThan(0);
    // A call without an errno is short for want of memory, and says so in the request alone.
    if (call.x0 !== 'errno' && call.x1 === 'bytes') continue;
    for (const id of mine) {
      const outcome = id.slice(call.name.length + 1).split('-')[0]!;
      if (!(outcome in Errno)) continue;
      expect(call.errors, id).toContain(outcome);
    }
  }
});

test('pins: the event queue stays shared', () => {
  const rig = makeRig();
  expect(rig.call('host_unshare_hyp', rig.session.smmuMemory[0]!.evtq / PAGE).errno).toBe(-Errno.EBUSY);
  expect(hits(rig, 'host_unshare_hyp/EBUSY')).toBe(1);
  expect(tell(rig.oracle.findings)).toBe('');
});

test('guests: ranges and sizes', () => {
  const rig = makeRig();
  makeVm(rig, true);
  rig.call('map_guest', BEYOND, 1, 1, 0);
  rig.call('map_guest', 2n ** 52n, 1, 1, 0);
  rig.call('map_guest', RAM / PAGE, 2 ** 36, 1, 0);
  expect(hits(rig, 'map_guest/EINVAL-range')).toBe(3);
  rig.call('start_teardown_vm', VM_HANDLE_BASE);
  rig.call('vcpu_put');
  rig.call('start_teardown_vm', VM_HANDLE_BASE);
  rig.call('reclaim_dying_guest_page', VM_HANDLE_BASE, 1, 2);
  expect(hits(rig, 'reclaim_dying_guest_page/EINVAL-size')).toBe(1);
  makeVm(rig, false);
  rig.call('unshare_guest', VM_HANDLE_BASE + 1, 0, 3);
  expect(hits(rig, 'unshare_guest/EINVAL-size')).toBe(1);
  expect(tell(rig.oracle.findings)).toBe('');
});

test('domains: the identity domain, and an id that is the guests’', () => {
  const rig = makeRig();
  expect(rig.call('alloc_domain', 0, 0, 0, DomainType.s1).errno).toBe(-Errno.EPERM);
  expect(rig.call('alloc_domain', 0, 0, 256, DomainType.s1).errno).toBe(-Errno.EINVAL);
  expect(rig.call('free_domain', 300).errno).toBe(-Errno.ENODEV);
  expect(tell(rig.oracle.findings)).toBe('');
});

test('map: nothing, sizes that are none, sums of sizes, addresses beyond', () => {
  const rig = makeRig();
  rig.refill(1, 30);
  rig.call('alloc_domain', 0, 0, 1, DomainType.s2);
  const map = (iova: number, pa: number, size: number, count: number, prot = RW) =>
    rig.call('map_pages', 1, iova, pa, size, count, prot).errno;
  expect(map(0, RAM, PAGE, 0)).toBe(0);
  expect(map(0x800, 0x800, 0x800, 2)).toBe(-Errno.EINVAL);
  expect(map(0, RAM, 0x201000, 1)).toBe(-Errno.EINVAL);
  expect(map(2 ** 40, RAM, PAGE, 1)).toBe(-Errno.ERANGE);
  expect(map(2 ** 40 - PAGE, RAM, PAGE, 2)).toBe(-Errno.ERANGE);
  expect(rig.call('unmap_pages', 1, 0, 0x2000, 1).value).toBe(0);
  for (const row of ['empty', 'EINVAL-granule', 'EINVAL-no-level']) expect(hits(rig, `map_pages/${row}`), row).toBe(1);
  expect(hits(rig, 'map_pages/ERANGE')).toBe(2);
  expect(hits(rig, 'unmap_pages/page-size')).toBe(1);
  expect(tell(rig.oracle.findings)).toBe('');
});

test('map: blocks over tables and over leaves', () => {
  const rig = makeRig();
  rig.refill(1, 40);
  rig.call('alloc_domain', 0, 0, 1, DomainType.s1);
  rig.call('attach_dev', 0, 1, 0, 0, 0, 0);
  const block = 2 ** 21;
  rig.call('map_pages', 1, 0, RAM, PAGE, 3, RW);
  rig.call('map_pages', 1, block, RAM, PAGE, 1, RW);
  // The block takes the place of the first table; what was mapped through it is gone.
  expect(rig.call('map_pages', 1, 0, RAM, block, 1, RW)).toMatchObject({ errno: 0, value: block });
  expect(rig.call('map_pages', 1, PAGE, RAM, PAGE, 1, RW).errno).toBe(-Errno.EEXIST);
  expect(rig.call('unmap_pages', 1, 0, PAGE, 1).value).toBe(0);
  // The second table is torn down before the run meets the leaf that stops it.
  expect(rig.call('map_pages', 1, 2 * block, RAM, block, 1, RW).errno).toBe(0);
  expect(rig.call('map_pages', 1, block, RAM, block, 1, RW)).toMatchObject({ errno: 0, value: block });
  expect(rig.call('unmap_pages', 1, block, block, 1).value).toBe(block);
  rig.call('map_pages', 1, block, RAM, PAGE, 1, RW);
  rig.call('unmap_pages', 1, block, PAGE, 1);
  // An empty table counts as something to unmap.
  expect(rig.call('unmap_pages', 1, block, block, 1).value).toBe(block);
  expect(tell(rig.oracle.findings)).toBe('');
});

test('the heap is empty: calls ask for a page of it', () => {
  const rig = makeRig({ machine: { ...tiny, mmio: [{ name: 'far', base: 0x20000000, size: 0x1000 }] } });
  makeVm(rig, true);
  rig.refill(1, 10);
  rig.call('alloc_domain', 0, 0, 1, DomainType.s1);
  drainHeap(rig);
  expect(rig.call('map_guest', RAM / PAGE, 2 ** 27, 1, 0)).toMatchObject({
    errno: -Errno.ENOMEM,
    request: { pool: 0 },
  });
  expect(rig.call('alloc_mgt_refill', 1, RAM, 1)).toMatchObject({ errno: -Errno.ENOMEM, request: { pool: 0 } });
  const map = rig.call('map_pages', 1, 0, 0x20000000, PAGE, 1, RW | 16);
  expect(map).toMatchObject({ errno: -Errno.ENOMEM, value: 0, request: { pool: 0 } });
  for (const row of ['map_guest', 'alloc_mgt_refill', 'map_pages']) {
    expect(hits(rig, `${row}/ENOMEM-heap`), row).toBe(1);
  }
  expect(tell(rig.oracle.findings)).toBe('');
});

test('a page that is mapped 65535 times is mapped no more', () => {
  const rig = makeRig({ full: 'never' });
  rig.refill(1, 200);
  rig.call('alloc_domain', 0, 0, 1, DomainType.s1);
  for (let i = 0; i < 65535; i++) rig.call('map_pages', 1, i * PAGE, RAM, PAGE, 1, RW);
  expect(rig.call('map_pages', 1, 65535 * PAGE, RAM, PAGE, 1, RW).errno).toBe(-Errno.EBUSY);
  expect(hits(rig, 'map_pages/EBUSY')).toBe(1);
  expect(tell(rig.oracle.findings)).toBe('');
});

test('before boot, and when boot is refused, calls are forwarded and not judged', () => {
  const machine = createMachine(tiny);
  const oracle = new CheckedHypervisor(createHypervisor(machine), machine);
  expect(oracle.boot({ smmus: [0x1234000] })).toBe(-Errno.EINVAL);
  oracle.hvc(0, new Int32Array(16));
  expect(oracle.statement()).toMatchObject({ callsChecked: 0, callsBeforeBoot: 1, findings: 0 });
  expect(oracle.rows().find(({ id }) => id === 'boot/refused')?.hits).toBe(1);
});

test('stopAtFirst judges nothing more once something was found', () => {
  const machine = createMachine(tiny);
  const inner = createHypervisor(machine);
  // Never reports success, whatever it did.
  const hvc = (cpu: number, x: Int32Array): void => {
    inner.hvc(cpu, x);
    x[0] = -5;
  };
  const { boot, abort, identity } = inner;
  const oracle = new CheckedHypervisor({ identity, boot, abort, hvc }, machine, { stopAtFirst: true });
  setUpSmmu(hostPort(machine.cpus[0]!), new HostMemory(tiny), tiny.smmus[0]!);
  expect(oracle.boot({ smmus: [tiny.smmus[0]!.base] })).toBe(0);
  const x = new Int32Array(16);
  for (const name of ['vcpu_put', 'reserve_vm']) {
    encodeCall(x, callNamed(name), []);
    oracle.hvc(0, x);
  }
  expect(oracle.findings.map(({ property }) => property)).toEqual(['spec']);
  expect(oracle.statement().callsChecked).toBe(1);
});
