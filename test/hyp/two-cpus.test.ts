import { describe, expect, test } from 'vitest';
import type { SteppedHypervisor } from '#hypercall-abi';
import { Prng } from '#lab/random/prng';
import type { SourceEdit } from '#lab/zoo/card';
import { cardOf } from '#lab/zoo/identity';
import { buildHypervisor } from '#lab/zoo/loader';
import type { Machine, Touch } from '#machine';
import { PAGE, SteppedRig } from './stepped-rig.ts';

const EINVAL = -22;
const OWNED = 0;

test('calls in flight on two CPUs lose no reference of their domain', () => {
  for (let seed = 0; seed < 60; seed++) {
    const rig = new SteppedRig();
    rig.attachedDomain(1, 2, 0);
    const calls = [1, 2].map((i) => rig.start(i - 1, 'map_pages', 1, i * PAGE, rig.memory.alloc(), PAGE, 1, 3));
    rig.settle(new Prng(seed));
    expect(calls.map((x) => [x[0], x[2]])).toEqual([
      [0, PAGE],
      [0, PAGE],
    ]);
    expect(rig.machine.memory.read32(rig.layout.domains + 64)).toBe(2);
    expect(rig.call('free_domain', 1)[2]).toBe(EINVAL);
    expect(rig.lockProblems).toEqual([]);
  }
});

test('a domain that is freed while another CPU maps in it is either refused or gone, never both', () => {
  const endings = new Set<string>();
  for (let seed = 0; seed < 100; seed++) {
    const rig = new SteppedRig();
    rig.attachedDomain(1, 2, 0);
    expect(rig.call('detach_dev', 0, 1, 0, 0)[2]).toBe(0);
    const pa = rig.memory.alloc();
    const map = rig.start(0, 'map_pages', 1, PAGE, pa, PAGE, 1, 3);
    const free = rig.start(1, 'free_domain', 1);
    rig.settle(new Prng(seed));
    const mapped = map[2] === PAGE;
    const freed = free[2] === 0;
    endings.add(`${mapped} ${freed}`);
    expect(rig.machine.memory.read32(rig.layout.domains + 64)).toBe(freed ? 0 : 1);
    // What was mapped before the domain went has gone with it: the page can be shared.
    expect(rig.call('host_share_hyp', pa / PAGE)[2]).toBe(mapped && !freed ? EINVAL : 0);
  }
  expect([...endings].sort()).toEqual(['false true', 'true false']);
});

/**
 * Two CPUs map, unmap, share and detach on few pages while stores become visible late. At every moment a page that a
 * device may reach must be the host's and counted.
 * @returns what was found first, or null
 */
function attack(create: ((machine: Machine) => SteppedHypervisor<Touch>) | undefined, seed: number): string | null {
  const rig = new SteppedRig(create);
  const prng = new Prng(seed);
  rig.attachedDomain(1, seed % 2 === 0 ? 1 : 2, 0);
  const pages = Array.from({ length: 3 }, () => rig.memory.alloc());
  const iovas = [0, PAGE];
  let found: string | null = null;
  rig.onStep = () => {
    for (const iova of iovas) {
      for (const pa of rig.reachable('disk', iova)) {
        const { refcount, hostState } = rig.page(pa);
        if (refcount !== 0 && hostState === OWNED) continue;
        found ??= `the device reaches 0x${pa.toString(16)}, which has ${refcount} references and state ${hostState}`;
      }
    }
    found ??= rig.lockProblems[0] ?? null;
  };
  try {
    for (let turn = 0; turn < 1200 && found === null; turn++) {
      for (const cpu of [0, 1]) {
        if (rig.cpus.isBusy(cpu)) continue;
        const page = pages[prng.below(3)]!;
        const iova = iovas[prng.below(2)]!;
        const kind = prng.below(12);
        if (kind < 5) rig.start(cpu, 'map_pages', 1, iova, page, PAGE, 1, 3);
        else if (kind < 8) rig.start(cpu, 'unmap_pages', 1, iova, PAGE, 1 + prng.below(2));
        else if (kind === 8) rig.start(cpu, 'host_share_hyp', page / PAGE);
        else if (kind === 9) rig.start(cpu, 'host_unshare_hyp', page / PAGE);
        else if (kind === 10) rig.start(cpu, 'detach_dev', 0, 1, 0, 0);
        else rig.start(cpu, 'attach_dev', 0, 1, 0, 0, 0, 0);
      }
      rig.stepSomething(prng, 5);
    }
    rig.settle(prng, 5);
  } catch (error) {
    found ??= error instanceof Error ? error.message : String(error);
  }
  if (found !== null) return found;
  // Now that nothing is under way, the references are those of the mappings.
  for (const page of pages) {
    const { refcount } = rig.page(page);
    const mapped = iovas.filter((iova) => rig.call('iova_to_phys', 1, iova)[2]! >>> 0 === page).length;
    if (mapped !== refcount) return `page 0x${page.toString(16)} is mapped ${mapped} times and counted ${refcount}`;
  }
  return null;
}

test('two CPUs that map, unmap, share, attach and detach never let a device reach what is not counted', () => {
  for (let seed = 0; seed < 12; seed++) expect(attack(undefined, seed), `seed ${seed}`).toBeNull();
});

describe('what the attack must find', () => {
  const [z14, z56] = [cardOf('Z14'), cardOf('Z56')];
  const defects: readonly { readonly name: string; readonly edits: readonly SourceEdit[]; readonly finds: RegExp }[] = [
    { name: z56.title, edits: z56.edits, finds: /reaches|mapped/ },
    { name: z14.title, edits: z14.edits, finds: /reaches .* 0 references/ },
    {
      name: 'a map without the lock of its domain',
      edits: [
        {
          file: 'hyp/map.ts',
          function: 'mapInDomain',
          before: '  yield* lock(h, domain + DOMAIN_LOCK);',
          after: '',
        },
        {
          file: 'hyp/map.ts',
          function: 'mapInDomain',
          before: '  yield* unlock(h, domain + DOMAIN_LOCK);',
          after: '',
        },
      ],
      finds: /mapped|reaches/,
    },
    {
      name: 'host and hyp lock in the other order',
      edits: [
        {
          file: 'hyp/ownership.ts',
          function: 'lockHostAndHyp',
          before: '  yield* lock(h, h.layout.hostLock);\n  yield* lock(h, h.layout.hypLock);',
          after: '  yield* lock(h, h.layout.hypLock);\n  yield* lock(h, h.layout.hostLock);',
        },
      ],
      finds: /takes the host lock while it holds the hyp lock/,
    },
    {
      name: 'a lock that is never released',
      edits: [
        {
          file: 'hyp/map.ts',
          function: 'unmapInDomain',
          before: '  yield* unlock(h, domain + DOMAIN_LOCK);',
          after: '',
        },
      ],
      finds: /ends its call with domain held/,
    },
  ];
  test.each(defects)('$name', ({ name, edits, finds }) => {
    const { createHypervisor } = buildHypervisor([{ id: name, edits }], { plain: false });
    let found: string | null = null;
    for (let seed = 0; seed < 20 && found === null; seed++) found = attack(createHypervisor, seed);
    expect(found).toMatch(finds);
  });
});
