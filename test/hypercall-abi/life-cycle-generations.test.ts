/**
 * The life cycles of domains and pages in the other generations, on the real hypervisor with every oracle: each event
 * that they have, in each state that it is allowed in, and refused in all others.
 */

import { describe, expect, test } from 'vitest';
import { HostMemcache } from '#host';
import { type CallName, type CallResult, type lifeCycles, type Profile, profiles } from '#hypercall-abi';
import { PageWord } from '#lab/oracle/layout-reader';
import { tiny, twoSmmus } from '#machine';
import { makeRig, PAGE, type Rig, RW } from '../lab/oracle-rig.ts';
import { type Driver, readerOf, type Subject, subject } from './life-cycle-subject.ts';
import { actOf, eventsOf, follow, settle, target, waysTo } from './life-cycle-walk.ts';

/** Pages of a first table, at most. */
const ROOT_ORDER = 4;
const IOMMU = 1;
const SIDS = [5, 6];

interface Generation extends Rig {
  /** Make a call with arguments by name; those left out are 0, those that it has not are left out. */
  by(name: CallName, args: Readonly<Record<string, number>>): CallResult;
  /** Memory for tables and records, enough for what follows. */
  supply(): void;
}

function rigOf(profile: Profile): Generation {
  const rig = makeRig({ machine: twoSmmus, full: 'never', profile });
  const { boundary, memcaches } = rig.session;
  const by: Generation['by'] = (name, args) =>
    rig.call(name, ...profile.call(name).args.map((argument) => args[argument.name] ?? 0));
  const supply = (): void => {
    if (memcaches === 0) {
      rig.refill(0, 10);
      rig.refill(1, 30);
      return;
    }
    const cache = new HostMemcache(boundary, memcaches, 0);
    for (let i = 0; i < 30; i++) cache.push(rig.page());
  };
  return { ...rig, by, supply };
}

/** Number of the domain among those of all IOMMUs. */
const numberOf = ({ domains }: Profile): number => 1 + (domains.perIommu === undefined ? 0 : IOMMU * domains.perIommu);

function makeDomain(profile: Profile): Subject {
  const rig = rigOf(profile);
  rig.supply();
  const on = { iommu: IOMMU, domain: 1 };
  const pa = rig.page();
  let attached = 0;
  let iova = 0;
  const map = (): boolean => {
    iova += PAGE;
    return rig.by('map_pages', { ...on, iova, paddr: pa, pgsize: PAGE, pgcount: 1, prot: RW }).value === PAGE;
  };
  const state = (): string => {
    const refs = readerOf(rig).domainRefs(numberOf(profile));
    return refs === 0 ? 'free' : refs === 1 ? 'idle' : 'attached';
  };
  return subject(rig, state, {
    alloc: () => rig.by('alloc_domain', { ...on, type: profile.domainTypes.s2, pgd: rig.page(ROOT_ORDER) }).errno === 0,
    free: () => rig.by('free_domain', on).errno === 0,
    attach: () => {
      const isDone = rig.by('attach_dev', { ...on, endpoint: SIDS[attached % 2]! }).errno === 0;
      if (isDone) attached++;
      return isDone;
    },
    detach: () => {
      const isDone = rig.by('detach_dev', { ...on, endpoint: SIDS[Math.max(0, attached - 1) % 2]! }).errno === 0;
      if (isDone) attached--;
      return isDone;
    },
    map,
    unmap: () => {
      map();
      return rig.by('unmap_pages', { ...on, iova, pgsize: PAGE, pgcount: 1 }).value === PAGE;
    },
    translate: () => {
      map();
      return rig.by('iova_to_phys', { ...on, iova }).value === pa;
    },
  });
}

function makePage(profile: Profile): Subject {
  const rig = rigOf(profile);
  rig.supply();
  const on = { iommu: IOMMU, domain: 1 };
  rig.by('alloc_domain', { ...on, type: profile.domainTypes.s2, pgd: rig.page(ROOT_ORDER) });
  rig.by('attach_dev', { ...on, endpoint: SIDS[0]! });
  const pa = rig.page();
  rig.by('map_pages', { ...on, paddr: rig.page(), pgsize: PAGE, pgcount: 1, prot: RW });
  let iova = 0;
  const state = (): string => {
    const word = readerOf(rig).page((pa - tiny.ram[0]!.base) / PAGE);
    const { owned, sharedOwned } = profile.pageStates;
    if (PageWord.hostState(word) === sharedOwned) return 'sharedHyp';
    if (PageWord.hostState(word) !== owned) return `host ${PageWord.hostState(word)}`;
    return PageWord.references(word) === 0 ? 'hostOwned' : 'hostDma';
  };
  return subject(rig, state, {
    map: () => {
      const args = { ...on, iova: iova + PAGE, paddr: pa, pgsize: PAGE, pgcount: 1, prot: RW };
      const isDone = rig.by('map_pages', args).value === PAGE;
      if (isDone) iova += PAGE;
      return isDone;
    },
    unmap: () => {
      const isDone = iova !== 0 && rig.by('unmap_pages', { ...on, iova, pgsize: PAGE, pgcount: 1 }).value === PAGE;
      if (isDone) iova -= PAGE;
      return isDone;
    },
    share_hyp: () => rig.by('host_share_hyp', { pfn: pa / PAGE }).errno === 0,
    unshare_hyp: () => rig.by('host_unshare_hyp', { pfn: pa / PAGE }).errno === 0,
  });
}

/** Events of guests, and of pools: the drivers of android17 take these ways. */
const OF_OTHERS = ['DONATE_HYP', 'RETURN_HOST', 'DONATE_GUEST', 'RECLAIM_GUEST', 'SHARE_GUEST_FIRST', 'SHARE_GUEST'];
const OF_GUESTS = [
  'UNSHARE_GUEST',
  'UNSHARE_GUEST_LAST',
  'GUEST_MAP_FIRST',
  'GUEST_MAP',
  'GUEST_UNMAP',
  'GUEST_UNMAP_LAST',
];

const drivers: Readonly<
  Record<'domain' | 'page', Omit<Driver, 'make'> & { readonly make: (profile: Profile) => Subject }>
> = {
  domain: {
    make: makeDomain,
    acts: { ATTACH_FIRST: 'attach', DETACH_LAST: 'detach' },
    paths: { DETACH: ['ALLOC', 'ATTACH_FIRST', 'ATTACH', 'DETACH'] },
    // Either a domain's number is its IOMMU's, or its streams may be behind several.
    elsewhere: ['ATTACH_ELSEWHERE'],
  },
  page: {
    make: makePage,
    acts: { MAP_FIRST: 'map', UNMAP_LAST: 'unmap' },
    paths: { UNMAP: ['MAP_FIRST', 'MAP', 'UNMAP'] },
    elsewhere: [...OF_OTHERS, ...OF_GUESTS],
  },
};

/** Where a domain gets its table with the first attach, one without streams can be mapped in only after that. */
function wayTo(
  name: keyof typeof lifeCycles,
  { tableBuilt }: Profile,
  state: string,
  way: readonly string[],
): readonly string[] {
  const isLate = name === 'domain' && tableBuilt === 'first-attach' && state === 'idle';
  return isLate ? [...way, 'ATTACH_FIRST', 'DETACH_LAST'] : way;
}

const cases = profiles
  .filter(({ name }) => name !== 'android17')
  .flatMap((profile) => (['domain', 'page'] as const).map((name) => ({ profile, name })));

describe.each(cases)('$name in $profile.name', ({ profile, name }) => {
  const driver = drivers[name];
  const ways = waysTo(name, driver);
  const events = eventsOf(name, driver);

  test('every transition', () => {
    const taken = new Set<string>();
    for (const [state, way] of ways) {
      for (const event of events) {
        if (target(name, state, event) === null) continue;
        const subject = driver.make(profile);
        const { paths } = driver;
        follow(name, driver, subject, paths[event] ?? [...wayTo(name, profile, state, way), event]);
        settle(subject);
        taken.add(event);
      }
    }
    expect([...taken].sort()).toEqual([...events].sort());
  });

  test('every refusal', () => {
    let refused = 0;
    for (const [state, way] of ways) {
      const allowed = new Set(events.filter((e) => target(name, state, e) !== null).map((e) => actOf(driver, e)));
      for (const act of new Set(events.map((event) => actOf(driver, event)))) {
        if (allowed.has(act)) continue;
        const subject = driver.make(profile);
        follow(name, driver, subject, way);
        expect(subject.act(act), `${state} ${act}`).toBe(false);
        expect(subject.state(), `${state} ${act}`).toBe(state);
        settle(subject);
        refused++;
      }
    }
    expect(refused).toBeGreaterThan(0);
  });
});
