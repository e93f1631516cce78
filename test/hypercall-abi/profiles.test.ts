/** What docs/profiles.md says of profile android17, held against the call table and the hypervisor. */
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { HostMemory, setUpSmmu } from '#host';
import { createHypervisor } from '#hyp/plain';
import {
  type ArgumentValue,
  Boundary,
  type CallName,
  callNamed,
  encodeCall,
  errnoName,
  getBig,
  profiles,
} from '#hypercall-abi';
import { specificationOf } from '#lab/oracle/index';
import { createMachine, hostPort, type MachineDescription, tiny } from '#machine';

const PAGE = 4096;
const page = readFileSync(new URL('../../docs/profiles.md', import.meta.url), 'utf8');
const description: MachineDescription = { ...tiny, mmio: [{ name: 'doorbell', base: 0x08000000, size: PAGE }] };

function boot() {
  const machine = createMachine(description);
  const ports = machine.cpus.map(hostPort);
  const memory = new HostMemory(description);
  for (const smmu of description.smmus) setUpSmmu(ports[0]!, memory, smmu);
  const hypervisor = createHypervisor(machine);
  expect(hypervisor.boot({ smmus: description.smmus.map(({ base }) => base) })).toBe(0);
  const boundary = new Boundary(hypervisor, ports, null);
  const call = (name: CallName, ...args: ArgumentValue[]) => errnoName(boundary.call(0, name, ...args).errno);
  const value = (name: CallName, ...args: ArgumentValue[]) => boundary.call(0, name, ...args).value;
  return { boundary, memory, call, value };
}

/** The same with pages in the IOMMU pool and stage-1 domain 1. */
function bootWithDomain() {
  const session = boot();
  expect(session.call('alloc_mgt_refill', 1, session.memory.alloc(4) + 4, 1)).toBe('0');
  expect(session.call('alloc_domain', 0, 0, 1, 0)).toBe('0');
  return session;
}

test.each(profiles)('the page lists every call of $name at its position', ({ name, calls }) => {
  const section = page.split(`\n## ${name}\n`)[1]!.split('\n## ')[0]!;
  const listed = [...section.matchAll(/^\| [^|]+ \| ([a-z_, ]+) \| ([\d, ]+) \|$/gm)].flatMap(
    ([, names, positions]) => {
      const numbers = positions!.split(', ').map(Number);
      return names!.split(', ').map((call, i) => [call, numbers[i]]);
    },
  );
  expect(new Map(listed as [string, number][])).toEqual(new Map(calls.map((call) => [call.name, call.position])));
  expect(listed.length).toBe(calls.length);
});

test('the map from upstream names leads to files, rows and tests that there are', () => {
  const root = new URL('../../', import.meta.url);
  const read = (path: string): string => readFileSync(new URL(path, root), 'utf8');
  const rows = new Set(profiles.flatMap((profile) => specificationOf(profile).rows.map(({ id }) => id)));
  const lines = read('docs/upstream-map.md')
    .split('\n')
    .filter((line) => line.startsWith('| `'));
  expect(lines.length).toBeGreaterThan(30);
  for (const line of lines) {
    const [, , file = '', ids = '', test = ''] = line.split(' | ').join('|').replace(/^\| /, '|').split('|');
    expect(read(file.trim()).length, line).toBeGreaterThan(0);
    for (const id of ids.trim().split(', ')) {
      const found = id.endsWith('/*') ? [...rows].some((row) => row.startsWith(id.slice(0, -1))) : rows.has(id);
      expect(found, id).toBe(true);
    }
    const [, testFile = '', title = ''] = /^(\S+): (.+?)\s*$/.exec(test.trim()) ?? [];
    expect(read(testFile).includes(title), `${testFile}: ${title}`).toBe(true);
  }
});

test('what panics EL2 upstream is an error', () => {
  const { call, value } = boot();
  expect(call('attach_dev', 0, 1, 0, 0, 0, 0)).toBe('-EINVAL');
  expect(call('map_pages', 1, 0, 0x40000000, PAGE, 1, 3)).toBe('-ENOENT');
  expect(value('unmap_pages', 1, 0, PAGE, 1)).toBe(0);
  expect(value('iova_to_phys', 1, 0)).toBe(0);
  expect(call('free_domain', 1)).toBe('-ENODEV');
  const busy = bootWithDomain();
  expect(busy.call('attach_dev', 0, 1, 0, 0, 0, 0)).toBe('0');
  expect(busy.call('free_domain', 1)).toBe('-EINVAL');
});

test('refills upstream would warn about are errors', () => {
  const { call, memory, boundary } = boot();
  const chunk = memory.alloc(1);
  expect(call('alloc_mgt_refill', 0, chunk + 1, 1)).toBe('-EINVAL');
  expect(getBig(boundary.registers(0), 3)).toBe(BigInt(chunk + 1));
  expect(call('alloc_mgt_refill', 1, chunk + 1, 4096)).toBe('-EINVAL');
  expect(getBig(boundary.registers(0), 3)).toBe(0n);
  expect(call('alloc_mgt_refill', 1, chunk + PAGE + 1, 1)).toBe('-EINVAL');
  expect(call('alloc_mgt_refill', 2, chunk + 1, 1)).toBe('-EINVAL');
  expect(call('host_share_hyp', chunk / PAGE)).toBe('0');
});

test('a domain has a type that there is, and an id that is the host’s', () => {
  const { call } = boot();
  expect(call('alloc_domain', 0, 0, 1, -1)).toBe('-EINVAL');
  expect(call('alloc_domain', 0, 0, 1, 2)).toBe('-EINVAL');
  expect(call('alloc_domain', 0, 0, 0, 0)).toBe('-EPERM');
  expect(call('alloc_domain', 0, 0, 256, 0)).toBe('-EINVAL');
});

test('no PASID but 0 is served', () => {
  const { call } = bootWithDomain();
  expect(call('attach_dev', 0, 1, 0, 1, 0, 0)).toBe('-EINVAL');
  expect(call('attach_dev', 0, 1, 0, 0, 0, 0)).toBe('0');
  expect(call('attach_dev', 0, 1, 0, 1, 0, 0)).toBe('-E2BIG');
  expect(call('detach_dev', 0, 1, 0, 1)).toBe('-E2BIG');
  expect(call('alloc_domain', 0, 0, 2, 1)).toBe('0');
  expect(call('attach_dev', 0, 2, 1, 1, 0, 0)).toBe('-EBUSY');
});

test('device registers are mapped only where the machine has a device that is the host’s', () => {
  const { call } = bootWithDomain();
  expect(call('map_pages', 1, 0, 0x08000000, PAGE, 1, 0x13)).toBe('0');
  expect(call('map_pages', 1, PAGE, 0x08001000, PAGE, 1, 0x13)).toBe('-EINVAL');
  expect(call('map_pages', 1, PAGE, description.smmus[0]!.base, PAGE, 1, 0x13)).toBe('-EPERM');
});

test('the host reaches no register of the SMMU but those of events and errors', () => {
  const { boundary } = boot();
  const { base } = description.smmus[0]!;
  for (const offset of [0x60, 0x64, 0x100a8, 0x100ac]) expect(boundary.read32(0, base + offset)).toBe(0);
  for (const offset of [0, 0x20, 0x98, 0x100c8]) expect(boundary.read32(0, base + offset)).toBe(null);
});

test('a page is counted up to 65535 DMA mappings', { timeout: 20_000 }, () => {
  const { call, memory, boundary } = bootWithDomain();
  expect(call('alloc_mgt_refill', 1, memory.alloc(6) + 6, 1)).toBe('0');
  expect(call('alloc_mgt_refill', 1, memory.alloc(6) + 6, 1)).toBe('0');
  expect(call('alloc_mgt_refill', 1, memory.alloc(6) + 6, 1)).toBe('0');
  const pa = memory.alloc();
  const x = boundary.registers(0);
  let errno = 0;
  let mapped = 0;
  for (; errno === 0 && mapped < 70000; mapped++) {
    encodeCall(x, callNamed('map_pages'), [1, mapped * PAGE, pa, PAGE, 1, 3]);
    boundary.hvc(0);
    errno = x[0]!;
  }
  expect([mapped - 1, errnoName(errno)]).toEqual([65535, '-EBUSY']);
});

test('a VM with pages stays, and one with a page table that is not aligned never is', () => {
  const { call, value, memory, boundary } = boot();
  const vm = value('reserve_vm');
  const kvm = memory.alloc();
  [vm, 1, 1].forEach((word, i) => {
    boundary.write32(0, kvm + 4 * i, word);
  });
  expect(call('host_share_hyp', kvm / PAGE)).toBe('0');
  const pgd = memory.alloc();
  expect(call('init_vm', kvm, pgd + 8)).toBe('-EINVAL');
  expect(call('init_vm', kvm + PAGE - 8, pgd)).toBe('-EINVAL');
  expect(call('init_vm', kvm, pgd)).toBe('0');
  call('vcpu_load', vm, 0);
  expect(call('start_teardown_vm', vm)).toBe('-EBUSY');
  const given = memory.alloc();
  expect(call('map_guest', given / PAGE, 5, 1, 7)).toBe('0');
  call('vcpu_put');
  expect(call('start_teardown_vm', vm)).toBe('0');
  expect(call('finalize_teardown_vm', vm)).toBe('-EBUSY');
  expect(call('reclaim_dying_guest_page', vm, 5, 1)).toBe('0');
  expect(call('finalize_teardown_vm', vm)).toBe('0');
});

test('a DMA-mapped page is not shared with a guest either, nor is what is no RAM', () => {
  const { call, value, memory, boundary } = bootWithDomain();
  const vm = value('reserve_vm');
  const kvm = memory.alloc();
  [vm, 0, 1].forEach((word, i) => {
    boundary.write32(0, kvm + 4 * i, word);
  });
  call('host_share_hyp', kvm / PAGE);
  expect(call('init_vm', kvm, memory.alloc())).toBe('0');
  call('vcpu_load', vm, 0);
  const pa = memory.alloc();
  expect(call('map_pages', 1, 0, pa, PAGE, 1, 3)).toBe('0');
  expect(call('map_guest', pa / PAGE, 5, 1, 6)).toBe('-EINVAL');
  expect(call('map_guest', 0x08000000 / PAGE, 5, 1, 6)).toBe('-EINVAL');
  expect(value('unmap_pages', 1, 0, PAGE, 1)).toBe(PAGE);
  expect(call('map_guest', pa / PAGE, 5, 1, 6)).toBe('0');
});
