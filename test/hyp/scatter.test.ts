/** map_sg and iotlb_sync_map beside their rows (test/hyp/rows): lists that end half way, and a host that rewrites its list meanwhile. */

import { expect, test } from 'vitest';
import { android16, android17, Errno, type Profile, ScatterElement, type SteppedHypervisor } from '#hypercall-abi';
import { Prng } from '#lab/random/prng';
import type { SourceEdit } from '#lab/zoo/card';
import { buildHypervisor } from '#lab/zoo/loader';
import { type Machine, type Touch, tiny } from '#machine';
import { makeRig, PAGE, type Rig, RW, tell } from '../lab/oracle-rig.ts';
import { makeDomain, mapList, sharedList, writeList } from '../lab/scatter-ways.ts';
import { SteppedRig } from './stepped-rig.ts';

const BLOCK = 0x200000;
const profiles: readonly Profile[] = [android17, android16];

function hits(rig: Rig, id: string): number {
  return rig.oracle.rows().find((row) => row.id === id)!.hits;
}

for (const profile of profiles) {
  test(`${profile.name}: elements of no bytes are passed over, and the list ends`, () => {
    const rig = makeRig({ profile });
    makeDomain(rig);
    const [a, b] = [rig.page(), rig.page()];
    const bytes = mapList(rig, 0, [
      [a, PAGE, 0],
      [a, PAGE, 1],
      [0, 0, 5],
      [b, PAGE, 0],
      [b, PAGE, 1],
    ]);
    // A page size of 0 asks for addresses that are 0: no IOVA after the first page is.
    expect(bytes).toBe(PAGE);
    expect(
      mapList(rig, BLOCK, [
        [a, PAGE, 0],
        [b, PAGE, 1],
        [b, PAGE, 0],
      ]),
    ).toBe(PAGE);
    expect(rig.call('iova_to_phys', 1, BLOCK).value).toBe(b);
    expect(tell(rig.oracle.findings)).toBe('');
  });

  test(`${profile.name}: an empty list, a list across two pages, one that ends beyond what is shared`, () => {
    const rig = makeRig({ profile });
    makeDomain(rig);
    const pages = rig.page(1);
    const at = pages + PAGE - 8;
    writeList(rig, at, [[rig.page(), PAGE, 1]]);
    rig.call('host_share_hyp', pages / PAGE);
    expect(rig.call('map_sg', 1, 0, at, 1, RW).value).toBe(0);
    expect(hits(rig, 'map_sg/list')).toBe(1);
    rig.call('host_share_hyp', pages / PAGE + 1);
    expect(rig.call('map_sg', 1, 0, at, 1, RW).value).toBe(PAGE);
    expect(rig.call('map_sg', 1, BLOCK, at, 0, RW).value).toBe(0);
    expect(rig.call('map_sg', 1, BLOCK, at + 4, 1, RW).value).toBe(0);
    expect(rig.call('map_sg', 1, BLOCK, at, 0xffffffff, RW).value).toBe(0);
    expect(tell(rig.oracle.findings)).toBe('');
  });

  test(`${profile.name}: the identity domain, physical ranges and IOVAs that wrap`, () => {
    const rig = makeRig({ profile });
    makeDomain(rig);
    const list = sharedList(rig, [[rig.page(), PAGE, 1]]);
    expect(rig.call('map_sg', 0, 0, list, 1, RW).value).toBe(0);
    expect(hits(rig, 'map_sg/no-domain')).toBe(1);
    for (const phys of [2n ** 64n - 4096n, 2n ** 64n - 8192n]) {
      expect(mapList(rig, 0, [[phys, PAGE, 2]])).toBe(0);
    }
    expect(mapList(rig, 2n ** 64n - 4096n, [[rig.page(), PAGE, 1]])).toBe(0);
    expect(hits(rig, 'map_sg/overflow')).toBe(3);
    expect(tell(rig.oracle.findings)).toBe('');
  });

  test(`${profile.name}: a list that ends for want of memory goes on where it ended`, () => {
    const rig = makeRig({ profile });
    makeDomain(rig);
    rig.call('map_pages', 1, 0, rig.page(), PAGE, 1, RW);
    const [a, b] = [rig.page(), rig.page(1)];
    while (rig.call('alloc_mgt_reclaim', ...(profile === android17 ? [1, 9] : [9])).value !== 0);
    const list = sharedList(rig, [
      [a, PAGE, 1],
      [b, PAGE, 2],
    ]);
    const short = rig.call('map_sg', 1, BLOCK - 2 * PAGE, list, 2, RW);
    // The second range crosses into a table that is missing: one page of it fits before.
    expect(short).toMatchObject({ value: 2 * PAGE, request: { pool: 1, pages: 1 } });
    rig.refill(1, 1);
    writeList(rig, list, [[b + PAGE, PAGE, 1]]);
    expect(rig.call('map_sg', 1, BLOCK, list, 1, RW)).toMatchObject({ value: PAGE, request: null });
    for (let i = 0; i < 3; i++) {
      const pa = [a, b, b + PAGE][i];
      expect(rig.call('iova_to_phys', 1, BLOCK - 2 * PAGE + i * PAGE).value).toBe(pa);
    }
    expect(tell(rig.oracle.findings)).toBe('');
  });

  test(`${profile.name}: one page in two elements is counted twice, and the list itself cannot be mapped`, () => {
    const rig = makeRig({ profile });
    makeDomain(rig);
    const page = rig.page();
    const list = sharedList(rig, [
      [page, PAGE, 1],
      [page, PAGE, 1],
    ]);
    expect(rig.call('map_sg', 1, 0, list, 2, RW).value).toBe(2 * PAGE);
    writeList(rig, list, [[list, PAGE, 1]]);
    expect(rig.call('map_sg', 1, BLOCK, list, 1, RW).value).toBe(0);
    expect(rig.call('host_unshare_hyp', list / PAGE).errno).toBe(0);
    expect(tell(rig.oracle.findings)).toBe('');
  });
}

test('iotlb_sync_map: each row, and no reference is left behind', () => {
  const rig = makeRig();
  makeDomain(rig);
  const sync = (...args: readonly (number | bigint)[]) => rig.call('iotlb_sync_map', ...args).errno;
  expect(sync(1, 0, 0)).toBe(-Errno.EINVAL);
  expect(sync(1, 2n ** 64n - 1n, 1)).toBe(-Errno.EINVAL);
  expect(sync(9, 0, PAGE)).toBe(-Errno.EINVAL);
  expect(sync(0, 0, PAGE)).toBe(-Errno.EINVAL);
  expect(sync(1, 2n ** 64n - 2n, 1)).toBe(-Errno.ENODEV);
  expect(hits(rig, 'iotlb_sync_map/EINVAL-range')).toBe(2);
  expect(hits(rig, 'iotlb_sync_map/EINVAL-domain')).toBe(2);
  expect(hits(rig, 'iotlb_sync_map/ENODEV')).toBe(1);
  rig.call('detach_dev', 0, 1, tiny.devices[0]!.sid, 0);
  expect(rig.call('free_domain', 1).errno).toBe(0);
  expect(tell(rig.oracle.findings)).toBe('');
});

/** map_sg while another CPU of the host rewrites the list at every pause. @returns what is wrong with what came out */
function mapUnderChange(create: ((machine: Machine) => SteppedHypervisor<Touch>) | undefined, seed: number): string[] {
  const rig = new SteppedRig(create);
  const prng = new Prng(seed);
  const { memory } = rig.machine;
  const list = rig.memory.alloc();
  const page = rig.memory.alloc();
  let head = 0;
  for (let i = 0; i < 6; i++) {
    const pa = rig.memory.alloc();
    memory.write64(pa, 0, head);
    head = pa;
  }
  for (const [name, ...args] of [
    ['alloc_mgt_refill', 1, head, 6],
    ['alloc_domain', 0, 0, 1, 0],
    ['host_share_hyp', list / PAGE],
  ] as const) {
    expect(rig.call(name, ...args)[2], name).toBe(0);
  }
  const candidates: Readonly<Record<number, readonly number[]>> = {
    [ScatterElement.phys]: [page, tiny.carveOut.base, page + 1],
    [ScatterElement.pgsize]: [PAGE, BLOCK, 0],
    [ScatterElement.pgcount]: [1, 0, 512, 0xffffffff],
  };
  const scribble = (): void => {
    for (const [offset, values] of Object.entries(candidates)) {
      for (const element of [0, ScatterElement.size]) {
        memory.write32(list + element + Number(offset), values[prng.below(prng.chance(60) ? 1 : values.length)]! | 0);
      }
    }
  };
  scribble();
  rig.onStep = scribble;
  const x = rig.start(0, 'map_sg', 1, 0, list, 2, RW);
  rig.settle(prng);
  const problems = [...rig.fetchProblems, ...rig.lockProblems];
  const references = memory.read32(rig.layout.vmemmap + ((page - tiny.ram[0]!.base) / PAGE) * 8) & 0xffff;
  if (references * PAGE !== x[2]) problems.push(`${x[2]} bytes mapped, ${references} references`);
  return problems;
}

test('map_sg takes each field of its list once, whatever the host makes of it meanwhile', () => {
  for (let seed = 0; seed < 60; seed++) expect(mapUnderChange(undefined, seed), `seed ${seed}`).toEqual([]);
});

test('a second fetch of an element is found', () => {
  const edits: SourceEdit[] = [
    {
      file: 'hyp/entry/map-sg.ts',
      function: 'mapElements',
      before: '    if (size === 0) continue;',
      after: '    if (size === 0) continue;\n    yield* fetchElement(h, list + i * ScatterElement.size);',
    },
  ];
  const { createHypervisor } = buildHypervisor([{ id: 'twice', edits }], { plain: false });
  const problems = new Set<string>();
  for (let seed = 0; seed < 20; seed++) {
    for (const text of mapUnderChange(createHypervisor, seed)) problems.add(text.replace(/0x[0-9a-f]+/, 'a word'));
  }
  expect([...problems]).toContain('CPU 0 fetches a word twice');
});
