/** The shortest way to every row of map_sg, in each profile that has the call; and how a host writes a list. */

import { PROT_MASK, ScatterElement } from '#hypercall-abi';
import { tiny } from '#machine';
import { PAGE, type Rig, RW } from './oracle-rig.ts';

const BLOCK = 0x200000;
const TWO32 = 2n ** 32n;

/** Where a range is, the size of its pages, and their number. */
export type Element = readonly [phys: number | bigint, pgsize: number | bigint, pgcount: number];

/** Write a list at `at`, as the host. */
export function writeList(rig: Rig, at: number, elements: readonly Element[]): void {
  const { boundary } = rig.session;
  elements.forEach(([phys, pgsize, pgcount], i) => {
    const base = at + i * ScatterElement.size;
    for (const [offset, value] of [
      [ScatterElement.phys, BigInt(phys)],
      [ScatterElement.pgsize, BigInt(pgsize)],
    ] as const) {
      const [hi, lo] = [Number(BigInt.asIntN(32, value / TWO32)), Number(BigInt.asIntN(32, value))];
      if (!boundary.write64(0, base + offset, hi, lo)) throw new Error('the host may not write its list');
    }
    boundary.write32(0, base + ScatterElement.pgcount, pgcount | 0);
  });
}

/** A list in a page shared with the hypervisor. @returns its address */
export function sharedList(rig: Rig, elements: readonly Element[]): number {
  const page = rig.page();
  writeList(rig, page, elements);
  if (rig.call('host_share_hyp', page / PAGE).errno !== 0) throw new Error('the list was not shared');
  return page;
}

/** Domain 1 with a stream, and memory for its tables. */
export function makeDomain(rig: Rig, pages = 20): void {
  const { domainTypes, name } = rig.session.profile;
  const { sid } = tiny.devices[0]!;
  rig.refill(1, pages);
  if (name === 'android17') rig.call('alloc_domain', 0, 0, 1, domainTypes.s1);
  else rig.call('alloc_domain', 1, domainTypes.s1);
  rig.call('attach_dev', 0, 1, sid, 0, 0, 0);
}

/** Map that list in domain 1. @returns the bytes mapped */
export function mapList(rig: Rig, iova: number | bigint, elements: readonly Element[], prot = RW): number {
  const list = sharedList(rig, elements);
  return rig.call('map_sg', 1, iova, list, elements.length, prot).value;
}

/** Ways to the rows, by their ids. */
export const scatterWays: Readonly<Record<string, (rig: Rig) => void>> = {
  'map_sg/prot': (rig) => {
    makeDomain(rig);
    mapList(rig, 0, [[rig.page(), PAGE, 1]], PROT_MASK + 1);
  },
  'map_sg/no-domain': (rig) => void mapList(rig, 0, [[rig.page(), PAGE, 1]]),
  'map_sg/list': (rig) => {
    makeDomain(rig);
    rig.call('map_sg', 1, 0, rig.page(), 1, RW);
  },
  'map_sg/overflow': (rig) => {
    makeDomain(rig);
    mapList(rig, 0, [
      [rig.page(), PAGE, 1],
      [rig.page(), 2n ** 63n, 2],
    ]);
  },
  'map_sg/alignment': (rig) => {
    makeDomain(rig);
    mapList(rig, 0, [
      [rig.page(), PAGE, 1],
      [BLOCK, BLOCK, 1],
    ]);
  },
  'map_sg/pages': (rig) => {
    makeDomain(rig);
    mapList(rig, 0, [
      [rig.page(), PAGE, 1],
      [tiny.carveOut.base, PAGE, 1],
    ]);
  },
  'map_sg/table': (rig) => {
    makeDomain(rig);
    rig.call('map_pages', 1, PAGE, rig.page(), PAGE, 1, RW);
    mapList(rig, 0, [
      [rig.page(), PAGE, 1],
      [rig.page(), PAGE, 1],
    ]);
  },
  'map_sg/ok': (rig) => {
    makeDomain(rig);
    mapList(rig, BLOCK - PAGE, [
      [rig.page(), PAGE, 1],
      [rig.page(1), PAGE, 2],
    ]);
  },
  'map_sg/ENOMEM-iommu': (rig) => {
    makeDomain(rig);
    const list = sharedList(rig, [
      [rig.page(), PAGE, 1],
      [rig.page(), PAGE, 1],
    ]);
    rig.call('map_pages', 1, 0, rig.page(), PAGE, 1, RW);
    drain(rig, 1);
    rig.call('map_sg', 1, BLOCK - PAGE, list, 2, RW);
  },
  'map_sg/ENOMEM-heap': (rig) => {
    makeDomain(rig);
    const list = sharedList(rig, [
      [rig.page(), PAGE, 1],
      [rig.session.machine.description.mmio[0]!.base, PAGE, 1],
    ]);
    drain(rig, 0);
    rig.refill(1, 8);
    rig.call('map_sg', 1, 0, list, 2, RW | 16);
  },
};

/** Take every page out of a pool; where none can be named, out of all. */
function drain(rig: Rig, pool: number): void {
  const args = rig.session.profile.call('alloc_mgt_reclaim').args.length === 1 ? [1000] : [pool, 1000];
  while (rig.call('alloc_mgt_reclaim', ...args).value !== 0);
}
