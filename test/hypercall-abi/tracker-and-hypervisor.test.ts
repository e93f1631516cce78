/**
 * The tracker in front of the real hypervisor, under a host that calls at random: it never accuses what is right, and
 * what it believes of a page never excludes what the hypervisor's own records say.
 */
import { expect, test } from 'vitest';
import { HostMemory, ScatterList, setUpSmmu } from '#host';
import { hypLayout } from '#hyp/layout';
import { createHypervisor } from '#hyp/plain';
import { type ArgumentValue, Boundary, type CallName, type CallResult, LifeCycleTracker } from '#hypercall-abi';
import { createMachine, hostPort, type Machine, streamsOf, tiny, twoSmmus } from '#machine';
import { makeRig, RandomHost, type Rig } from '../lab/oracle-rig.ts';

const PAGE = 4096;
const BLOCK = 2 ** 21;
const VM = 0x1000;
/** The smallest machine, with RAM for two blocks that nobody else uses. */
const RAM = 0x40000000;
const description = {
  ...tiny,
  ram: [{ base: RAM, size: 0x1000000 }],
  carveOut: { base: RAM + 0xf00000, size: 0x100000 },
};

/** xorshift32: the same numbers from the same seed. */
function numbersFrom(seed: number): (below: number) => number {
  let x = seed;
  return (below) => {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    return (x >>> 0) % below;
  };
}

function start() {
  const machine = createMachine(description);
  const ports = machine.cpus.map(hostPort);
  const memory = new HostMemory(description);
  for (const smmu of description.smmus) setUpSmmu(ports[0]!, memory, smmu);
  const hypervisor = createHypervisor(machine);
  expect(hypervisor.boot({ smmus: description.smmus.map(({ base }) => base) })).toBe(0);
  const tracker = new LifeCycleTracker();
  return { machine, tracker, boundary: new Boundary(hypervisor, ports, tracker), memory };
}

/** What the hypervisor's records say of a page, in the words of the life cycle. */
function recordedState(machine: Machine, pa: number): string {
  const { vmemmap } = hypLayout(description);
  const at = vmemmap + ((pa - RAM) / PAGE) * 8;
  const record = machine.memory.read32(at);
  const [refcount, host, hyp] = [record & 0xffff, (record >>> 24) & 15, 3 - ((record >>> 28) & 15)];
  if (host === 0) return refcount === 0 ? 'hostOwned' : 'hostDma';
  if (host === 1) return hyp === 2 ? 'sharedHyp' : 'sharedGuest';
  return hyp === 0 ? 'hypOwned' : 'guestOwned';
}

/**
 * One host at random: a few pages, domains, streams and VMs, so that calls meet.
 * @param lists whether it makes calls whose pages stand in memory
 */
function makeHost({ boundary, memory, machine }: ReturnType<typeof start>, seed: number, lists = false) {
  const random = numbersFrom(seed);
  const pages = Array.from({ length: 24 }, () => memory.alloc());
  const done = new Map<string, number>();
  const cpu = () => random(machine.cpus.length);
  const page = () => pages[random(pages.length)]!;
  const call = (name: CallName, ...args: ArgumentValue[]): CallResult => {
    const result = boundary.call(cpu(), name, ...args);
    if (
      result.errno === 0 &&
      (result.value > 0 || !['map_pages', 'map_sg', 'unmap_pages', 'alloc_mgt_reclaim'].includes(name))
    ) {
      done.set(name, (done.get(name) ?? 0) + 1);
    }
    return result;
  };
  const domain = () => 1 + random(3);
  const iova = () => random(6) * PAGE + random(2) * BLOCK;
  const refill = (pool: number, chunks: number) => {
    let head = 0;
    for (let i = 0; i < chunks; i++) {
      const pa = page();
      boundary.write64(0, pa, 0, head);
      head = pa;
    }
    call('alloc_mgt_refill', pool, head, chunks);
  };
  const initVm = () => {
    const kvm = page();
    const vm = call('reserve_vm').value;
    [vm, random(2), 1 + random(2)].forEach((word, i) => {
      boundary.write32(0, kvm + 4 * i, word);
    });
    call('host_share_hyp', kvm / PAGE);
    if (call('init_vm', kvm, page()).errno !== 0 && random(2) === 0) call('unreserve_vm', vm);
    call('host_unshare_hyp', kvm / PAGE);
  };
  const list = memory.alloc();
  const listIova = () => (16 + random(24)) * PAGE;
  if (lists) {
    call('host_share_hyp', list / PAGE);
    for (let i = 0; i < 40; i++) call('alloc_mgt_refill', 1, memory.alloc(), 1);
  }
  const mapList = () => {
    const ranges = Array.from({ length: 1 + random(3) }, () => ({ phys: page(), pgsize: PAGE, pgcount: random(3) }));
    new ScatterList(boundary, list, ranges);
    call('map_sg', domain(), listIova(), list, ranges.length, 3);
  };
  const vm = () => VM + random(3);
  const gfn = () => random(4);
  const acts: (() => unknown)[] = [
    () => call('alloc_domain', 0, 0, domain(), random(2)),
    () => random(3) === 0 && call('free_domain', domain()),
    () => call('attach_dev', 0, domain(), random(3), 0, 0, 0),
    () => call('detach_dev', 0, domain(), random(3), 0),
    () => call('set_identity', 0, 0, random(3), random(2), 0),
    () => call('map_pages', domain(), iova(), page(), PAGE, 1 + random(2), 3),
    () => call('map_pages', domain(), iova(), page(), PAGE, 1, 3),
    () => call('map_pages', domain(), iova(), page(), PAGE, 1, 3),
    () => call('map_pages', domain(), iova(), page(), PAGE, 1, 3),
    () => call('map_pages', domain(), random(2) * BLOCK, RAM, BLOCK, 1, 3),
    () => call('map_pages', domain(), 0, RAM, BLOCK, 2, 3),
    () => call('unmap_pages', domain(), iova(), PAGE, 1 + random(3)),
    () => call('unmap_pages', domain(), random(2) * BLOCK, BLOCK, 1 + random(2)),
    () => call('iova_to_phys', domain(), iova()),
    () => call('host_share_hyp', page() / PAGE),
    () => call('host_unshare_hyp', page() / PAGE),
    () => refill(random(2), 1),
    () => refill(random(2), 1 + random(3)),
    () => call('alloc_mgt_reclaim', 1, 1),
    () => call('alloc_mgt_reclaim', random(2), random(8)),
    initVm,
    () => call('vcpu_load', vm(), 0),
    () => call('vcpu_put'),
    () => call('map_guest', page() / PAGE, gfn(), 1, 7),
    () => call('map_guest', page() / PAGE, gfn(), 1, 7),
    () => call('unshare_guest', vm(), gfn(), 1),
    () => call('start_teardown_vm', vm()),
    () => call('reclaim_dying_guest_page', vm(), gfn(), 1),
    () => call('reclaim_dying_guest_page', vm(), gfn(), 1),
    () => call('finalize_teardown_vm', vm()),
    ...(lists ? [mapList, mapList, () => call('unmap_pages', domain(), listIova(), PAGE, 1 + random(3))] : []),
  ];
  return { pages, done, step: () => acts[random(acts.length)]!() };
}

test('a correct hypervisor is never accused, and no belief excludes the truth', () => {
  const succeeded = new Map<string, number>();
  let certain = 0;
  let looked = 0;
  for (let seed = 1; seed <= 12; seed++) {
    const session = start();
    const { pages, done, step } = makeHost(session, seed);
    for (let i = 0; i < 1500; i++) {
      step();
      expect(session.tracker.violations, `seed ${seed}, step ${i}`).toEqual([]);
      if (i % 10 !== 0) continue;
      for (const pa of pages) {
        const believed = session.tracker.pageStates(pa).split(' or ');
        expect(believed, `seed ${seed}, step ${i}, page 0x${pa.toString(16)}`).toContain(
          recordedState(session.machine, pa),
        );
        looked++;
        if (believed.length === 1) certain++;
      }
    }
    for (const [name, count] of done) succeeded.set(name, (succeeded.get(name) ?? 0) + count);
  }
  // The walk must have been somewhere, and the tracker must not be right by knowing nothing.
  for (const name of [
    'alloc_domain',
    'free_domain',
    'attach_dev',
    'detach_dev',
    'map_pages',
    'unmap_pages',
    'host_share_hyp',
    'host_unshare_hyp',
    'alloc_mgt_refill',
    'alloc_mgt_reclaim',
    'init_vm',
    'map_guest',
    'unshare_guest',
    'reclaim_dying_guest_page',
    'finalize_teardown_vm',
  ]) {
    expect(succeeded.get(name) ?? 0, name).toBeGreaterThan(5);
  }
  expect(certain / looked).toBeGreaterThan(0.3);
});

test('pages that stand in lists in memory are not seen, and neither accused nor believed to be elsewhere', () => {
  let mapped = 0;
  for (let seed = 1; seed <= 6; seed++) {
    const session = start();
    const { pages, done, step } = makeHost(session, seed, true);
    for (let i = 0; i < 1500; i++) {
      step();
      expect(session.tracker.violations, `seed ${seed}, step ${i}`).toEqual([]);
      if (i % 10 !== 0) continue;
      for (const pa of pages) {
        const believed = session.tracker.pageStates(pa).split(' or ');
        expect(believed, `seed ${seed}, step ${i}, page 0x${pa.toString(16)}`).toContain(
          recordedState(session.machine, pa),
        );
      }
    }
    mapped += done.get('map_sg') ?? 0;
  }
  expect(mapped).toBeGreaterThan(20);
});

/** A guest that is loaded on CPU 0, with every register range given up for it, and two pages. */
function makeGuest(rig: Rig): void {
  const kvm = rig.page();
  for (const { base, size } of twoSmmus.mmio) rig.call('host_donate_hyp_mmio', base / PAGE, size / PAGE);
  const vm = rig.call('reserve_vm').value;
  for (const [i, word] of [vm, 1, 1].entries()) rig.session.boundary.write32(0, kvm + 4 * i, word);
  rig.call('pviommu_attach', kvm, 7);
  const streams = twoSmmus.devices.flatMap((device) => streamsOf(device));
  streams.forEach(({ smmu, sid }, vsid) => {
    rig.call('pviommu_add_vsid', kvm, 7, smmu === 'smmu0' ? 0 : 1, sid, vsid);
  });
  rig.call('host_share_hyp', kvm / PAGE);
  rig.call('init_vm', kvm, rig.page());
  rig.call('vcpu_load', vm, 0);
  rig.refill(1, 20);
  for (let gfn = 0; gfn < 2; gfn++) rig.call('map_guest', rig.page() / PAGE, gfn, 1, 7);
  for (let vsid = 0; vsid < streams.length; vsid++) rig.session.boundary.guestCall(0, 'guest_dev_req_dma', 7, vsid);
}

/** Whichever guest is loaded on CPU 0 makes a call about few domains, pages and addresses. */
function guestStep({ session: { boundary } }: Rig, random: (below: number) => number): void {
  const domain = 256 + random(2);
  const vsid = random(3);
  const iova = random(3) * PAGE;
  switch (random(8)) {
    case 0:
      boundary.guestCall(0, 'guest_dev_req_dma', 7, vsid);
      break;
    case 1:
      boundary.guestCall(0, 'guest_alloc_domain');
      break;
    case 2:
      boundary.guestCall(0, 'guest_free_domain', domain);
      break;
    case 3:
      boundary.guestCall(0, 'guest_attach_dev', 7, vsid, 0, domain, 0);
      break;
    case 4:
      boundary.guestCall(0, 'guest_detach_dev', 7, vsid, 0, domain);
      break;
    case 5:
      boundary.guestCall(0, 'guest_unmap_pages', domain, iova, PAGE);
      break;
    default:
      boundary.guestCall(0, 'guest_map_pages', domain, iova, random(2) * PAGE, PAGE * (1 + random(2)), 3);
  }
}

test('nor are guests with devices, and the host that gave them', () => {
  const machine = {
    ...twoSmmus,
    smmus: twoSmmus.smmus.map((smmu, i) => (i === 0 ? { ...smmu, powerDomain: 4 } : smmu)),
  };
  const reached = new Map<string, number>();
  for (let seed = 1; seed <= 6; seed++) {
    const rig = makeRig({ machine, full: 'never' });
    const { session, oracle } = rig;
    makeGuest(rig);
    const host = new RandomHost(session, seed);
    const random = numbersFrom(seed);
    for (let i = 0; i < 1000; i++) {
      if (random(3) > 0) guestStep(rig, random);
      else host.step();
      expect(session.boundary.violations, `seed ${seed}, step ${i}`).toEqual([]);
    }
    for (const { id, hits } of oracle.rows()) reached.set(id, (reached.get(id) ?? 0) + hits);
  }
  for (const name of ['dev_req_dma', 'alloc_domain', 'free_domain', 'attach_dev', 'detach_dev', 'map_pages']) {
    expect(reached.get(`guest_${name}/ok`), name).toBeGreaterThan(0);
  }
});
