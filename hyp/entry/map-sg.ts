/**
 * map_sg: a list of physical ranges becomes one run of IOVAs. The list lies in pages that the host shares with the
 * hypervisor, and may write while it is read: the pages are pinned, each field is fetched once, and what was checked is
 * what is mapped.
 *
 * Models kvm_iommu_map_sg. An element is checked like a map_pages of its own, wrap of its physical range included, which
 * upstream leaves to use_dma; elements of no bytes are passed over. The first that cannot be mapped whole ends the list.
 */

import { additionWraps, getNumber, PROT_MASK, product, ScatterElement, setNumber } from '#hypercall-abi';
import type { Steps } from '#machine';
import type { Hyp } from '../context.ts';
import { domainRecord, getDomain, HOST_OWNER, putDomain } from '../domain-record.ts';
import { fetchDouble, fetchWord } from '../host-buffer.ts';
import { mapInDomain, useAndMapInDomain } from '../map.ts';
import { pinSharedRange, unpinSharedRange } from '../ownership.ts';
import { isAligned, u32 } from './arguments.ts';

/** Registers of an element: where it goes, where it is, the size of its pages and their number. */
const IOVA = 0;
const PHYS = 1;
const PGSIZE = 2;
const PGCOUNT = 3;

/**
 * map_sg: x1 domain, x2 iova, x3 list, x4 number of elements, x5 prot.
 * @returns the bytes mapped: 0 for a wrong prot, the identity domain, one that does not exist, a list that is not
 *   aligned to 8 bytes or not all in pages shared with the hypervisor
 */
export function* mapSg(h: Hyp): Steps<number> {
  const id = u32(h, 1);
  if ((u32(h, 5) & ~PROT_MASK) !== 0 || id === h.profile.domains.identity) return 0;
  const domain = domainRecord(h, id);
  if (!(yield* getDomain(h, domain, HOST_OWNER))) return 0;
  const mapped = yield* mapList(h, domain, id);
  yield* putDomain(h, domain);
  return mapped;
}

/** Pin the list while it is read. */
function* mapList(h: Hyp, domain: number, id: number): Steps<number> {
  const list = getNumber(h.x, 3);
  const count = u32(h, 4);
  if (u32(h, 3) % 8 !== 0) return 0;
  const size = count * ScatterElement.size;
  if ((yield* pinSharedRange(h, list, size)) !== 0) return 0;
  const mapped = yield* mapElements(h, domain, id, list, count);
  yield* unpinSharedRange(h, list, size);
  return mapped;
}

function* mapElements(h: Hyp, domain: number, id: number, list: number, count: number): Steps<number> {
  const { x, element } = h;
  const prot = u32(h, 5);
  element[2 * IOVA] = x[4]!;
  element[2 * IOVA + 1] = x[5]!;
  let total = 0;
  for (let i = 0; i < count; i++) {
    yield* fetchElement(h, list + i * ScatterElement.size);
    const size = product(element, PGSIZE, PGCOUNT);
    if (size < 0 || wraps(element, IOVA, size) || wraps(element, PHYS, size)) break;
    if (!isAligned(element, IOVA, PGSIZE) || !isAligned(element, PHYS, PGSIZE)) break;
    if (size === 0) continue;
    const mapped = yield* mapElement(h, domain, id, size, prot);
    total += mapped;
    if (mapped !== size) break;
    setNumber(element, IOVA, getNumber(element, IOVA) + mapped);
  }
  return total;
}

function* fetchElement(h: Hyp, at: number): Steps<void> {
  yield* fetchDouble(h, at + ScatterElement.phys, h.element, PHYS);
  yield* fetchDouble(h, at + ScatterElement.pgsize, h.element, PGSIZE);
  h.element[2 * PGCOUNT] = yield* fetchWord(h, at + ScatterElement.pgcount);
  h.element[2 * PGCOUNT + 1] = 0;
}

function wraps(element: Int32Array, n: number, size: number): boolean {
  return additionWraps(element, n, PGSIZE, PGCOUNT, size);
}

/** Map what h.element says, as if it had come in registers. @returns bytes mapped */
function* mapElement(h: Hyp, domain: number, id: number, size: number, prot: number): Steps<number> {
  const { x } = h;
  h.x = h.element;
  const mapped =
    h.profile.tableBuilt === 'alloc'
      ? yield* mapInDomain(h, domain, id, IOVA, size, prot)
      : yield* useAndMapInDomain(h, domain, id, IOVA, size, prot);
  h.x = x;
  return mapped;
}
