/** The life-cycle tracker: what it must report, what it must not, and what it cannot know. */
import { expect, test } from 'vitest';
import { LifeCycleTracker, VIOLATIONS_MAX } from '#hypercall-abi';
import { outcome } from './outcome.ts';
import {
  alloc,
  attach,
  detach,
  EINVAL,
  finalize,
  free,
  give,
  initVm,
  live,
  load,
  map,
  PA,
  PAGE,
  PFN,
  PGD,
  play,
  put,
  reclaim,
  reclaimGuest,
  refill,
  reserve,
  type Step,
  share,
  takeBack,
  teardown,
  unmap,
  unshare,
  VM,
} from './steps.ts';

/** The last of the steps must not have succeeded; the ones before must be fine. */
test.each<
  [what: string, steps: readonly Step[], machine: string, subject: string, state: string, event: string, rule: RegExp]
>([
  ['a domain is allocated twice', [alloc(1), alloc(1)], 'domain', '1', 'idle', 'ALLOC', /only while it is free/],
  ['the identity domain is allocated', [alloc(0)], 'domain', '0', 'reserved', 'ALLOC', /not the host’s/],
  ['a guest’s domain is allocated', [alloc(256)], 'domain', '256', 'reserved', 'ALLOC', /not the host’s/],
  ['a domain beyond the table is allocated', [alloc(512)], 'domain', '512', 'reserved', 'ALLOC', /not the host’s/],
  ['a domain that nobody made is freed', [free(1)], 'domain', '1', 'free', 'FREE', /freed once/],
  ['a domain is freed twice', [alloc(1), free(1), free(1)], 'domain', '1', 'free', 'FREE', /freed once/],
  [
    'a domain is freed with a stream',
    [alloc(1), attach(1, 3), free(1)],
    'domain',
    '1',
    'attached',
    'FREE',
    /while a stream/,
  ],
  [
    'a domain is freed with the second of two streams',
    [alloc(1), attach(1, 3), attach(1, 4), detach(1, 3), free(1)],
    'domain',
    '1',
    'attached',
    'FREE',
    /while a stream/,
  ],
  [
    'a stream gets a domain that nobody made',
    [attach(1, 3)],
    'domain',
    '1',
    'free',
    'ATTACH_FIRST',
    /allocated domain/,
  ],
  [
    'a domain gets a stream of another IOMMU',
    [alloc(1), attach(1, 3, 1)],
    'domain',
    '1',
    'idle',
    'ATTACH_ELSEWHERE',
    /of the IOMMU/,
  ],
  ['a page is mapped in no domain', [map(1, 0, PA)], 'domain', '1', 'free', 'MAP', /allocated domain/],
  ['a page is mapped in a guest’s domain', [map(300, 0, PA)], 'domain', '300', 'reserved', 'MAP', /allocated domain/],
  [
    'a page is unmapped from a freed domain',
    [alloc(1), free(1), unmap(1, 0)],
    'domain',
    '1',
    'free',
    'UNMAP',
    /allocated domain/,
  ],
  [
    'a freed domain translates',
    [alloc(1), free(1), ['iova_to_phys', [1, 0], { x1: PA }]],
    'domain',
    '1',
    'free',
    'TRANSLATE',
    /allocated domain/,
  ],
  [
    'a stream is attached twice',
    [alloc(1), attach(1, 3), attach(1, 3)],
    'stream',
    '0:3',
    'attached',
    'ATTACH',
    /one domain at a time/,
  ],
  [
    'a stream is attached to a second domain',
    [alloc(1), alloc(2), attach(1, 3), attach(2, 3)],
    'stream',
    '0:3',
    'attached',
    'ATTACH',
    /one domain at a time/,
  ],
  [
    'a stream is detached twice',
    [alloc(1), attach(1, 3), attach(1, 4), detach(1, 3), detach(1, 3)],
    'stream',
    '0:3',
    'blocked',
    'DETACH',
    /that is attached/,
  ],
  [
    'a stream is detached from another domain',
    [alloc(1), alloc(2), attach(1, 3), attach(2, 4), detach(2, 3)],
    'stream',
    '0:3',
    'attached',
    'DETACH_OTHER',
    /naming the domain/,
  ],
  [
    'a mapped page is shared',
    [alloc(1), map(1, 0, PA), share()],
    'page',
    '0x40000000',
    'hostDma',
    'SHARE_HYP',
    /a device may reach/,
  ],
  [
    'a page mapped twice and unmapped once is shared',
    [alloc(1), alloc(2), map(1, 0, PA), map(2, 0, PA), unmap(1, 0), share()],
    'page',
    '0x40000000',
    'hostDma',
    'SHARE_HYP',
    /a device may reach/,
  ],
  [
    'a page in the part of a block that stayed is shared',
    [alloc(1), map(1, 0, PA, 1, 2 ** 21), unmap(1, 0x1000, 1), share()],
    'page',
    '0x40000000',
    'hostDma',
    'SHARE_HYP',
    /a device may reach/,
  ],
  [
    'a mapped page is donated',
    [alloc(1), map(1, 0, PA), refill(PA)],
    'page',
    '0x40000000',
    'hostDma',
    'DONATE_HYP',
    /a device may reach/,
  ],
  [
    'a mapped page is donated within a chunk',
    [alloc(1), map(1, 0, PA + 3 * PAGE), refill(PA + 2)],
    'page',
    '0x40003000',
    'hostDma',
    'DONATE_HYP',
    /a device may reach/,
  ],
  [
    'a mapped page goes to a guest',
    [...live(), alloc(1), map(1, 0, PA), load(VM), give()],
    'page',
    '0x40000000',
    'hostDma',
    'DONATE_GUEST or SHARE_GUEST_FIRST',
    /a device may reach/,
  ],
  [
    'a mapped page becomes a VM’s table',
    [reserve(), alloc(1), map(1, 0, PA), initVm(PA)],
    'page',
    '0x40000000',
    'hostDma',
    'DONATE_HYP',
    /a device may reach/,
  ],
  [
    'a shared page is mapped',
    [alloc(1), share(), map(1, 0, PA)],
    'page',
    '0x40000000',
    'sharedHyp',
    'MAP_FIRST',
    /the host’s alone/,
  ],
  ['a shared page is shared', [share(), share()], 'page', '0x40000000', 'sharedHyp', 'SHARE_HYP', /the host’s alone/],
  [
    'a shared page is donated',
    [share(), refill(PA)],
    'page',
    '0x40000000',
    'sharedHyp',
    'DONATE_HYP',
    /the host’s alone/,
  ],
  [
    'a page that nobody shared is taken back',
    [unshare()],
    'page',
    '0x40000000',
    'hostOwned or hypOwned',
    'UNSHARE_HYP',
    /shared with the hypervisor/,
  ],
  [
    'a page of a pool is mapped',
    [alloc(1), refill(PA), map(1, 0, PA)],
    'page',
    '0x40000000',
    'hypOwned',
    'MAP_FIRST',
    /the hypervisor owns/,
  ],
  [
    'a page of a pool is shared',
    [refill(PA), share()],
    'page',
    '0x40000000',
    'hypOwned',
    'SHARE_HYP',
    /the host’s alone/,
  ],
  [
    'a page is donated twice',
    [refill(PA), refill(PA)],
    'page',
    '0x40000000',
    'hypOwned',
    'DONATE_HYP',
    /the host’s alone/,
  ],
  [
    'a page that the host has is given back',
    [refill(PA), reclaim(PA), reclaim(PA)],
    'page',
    '0x40000000',
    'hostOwned',
    'RETURN_HOST',
    /that it owns/,
  ],
  [
    'a guest’s page is mapped',
    [...live(), alloc(1), load(VM), give(), map(1, 0, PA)],
    'page',
    '0x40000000',
    'guestOwned or sharedGuest',
    'MAP_FIRST',
    /a guest owns/,
  ],
  [
    'a guest’s page is shared with the hypervisor',
    [...live(), load(VM), give(), share()],
    'page',
    '0x40000000',
    'guestOwned or sharedGuest',
    'SHARE_HYP',
    /the host’s alone/,
  ],
  [
    'a page shared with two guests and taken back from one is mapped',
    [...live(2), alloc(1), load(VM), give(), load(VM + 1, 1), give(PFN, 1, 1, 1), takeBack(VM), map(1, 0, PA)],
    'page',
    '0x40000000',
    'sharedGuest',
    'MAP_FIRST',
    /the host’s alone/,
  ],
  [
    'a page shared with two guests is reclaimed as if it were one’s own',
    [...live(2), load(VM), give(), load(VM + 1, 1), give(PFN, 1, 1, 1), put(), teardown(), reclaimGuest(VM)],
    'page',
    '0x40000000',
    'sharedGuest',
    'RECLAIM_GUEST',
    /a guest owns/,
  ],
  [
    'a live VM’s table is mapped after another VM was finalised and made again',
    [alloc(1), reserve(), initVm(PA), teardown(), finalize(VM), reserve(), initVm(PA), map(1, 0, PA)],
    'page',
    '0x40000000',
    'hypOwned',
    'MAP_FIRST',
    /the hypervisor owns/,
  ],
])('it is a violation when %s', (_, steps, machine, subject, state, event, rule) => {
  expect(play(...steps.slice(0, -1)).violations).toEqual([]);
  const [violation] = play(...steps).violations;
  expect(violation).toMatchObject({ machine, subject, state, event, rule: expect.stringMatching(rule) });
  expect(violation?.call).toMatch(new RegExp(`^${steps.at(-1)?.[0]}\\(`));
});

test.each<[what: string, steps: readonly Step[]]>([
  [
    'a domain’s life',
    [alloc(1), attach(1, 3), attach(1, 4), map(1, 0, PA), detach(1, 3), unmap(1, 0), detach(1, 4), free(1), alloc(1)],
  ],
  ['streams of two IOMMUs', [alloc(1), alloc(2, 1), attach(1, 3), attach(2, 3, 1), detach(2, 3, 1), detach(1, 3)]],
  ['PASIDs of one stream', [alloc(1), alloc(2), attach(1, 3), attach(2, 3, 0, 7), detach(2, 3, 0, 7), detach(1, 3)]],
  ['a page mapped, unmapped, shared', [alloc(1), map(1, 0, PA), unmap(1, 0), share(), unshare(), map(1, 0, PA)]],
  ['one page at two IOVAs', [alloc(1), map(1, 0, PA), map(1, PAGE, PA), unmap(1, 0), unmap(1, PAGE), share()]],
  ['a freed domain lets its pages go', [alloc(1), map(1, 0, PA, 512), free(1), share(PFN + 511), refill(PA)]],
  ['a block, page by page', [alloc(1), map(1, 0, PA, 1, 2 ** 21), unmap(1, 5 * PAGE), share(PFN + 5)]],
  [
    'an unmap that spans holes',
    [alloc(1), map(1, 0, PA), map(1, 9 * PAGE, PA + PAGE), unmap(1, 0, 1, 2 ** 21), share(), share(PFN + 1)],
  ],
  ['a block over pages', [alloc(1), map(1, 0, PA + 2 ** 30), map(1, 0, PA, 1, 2 ** 21), share(PFN + 2 ** 18)]],
  [
    'a short map',
    [
      alloc(1),
      ['map_pages', [1, 0, PA, PAGE, 4, 3], { x1: 2 * PAGE, x2: 0x105 }],
      share(PFN + 2),
      unmap(1, 0, 2),
      share(),
    ],
  ],
  [
    'a map that failed in the middle',
    [alloc(1), ['map_pages', [1, 0, PA, PAGE, 4, 3], { x0: -17, x1: PAGE }], share(PFN + 1)],
  ],
  [
    'a page that a failed map may have left is mapped and unmapped',
    [
      alloc(1),
      map(1, 0, PA),
      ['map_pages', [1, 0, PA + 2 ** 30, 2 ** 21, 2, 3], { x0: -17 }],
      map(1, 0, PA),
      unmap(1, 0),
      share(),
    ],
  ],
  [
    'a map of blocks that failed may have torn a table down',
    [
      alloc(1),
      map(1, 0, PA),
      ['map_pages', [1, 0, PA + 2 ** 30, 2 ** 21, 2, 3], { x0: -17 }],
      share(),
      unshare(),
      map(1, 0, PA),
      unmap(1, 0),
    ],
  ],
  [
    'a page that a list may have mapped is mapped, unmapped and shared',
    [
      alloc(1),
      ['map_sg', [1, 0, PA, 2, 3], { x1: 2 * PAGE }],
      map(1, 4 * PAGE, PA),
      unmap(1, 4 * PAGE),
      unmap(1, 0),
      share(),
    ],
  ],
  [
    'a chunk donated and returned page by page',
    [refill(PA + 1), reclaim(PA), reclaim(PA + PAGE), share(), share(PFN + 1)],
  ],
  ['pages that came through a list return', [alloc(1), map(1, 0, PA), unmap(1, 0), refill(PA + PAGE, 2), reclaim(PA)]],
  [
    'pages that left through a list are used',
    [alloc(1), refill(PA), refill(PA + PAGE), reclaim(PA + PAGE, 2), map(1, 0, PA)],
  ],
  ['pages of the carve-out return', [alloc(1), reclaim(PA), map(1, 0, PA)]],
  [
    'a refill that took one of two',
    [alloc(1), refill(PA, 2, { x1: -1, x3: PA + PAGE + 1 }), reclaim(PA), map(1, 0, PA + PAGE)],
  ],
  ['a refill that took nothing', [alloc(1), refill(PA, 1, { x1: -1, x3: PA + 1 }), map(1, 0, PA)]],
  ['a refill of a pool that there is not', [alloc(1), refill(PA, 1, EINVAL), map(1, 0, PA)]],
  ['a page lent to a guest', [...live(), alloc(1), load(VM), give(), takeBack(VM), map(1, 0, PA)]],
  [
    'a page given to a guest',
    [...live(), alloc(1), load(VM), give(), put(), teardown(), reclaimGuest(VM), map(1, 0, PA)],
  ],
  [
    'a block given to a guest',
    [...live(), load(VM), give(PFN, 512, 512), put(), teardown(), reclaimGuest(VM, 512 + 7), share(PFN + 7)],
  ],
  [
    'a page lent to two guests',
    [...live(2), load(VM), give(), load(VM + 1, 1), give(PFN, 1, 1, 1), takeBack(VM), takeBack(VM + 1), share()],
  ],
  [
    'a page of one of two VMs that may be loaded',
    [...live(2), load(VM), load(VM + 1), give(), takeBack(VM + 1), share()],
  ],
  [
    'two pages at one address of VMs that may be loaded',
    [
      ...live(2),
      load(VM),
      load(VM + 1),
      give(),
      give(PFN + 1),
      takeBack(VM),
      takeBack(VM + 1),
      share(),
      share(PFN + 1),
    ],
  ],
  ['a vCPU put', [...live(2), load(VM), put(), load(VM + 1), give(), takeBack(VM + 1), share()]],
  ['a VM’s table returns', [alloc(1), reserve(), initVm(PA), teardown(), finalize(VM), map(1, 0, PA)]],
  [
    'two VMs’ tables return',
    [
      alloc(1),
      ...live(2),
      teardown(),
      finalize(VM),
      map(1, 0, PGD + PAGE),
      teardown(VM + 1),
      finalize(VM + 1),
      share(PGD / PAGE),
    ],
  ],
  ['a device page', [alloc(1), map(1, 0, 0x08090000), map(1, PAGE, 0x08090000), unmap(1, 0)]],
])('nothing is wrong with %s', (_, steps) => {
  expect(play(...steps).violations).toEqual([]);
});

test('where registers leave no doubt there is none', () => {
  expect(play(...live(2), load(VM), put(), load(VM + 1), give(), takeBack(VM + 1)).pageStates(PA)).toBe('hostOwned');
  expect(play(...live(2), load(VM), load(VM + 1), give(), takeBack(VM + 1)).pageStates(PA)).toBe(
    'hostOwned or guestOwned or sharedGuest',
  );
  expect(play(alloc(1), map(1, 0, PA), map(1, 0, PA + 2 ** 30, 1, 2 ** 21)).pageStates(PA)).toBe('hostOwned');
  expect(play(reserve(), initVm(PA), teardown(), finalize(VM)).pageStates(PA)).toBe('hostOwned');
  expect(play(refill(PA + 1), reclaim(PA)).pageStates(PA + PAGE)).toBe('hypOwned');
  expect(play(refill(PA), reclaim(PA + PAGE, 2)).pageStates(PA)).toBe('hostOwned or hypOwned');
});

test('a call that failed moves nothing', () => {
  const failures: Step[] = [
    ['alloc_domain', [0, 0, 2, 0], EINVAL],
    ['free_domain', [1], EINVAL],
    ['attach_dev', [0, 1, 9, 0, 0, 0], { x1: -16 }],
    ['detach_dev', [0, 1, 3, 0], { x1: -13 }],
    ['map_pages', [1, 0, PA, PAGE, 1, 3], { x0: -1 }],
    ['map_pages', [1, 0, PA, PAGE, 1, 3], { x2: 0x105 }],
    ['unmap_pages', [1, 0x5000, PAGE, 1]],
    ['iova_to_phys', [7, 0]],
    ['host_share_hyp', [PFN + 5], { x1: -22 }],
    ['host_unshare_hyp', [PFN + 7], { x1: -16 }],
    ['map_guest', [PFN + 5, 1, 1, 7], { x1: -22 }],
    ['unshare_guest', [VM, 1, 1], { x1: -2 }],
    ['reclaim_dying_guest_page', [VM, 1, 1], { x1: -2 }],
    ['init_vm', [PA, PA], { x1: -22 }],
    ['finalize_teardown_vm', [VM], { x1: -16 }],
    ['alloc_mgt_reclaim', [1, 16]],
    ['host_share_hyp', [PFN + 5], { x0: -1 }],
  ];
  const before: Step[] = [alloc(1), attach(1, 3), map(1, 0x5000, PA + 5 * PAGE), share(PFN + 7)];
  const tracker = play(...before);
  const state = () => [
    [0, 1, 2, 7].map((id) => tracker.domainState(id)),
    [0, 5, 7].map((page) => tracker.pageStates(PA + page * PAGE)),
  ];
  const was = state();
  expect(was).toEqual([
    ['reserved', 'attached', 'free', 'free'],
    ['hostOwned or hypOwned', 'hostDma', 'sharedHyp'],
  ]);
  for (const [name, args, result] of failures) outcome(tracker, name, args, result);
  expect(state()).toEqual(was);
  expect(tracker.violations).toEqual([]);
});

test('one mistake is reported once: a page that was wrong is judged no more, a domain goes on from where it is', () => {
  const tracker = play(alloc(1), map(1, 0, PA), share(), unshare(), unmap(1, 0), share(), map(1, 0, PA));
  expect(tracker.violations.map(({ event }) => event)).toEqual(['SHARE_HYP']);
  const freed = play(alloc(1), attach(1, 3), free(1), alloc(1));
  expect(freed.violations.map(({ event }) => event)).toEqual(['FREE']);
});

test('of the pages of one call, the first one is reported', () => {
  const tracker = play(alloc(1), refill(PA + 3), map(1, 0, PA, 8));
  expect(tracker.violations.map(({ subject }) => subject)).toEqual(['0x40000000']);
});

test('the list of violations has an end', () => {
  const tracker = new LifeCycleTracker();
  for (let i = 0; i < VIOLATIONS_MAX + 10; i++) outcome(tracker, 'free_domain', [1]);
  expect(tracker.violations.length).toBe(VIOLATIONS_MAX);
});

test('reset forgets everything', () => {
  const tracker = play(
    ...live(),
    alloc(1),
    attach(1, 3),
    map(1, 0, PA),
    refill(PA + PAGE),
    load(VM),
    give(PFN + 2),
    free(1),
  );
  expect(tracker.violations.length).toBe(1);
  tracker.reset();
  expect(tracker.violations).toEqual([]);
  for (const [name, args, result] of [alloc(1), attach(1, 3), map(1, 0, PA, 3)]) outcome(tracker, name, args, result);
  expect(tracker.violations).toEqual([]);
  expect(tracker.pageStates(PA + 2 * PAGE)).toBe('hostDma');
});

test('an absurd outcome of a wrong hypervisor is survived', () => {
  const huge = 2 ** 52;
  const tracker = play(
    ...live(),
    load(VM),
    alloc(1),
    ['map_pages', [1, 0, 0, PAGE, huge / PAGE, 3], { x1: huge }],
    ['unmap_pages', [1, 0, PAGE, huge / PAGE], { x1: huge }],
    map(1, 2 ** 52 - PAGE, PA),
    ['map_pages', [1, 0, 2 ** 53, PAGE, 2, 3], { x1: 2 * PAGE }],
    share(2 ** 63),
    ['map_guest', [PFN, 1, 2 ** 50, 7]],
    refill(PA + 4095),
    ['alloc_mgt_reclaim', [1, 16], { x1: 2 ** 60, x2: 9 }],
  );
  expect(tracker.violations).toEqual([]);
});
