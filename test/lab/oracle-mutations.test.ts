/** Something is broken behind the oracle's back, one thing at a time: the property that stands for it must be found. */

import { expect, test } from 'vitest';
import { hypLayout } from '#hyp/layout';
import { callNamed, FUNCTION_ID_BASE, type Hypervisor, VM_HANDLE_BASE } from '#hypercall-abi';
import { buildHypervisor } from '#lab/zoo/loader';
import { type Machine, tiny } from '#machine';
import { kinds, type Mischief, makeRig, PAGE, type Rig, RW, tell } from './oracle-rig.ts';

const layout = hypLayout(tiny);
const IOVA = 0x10000;

/** Address of a page's record. */
function record(pa: number): number {
  return layout.vmemmap + ((pa - tiny.ram[0]!.base) / PAGE) * 8;
}

function domainRecord(id: number): number {
  return layout.domains + 64 * id;
}

/** Does `act` after each call of that name, as if the hypervisor had done it. */
function after(name: Parameters<typeof callNamed>[0], act: (machine: Machine, x: Int32Array) => void): Mischief {
  const id = FUNCTION_ID_BASE + callNamed(name).position;
  return (inner, machine) => ({
    identity: 'mischief',
    boot: (parameters) => inner.boot(parameters),
    abort: (...access) => inner.abort(...access),
    hvc: (cpu, x) => {
      const isIt = x[0]! >>> 0 === id;
      inner.hvc(cpu, x);
      if (isIt) act(machine, x);
    },
  });
}

/** Serves a call itself instead of the hypervisor. */
function instead(name: Parameters<typeof callNamed>[0], act: (machine: Machine, x: Int32Array) => void): Mischief {
  const id = FUNCTION_ID_BASE + callNamed(name).position;
  return (inner, machine): Hypervisor => ({
    identity: 'mischief',
    boot: (parameters) => inner.boot(parameters),
    abort: (...access) => inner.abort(...access),
    hvc: (cpu, x) => {
      if (x[0]! >>> 0 === id) act(machine, x);
      else inner.hvc(cpu, x);
    },
  });
}

function answer(x: Int32Array, x0: number, x1: number): void {
  x.set([x0, x0 >> 31, x1, x1 >> 31, 0, 0]);
}

/** A domain with a page mapped at {@link IOVA} and stream 0 attached; returns the page. */
function mapped(rig: Rig, type = 0): number {
  rig.refill(1, 16);
  const page = rig.page();
  expect(rig.call('alloc_domain', 0, 0, 1, type).errno).toBe(0);
  expect(rig.call('attach_dev', 0, 1, 0, 0, 0, 0).errno).toBe(0);
  expect(rig.call('map_pages', 1, IOVA, page, PAGE, 1, RW).value).toBe(PAGE);
  return page;
}

/** Address of the descriptor of {@link IOVA} in domain 1. */
function leafAt(machine: Machine): number {
  const { memory } = machine;
  const kind = memory.read32(domainRecord(1) + 8) & 0xff;
  let table = memory.read32(domainRecord(1) + 16) >>> 0;
  // Stage 1 has 48 bits and starts at level 0; stage 2 has the 40 bits of the SMMU and starts at level 1.
  for (let at = kind === 1 ? 0 : 1; at < 3; at++) {
    table = (memory.read32(table + 8 * (Math.floor(IOVA / 2 ** (39 - 9 * at)) % 512)) & ~0xfff) >>> 0;
  }
  return table + 8 * (IOVA / PAGE);
}

/** Address of the level-3 table that holds it. */
function tableAt(machine: Machine): number {
  return leafAt(machine) - 8 * (IOVA / PAGE);
}

function ste(rig: Rig, sid: number): number {
  return rig.session.smmuMemory[0]!.strtab + 64 * sid;
}

test('nothing is found where nothing is broken', () => {
  const rig = makeRig();
  const page = mapped(rig);
  rig.call('unmap_pages', 1, IOVA, PAGE, 1);
  rig.call('host_share_hyp', page / PAGE);
  rig.call('detach_dev', 0, 1, 0, 0);
  rig.call('free_domain', 1);
  expect(tell(rig.oracle.findings)).toBe('');
});

test('spec: a call that says something else than its row', () => {
  const rig = makeRig({ mischief: after('detach_dev', (_, x) => answer(x, 0, -13)) });
  mapped(rig);
  rig.call('detach_dev', 7, 1, 0, 0);
  expect(kinds(rig.oracle.findings)).toEqual(['spec/detach_dev/ENODEV-iommu']);
  expect(rig.oracle.findings[0]).toMatchObject({ cpu: 0, call: expect.stringContaining('detach_dev(iommu=7') });
  expect(rig.oracle.findings[0]!.text).toContain('-EACCES');
});

test('spec: a function id that is no call must be refused as such', () => {
  const rig = makeRig({
    mischief: (inner) => ({
      identity: 'mischief',
      boot: (parameters) => inner.boot(parameters),
      abort: (...access) => inner.abort(...access),
      hvc: (cpu, x) => {
        inner.hvc(cpu, x);
        x[0] = 0;
        x[1] = 0;
      },
    }),
  });
  rig.session.boundary.registers(0).fill(0);
  rig.session.boundary.hvc(0);
  expect(kinds(rig.oracle.findings)).toEqual(['spec/unknown/not-supported']);
});

test('spec: a request for memory that is not missing', () => {
  const rig = makeRig({
    mischief: after('alloc_domain', (_, x) => {
      x[4] = 5 | (1 << 8);
    }),
  });
  rig.refill(1, 4);
  rig.call('alloc_domain', 0, 0, 1, 0);
  expect(kinds(rig.oracle.findings)).toEqual(['spec/alloc_domain/ok']);
});

test('unchanged: a refused free zeroes the references of the domain (defect Z08)', () => {
  const rig = makeRig({
    full: 'never',
    mischief: after('free_domain', ({ memory }) => memory.write32(domainRecord(1), 1)),
  });
  mapped(rig);
  expect(rig.call('free_domain', 1).errno).toBe(-22);
  expect(kinds(rig.oracle.findings)).toEqual(['unchanged/domain']);
});

test('unchanged: a refused share marks the page nevertheless', () => {
  const rig = makeRig({
    full: 'never',
    mischief: after('host_share_hyp', ({ memory }, x) => {
      if (x[2] !== 0) memory.write32(record(0x40100000), 1 << 24);
    }),
  });
  const page = mapped(rig);
  expect(rig.call('host_share_hyp', page / PAGE).errno).toBe(-22);
  expect(kinds(rig.oracle.findings)).toEqual(['unchanged/page-record']);
});

test('unchanged: a call that writes into a page of the host', () => {
  const rig = makeRig({ mischief: after('vcpu_put', ({ memory }) => memory.write32(0x40100010, 1)) });
  rig.call('reserve_vm');
  rig.machine.memory.write32(0x40100010, 2);
  expect(tell(rig.oracle.findings)).toBe('');
  rig.call('vcpu_put');
  expect(kinds(rig.oracle.findings)).toEqual(['unchanged/foreign-write']);
});

test('refcount: a mapped page that is not counted', () => {
  const rig = makeRig();
  const page = mapped(rig);
  rig.machine.memory.write32(record(page), 0);
  expect(kinds(rig.oracle.findings)).toEqual(['refcount/dropped-while-mapped']);
  rig.call('vcpu_put');
  expect(kinds(rig.oracle.findings)).toEqual(['refcount/dropped-while-mapped', 'refcount/page']);
});

test('refcount: a page that is counted and not mapped', () => {
  let victim = 0;
  const rig = makeRig({ mischief: after('map_pages', ({ memory }) => memory.write32(record(victim), 1)) });
  victim = rig.page();
  mapped(rig);
  expect(kinds(rig.oracle.findings)).toEqual(['refcount/page']);
  expect(rig.oracle.findings[0]!.detail).toMatchObject({ pa: victim, refs: 1, mappings: 0 });
});

test('ownership: the record of a page, and the stage 2 of the host', () => {
  const rig = makeRig({ full: 'never' });
  const page = rig.page();
  rig.machine.memory.write32(record(page) + 4, 1);
  rig.call('vcpu_put');
  expect(kinds(rig.oracle.findings)).toEqual(['ownership/page-record']);
  rig.oracle.reset();
  rig.machine.memory.write32(record(page) + 4, 0);
  // The carve-out of this machine is annotated page by page in one level-3 table: let the host in at its first page.
  const { memory } = rig.machine;
  let table = memory.read32(layout.hostStage2Root) >>> 0;
  for (const index of [0, 1, 1]) table = (memory.read32(table + 8 * index) & ~0xfff) >>> 0;
  memory.write64(table + 8 * 0x100, 0, 0);
  rig.oracle.checkAll();
  expect(kinds(rig.oracle.findings)).toEqual(['ownership/stage2']);
});

test('ownership: a guest with a page of another in its stage 2', () => {
  const rig = makeRig();
  const { boundary } = rig.session;
  const [kvm, pgd, first] = [rig.page(), rig.page(), rig.page()];
  rig.call('reserve_vm');
  rig.call('host_share_hyp', kvm / PAGE);
  boundary.write32(0, kvm, VM_HANDLE_BASE);
  boundary.write32(0, kvm + 4, 1);
  boundary.write32(0, kvm + 8, 1);
  rig.call('init_vm', kvm, pgd);
  rig.call('vcpu_load', VM_HANDLE_BASE, 0);
  expect(rig.call('map_guest', first / PAGE, 1, 1, 0).errno).toBe(0);
  expect(tell(rig.oracle.findings)).toBe('');
  const { memory } = rig.machine;
  let table = pgd;
  for (let level = 0; level < 3; level++) table = (memory.read32(table) & ~0xfff) >>> 0;
  memory.write32(table + 8, memory.read32(table + 8) + PAGE);
  rig.oracle.checkAll();
  expect(kinds(rig.oracle.findings)).toEqual(['ownership/guest-stage2']);
});

test.each([0, 1])('tables: a leaf that allows more than was asked for, domain type %i', (type) => {
  const writable = type === 0 ? ~0x80 : ~0;
  const rig = makeRig({
    full: 'never',
    mischief: after('map_pages', ({ memory }) => {
      const at = leafAt({ memory } as Machine);
      memory.write32(at, (memory.read32(at) & writable) | (type === 0 ? 0 : 0x80));
    }),
  });
  rig.refill(1, 16);
  rig.call('alloc_domain', 0, 0, 1, type);
  rig.call('map_pages', 1, IOVA, rig.page(), PAGE, 1, 1);
  expect(kinds(rig.oracle.findings)).toEqual(['tables/leaves']);
  expect(rig.oracle.findings[0]!.text).toContain('0x10000');
});

test('tables: a leaf that was never mapped', () => {
  const rig = makeRig({ full: 'never' });
  const page = mapped(rig);
  const { memory } = rig.machine;
  memory.write64(leafAt(rig.machine) + 8, memory.read32(leafAt(rig.machine) + 4), memory.read32(leafAt(rig.machine)));
  rig.call('vcpu_put');
  expect(kinds(rig.oracle.findings)).toEqual(['tables/leaves']);
  expect(rig.oracle.findings[0]!.text).toContain(`maps 0x11000 to 0x${page.toString(16)}`);
});

test.each([
  ['EATS lets the device send translated requests', 8, 0x10000000],
  ['STRW puts the stream into EL2', 8, 0x80000000 | 0],
])('streams: %s', (_, offset, bits) => {
  const rig = makeRig({ full: 'never' });
  mapped(rig);
  const { memory } = rig.machine;
  memory.write32(ste(rig, 0) + offset, memory.read32(ste(rig, 0) + offset) | bits);
  rig.call('vcpu_put');
  expect(kinds(rig.oracle.findings)).toEqual(['streams/entry']);
});

test('streams: the VMID is another domain’s', () => {
  const rig = makeRig({
    full: 'never',
    mischief: after('attach_dev', ({ memory }, x) => {
      if (x[2] === 0) memory.write32(rig.session.smmuMemory[0]!.strtab + 16, 2);
    }),
  });
  rig.refill(1, 16);
  rig.call('alloc_domain', 0, 0, 1, 1);
  rig.call('attach_dev', 0, 1, 0, 0, 0, 0);
  expect(kinds(rig.oracle.findings)).toEqual(['streams/entry']);
  expect(rig.oracle.findings[0]!.text).toContain('S2VMID is 2 instead of 1');
});

test('structure: a context descriptor whose page is freed under a live entry (defect Z02)', () => {
  const rig = makeRig({ full: 'never' });
  mapped(rig);
  const { memory } = rig.machine;
  const cd = (memory.read32(ste(rig, 0)) & ~63) >>> 0;
  memory.write32(record(cd), memory.read32(record(cd)) - 1);
  expect(kinds(rig.oracle.findings)).toEqual(['structure/live-page']);
  expect(rig.oracle.findings[0]!.text).toContain('context descriptor of stream 0x0');
});

test('structure: the command queue is given back to the host', () => {
  const rig = makeRig({ full: 'never' });
  rig.machine.memory.write32(record(rig.session.smmuMemory[0]!.cmdq), 0);
  expect(kinds(rig.oracle.findings)).toEqual(['structure/command-queue']);
});

test('structure: an SMMU record that names another stream table', () => {
  const rig = makeRig();
  const page = rig.page();
  rig.machine.memory.write32(layout.smmus + 8, page);
  rig.oracle.checkAll();
  expect(kinds(rig.oracle.findings)).toContain('structure/smmu-record');
});

test('allocation: a page that no pool has and nothing leads to', () => {
  const edit = { file: 'hyp/attach.ts', function: 'detachS1' };
  const before = '  if (result === 0) yield* freeCdTable(h, table, bits);';
  const { createHypervisor } = buildHypervisor([{ id: 'keeps', edits: [{ ...edit, before, after: '' }] }]);
  const rig = makeRig({ mischief: (_, machine) => createHypervisor(machine) });
  mapped(rig);
  expect(tell(rig.oracle.findings)).toBe('');
  rig.call('detach_dev', 0, 1, 0, 0);
  expect(kinds(rig.oracle.findings)).toEqual(['allocation/pool-leak', 'allocation/lost-page']);
});

test('allocation: a table on a free list', () => {
  const rig = makeRig({ full: 'never' });
  mapped(rig);
  const { memory } = rig.machine;
  memory.write64(layout.iommuPool + 16, 0, tableAt(rig.machine));
  rig.oracle.checkAll();
  expect(kinds(rig.oracle.findings)).toContain('allocation/free-list');
});

test('invalidation: a page is released before its translation is invalidated (defect Z14)', () => {
  const rig = makeRig({
    mischief: instead('unmap_pages', (machine, x) => {
      machine.memory.write64(leafAt(machine), 0, 0);
      machine.memory.write32(record(page), 0);
      answer(x, 0, PAGE);
    }),
  });
  const page = mapped(rig);
  rig.call('unmap_pages', 1, IOVA, PAGE, 1);
  expect(kinds(rig.oracle.findings)).toEqual(['invalidation/released-early']);
  expect(rig.oracle.findings[0]!.detail).toMatchObject({ pa: page, iova: IOVA, via: 'stale leaf', domain: 1 });
});

test('invalidation: the same for a domain that no stream was ever attached to is allowed', () => {
  const rig = makeRig({
    mischief: instead('unmap_pages', (machine, x) => {
      machine.memory.write64(leafAt(machine), 0, 0);
      machine.memory.write32(record(page), 0);
      answer(x, 0, PAGE);
    }),
  });
  rig.refill(1, 16);
  const page = rig.page();
  rig.call('alloc_domain', 0, 0, 1, 0);
  rig.call('map_pages', 1, IOVA, page, PAGE, 1, RW);
  rig.call('unmap_pages', 1, IOVA, PAGE, 1);
  expect(tell(rig.oracle.findings)).toBe('');
});

/** Detach as the hypervisor does it, but without CFGI: the entry is cleared, the CD goes back to the pool. */
function detachWithoutCfgi({ memory }: Machine, x: Int32Array, strtab: number): void {
  const cd = (memory.read32(strtab) & ~63) >>> 0;
  memory.write64(strtab, 0, 0);
  memory.write32(domainRecord(1), 1);
  memory.write32(record(cd), memory.read32(record(cd)) - 1);
  answer(x, 0, 0);
}

test('invalidation: a context descriptor is freed while its entry may be cached (defect Z17)', () => {
  const rig = makeRig({
    full: 'never',
    mischief: instead('detach_dev', (machine, x) => {
      detachWithoutCfgi(machine, x, rig.session.smmuMemory[0]!.strtab);
    }),
  });
  mapped(rig);
  rig.call('detach_dev', 0, 1, 0, 0);
  // The other words of the entry stay, too.
  expect(kinds(rig.oracle.findings)).toEqual(['invalidation/table-freed-early', 'streams/entry']);
});

test('invalidation: the words of a stream table entry change in one epoch with its valid bit', () => {
  const rig = makeRig({ full: 'never' });
  mapped(rig);
  const { memory } = rig.machine;
  const from = memory.indexOf(ste(rig, 0));
  const words = Array.from({ length: 16 }, (_, i) => memory.words[from + i]!);
  for (let n = 7; n >= 0; n--) memory.write64(ste(rig, 1) + 8 * n, words[2 * n + 1]!, words[2 * n]!);
  expect(kinds(rig.oracle.findings)).toEqual(['invalidation/ste-torn']);
});

test('tag-reuse: a domain id is used again while its tag may be cached', () => {
  const rig = makeRig({
    full: 'never',
    mischief: instead('free_domain', ({ memory }, x) => {
      memory.write32(domainRecord(1), 0);
      answer(x, 0, 0);
    }),
  });
  mapped(rig);
  rig.call('detach_dev', 0, 1, 0, 0);
  rig.call('free_domain', 1);
  rig.oracle.reset();
  rig.call('alloc_domain', 0, 0, 1, 0);
  expect(kinds(rig.oracle.findings)).toEqual(['tag-reuse/stale']);
});

test('isolation: a page that is mapped for DMA is given to a guest', () => {
  const rig = makeRig({
    mischief: (inner, { memory }) => ({
      identity: 'mischief',
      boot: (parameters) => inner.boot(parameters),
      abort: (...access) => inner.abort(...access),
      hvc: (cpu, x) => {
        const donates = x[0]! >>> 0 === FUNCTION_ID_BASE + callNamed('alloc_mgt_refill').position && x[4] === page;
        // The test of the reference count is left out.
        if (donates) memory.words[memory.indexForWrite(record(page))]! &= ~0xffff;
        inner.hvc(cpu, x);
      },
    }),
  });
  let page = 0;
  page = mapped(rig);
  rig.call('alloc_mgt_refill', 1, page, 1);
  const found = rig.oracle.findings.find(({ property }) => property === 'isolation')!;
  expect(found.text).toBe(`0x${page.toString(16)} leaves the host while domain 1 maps 0x10000 to it (live)`);
  expect(found.detail).toMatchObject({ iova: IOVA, via: 'live', domain: 1 });
  expect(kinds(rig.oracle.findings)).toContain('spec/alloc_mgt_refill/EINVAL-chunk');
});

test('isolation: a leaf leads to a page of the hypervisor', () => {
  const rig = makeRig({ full: 'never' });
  mapped(rig);
  const { memory } = rig.machine;
  memory.write64(leafAt(rig.machine) + 8, 0, tiny.carveOut.base | (memory.read32(leafAt(rig.machine)) & 0xfff) | 0);
  expect(kinds(rig.oracle.findings)).toEqual(['isolation/foreign-page']);
  expect(rig.oracle.findings[0]!.detail).toMatchObject({ iova: 0x11000, pa: tiny.carveOut.base, owner: 'hypervisor' });
});

test('isolation: a stream that bypasses translation', () => {
  const rig = makeRig({ full: 'never' });
  rig.machine.memory.write64(ste(rig, 3), 0, 9);
  expect(kinds(rig.oracle.findings)).toEqual(['isolation/bypass']);
});

test('isolation: the registers of an SMMU are mapped for DMA', () => {
  const rig = makeRig({ full: 'never' });
  mapped(rig);
  const { memory } = rig.machine;
  memory.write64(leafAt(rig.machine) + 8, 0, tiny.smmus[0]!.base | (memory.read32(leafAt(rig.machine)) & 0xfff));
  expect(kinds(rig.oracle.findings)).toEqual(['isolation/smmu-registers']);
});

test('isolation: a freed table page is followed with what the host writes into it', () => {
  const rig = makeRig({ full: 'never' });
  mapped(rig);
  const { memory } = rig.machine;
  const table = tableAt(rig.machine);
  const descriptor = memory.read32(leafAt(rig.machine)) & 0xfff;
  // The table page is given back to the host while a table descriptor still points to it.
  memory.write32(record(table), 0);
  expect(kinds(rig.oracle.findings)).toEqual(['structure/live-page']);
  memory.write64(table + 8 * 100, 0, (tiny.carveOut.base + 5 * PAGE) | descriptor);
  expect(kinds(rig.oracle.findings)).toContain('isolation/foreign-page');
});

test('lock: a call returns with a lock held', () => {
  const rig = makeRig({ mischief: after('reserve_vm', ({ memory }) => memory.write32(layout.vmLock, 1)) });
  rig.call('reserve_vm');
  expect(kinds(rig.oracle.findings)).toEqual(['lock/global']);
});

test('lock: taken out of order, and released by a CPU that does not hold it', () => {
  const rig = makeRig({
    mischief: after('reserve_vm', ({ memory }) => {
      memory.compareExchange32(layout.hypLock, 0, 1);
      memory.compareExchange32(layout.vmLock, 0, 1);
      memory.compareExchange32(layout.vmLock, 1, 0);
      memory.compareExchange32(layout.hypLock, 1, 0);
    }),
  });
  rig.call('reserve_vm');
  expect(rig.oracle.findings.map(({ text }) => text)).toEqual([
    'CPU 0 takes the vmTable lock while it holds the hyp lock',
  ]);
});

test('lock: a lock that one call left held is released by another', () => {
  const rig = makeRig({
    mischief: after('reserve_vm', ({ memory }) => memory.write32(layout.vmLock, 1)),
  });
  rig.call('reserve_vm');
  rig.machine.memory.write32(layout.vmLock, 0);
  expect(kinds(rig.oracle.findings)).toEqual(['lock/global', 'lock/not-holder']);
});

test('panic: the hypervisor throws', () => {
  const rig = makeRig({
    mischief: after('vcpu_put', () => {
      throw new Error('BUG at vm.c:1');
    }),
  });
  rig.call('vcpu_put');
  expect(kinds(rig.oracle.findings)).toEqual(['panic/threw']);
  expect(rig.oracle.findings[0]!.text).toContain('BUG at vm.c:1');
});

test('accounting: pages of a pool, loaded vCPUs, streams with identity', () => {
  const { vms, smmus, iommuPool } = layout;
  for (const [at, kind] of [
    [iommuPool + 8, 'accounting/pool-total'],
    [vms + 20, 'accounting/vm-record'],
    [smmus + 44, 'accounting/identity-streams'],
  ] as const) {
    const rig = makeRig({ full: 'never' });
    rig.machine.memory.write32(at, rig.machine.memory.read32(at) + 1);
    rig.call('reserve_vm');
    expect(kinds(rig.oracle.findings)).toEqual([kind]);
  }
});
