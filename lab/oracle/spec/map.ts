/**
 * map_pages (docs/abi-sources.md, section 3; native page-table behaviour of Linux 7.2). x0 is the errno, x1 the bytes
 * mapped. All checks of the arguments come first, then those of every page (use_dma), then the table's own, which work
 * through the range by runs: a run ends where the table that holds its leaves ends, and is all or nothing.
 *
 * Deviations: a domain that is not in use is -ENOENT; a reference count at its maximum -EBUSY; device memory only inside
 * a device's registers, never an SMMU's.
 */

import { Errno, PROT_MASK, Prot } from '#hypercall-abi';
import { IPA_END, PAGE, Place, type Range } from '../facts.ts';
import { expectedMeaning } from '../leaf.ts';
import { LEAF_BYTES } from '../maplets.ts';
import type { Call } from './call.ts';
import { isExhausted } from './memcache.ts';
import { accept, type CallRules, lack, type Row, refuse, type Shortage } from './row.ts';

const RUN = 512;
const HEAP = 0;
const REFERENCES_MAX = 65535;
const GRANULE_MASK = PAGE - 1;

/** Level of the leaves of a page size; -1 for a size that is none, 4 for a sum of several, which no level has. */
export function levelOfSize(c: Call, register: number): number {
  if (c.hi(register) !== 0) return -1;
  const size = c.u32(register);
  for (let level = 1; level <= 3; level++) if (LEAF_BYTES[level] === size) return level;
  const all = LEAF_BYTES[1]! + LEAF_BYTES[2]! + LEAF_BYTES[3]!;
  return size !== 0 && (size & ~all) === 0 ? 4 : -1;
}

/** The domain in x1 when it is in use and the host's, else -1. */
export function usedDomain(c: Call): number {
  const id = c.u32(1);
  return id < c.facts.profile.domains.count && c.ghost.domainUsed(id) && c.ghost.domainOwner(id) === 0 ? id : -1;
}

/** Whether the references of the pages are counted only once the domain's table has been looked at. */
const usesLast = (c: Call): boolean => c.facts.profile.tableBuilt === 'alloc';
const hasNoTable = (c: Call): boolean => c.ghost.domainStage(usedDomain(c)) === 0;
const iova = (c: Call): number => c.number(2);
const paddr = (c: Call): number => c.number(3);
const isRam = (c: Call): boolean => c.facts.pageOf(paddr(c)) >= 0;

/** Whether the host has given up none of the registers in the range. */
function isHostsDevice(c: Call): boolean {
  const end = paddr(c) + c.size;
  return c.facts.resources.every(({ base, size }, i) => !c.ghost.isGiven(i) || paddr(c) >= base + size || base >= end);
}

/** Ranges that the same list maps before this one (map_sg); their pages are counted, but not in the ghost yet. */
let before: readonly Range[] = [];

/** Plan what follows as if those ranges were mapped already. */
export function planAfter(ranges: readonly Range[]): void {
  before = ranges;
}

function isCountedOut(c: Call, page: number): boolean {
  const references = c.ghost.pages.references(page);
  if (before.length === 0) return references === REFERENCES_MAX;
  const pa = c.facts.paOf(page);
  return references + before.filter(({ base, size }) => pa >= base && pa < base + size).length >= REFERENCES_MAX;
}

/** What use_dma must say of the whole range: 0, or the errno of the first page that is not fit. */
function useDmaErrno(c: Call): number {
  if (((c.lo(3) | (c.size % PAGE)) & GRANULE_MASK) !== 0) return -Errno.EINVAL;
  if (paddr(c) + c.size > IPA_END) return -Errno.EINVAL;
  if (!isRam(c)) {
    const place = c.facts.placeOf(paddr(c), c.size);
    if (place === Place.device && !isHostsDevice(c)) return -Errno.EPERM;
    return place === Place.nothing ? -Errno.EINVAL : place === Place.smmu ? -Errno.EPERM : 0;
  }
  const pages = c.size / PAGE;
  const first = c.facts.ramRange(paddr(c), pages);
  if (first < 0) return -Errno.EINVAL;
  for (let i = 0; i < pages; i++) {
    if (!c.ghost.pages.isHostAlone(first + i)) return -Errno.EPERM;
    if (isCountedOut(c, first + i)) return -Errno.EBUSY;
  }
  return 0;
}

/** Work out how far the table lets the range be mapped: bytes in planned, errno in plannedErrno. */
function planMap(c: Call, id: number, level: number): void {
  const { ghost, facts } = c;
  const { maplets } = ghost;
  const root = ghost.domainMaplets(id);
  const smmu = ghost.domainSmmu(id);
  const { inputEnd } = facts.geometry(smmu, ghost.domainStage(id));
  const outputEnd = 2 ** facts.description.smmus[smmu]!.oas;
  const span = c.number(4);
  c.planned = 0;
  c.plannedErrno = 0;
  tornEnd = 0;
  if (level === 4) {
    planWithoutLevel(c, root, inputEnd, outputEnd);
    return;
  }
  const runBytes = RUN * span;
  while (c.planned < c.size) {
    const at = iova(c) + c.planned;
    if (at >= inputEnd || paddr(c) + c.planned >= outputEnd) {
      c.plannedErrno = -Errno.ERANGE;
      return;
    }
    const entry = maplets.find(root, at, level);
    if (maplets.level < level && maplets.isLeaf(entry)) {
      c.plannedErrno = -Errno.EEXIST;
      return;
    }
    const bytes = Math.min(c.size - c.planned, runBytes - (at % runBytes));
    if (maplets.level === level) {
      for (let i = 0; i < bytes / span; i++) {
        if (!maplets.isLeaf(entry + 2 * i)) continue;
        c.plannedErrno = -Errno.EEXIST;
        tornEnd = at + i * span;
        return;
      }
    }
    c.planned += bytes;
  }
}

/** End of the tables that a run which met a leaf had torn down already; 0 for none. */
let tornEnd = 0;

/** A page size that is a sum of sizes: the walk goes down to the last level and finds no level that fits. */
function planWithoutLevel(c: Call, root: number, inputEnd: number, outputEnd: number): void {
  const { maplets } = c.ghost;
  if (iova(c) >= inputEnd || paddr(c) >= outputEnd) {
    c.plannedErrno = -Errno.ERANGE;
    return;
  }
  const entry = maplets.find(root, iova(c), 3);
  c.plannedErrno = maplets.level < 3 && maplets.isLeaf(entry) ? -Errno.EEXIST : -Errno.EINVAL;
}

let level = 0;
let misaligned = false;

function prepare(c: Call): void {
  c.size = c.fittingProduct(4, 5, 2, 3);
  c.verdict = 0;
  c.planned = 0;
  c.plannedErrno = 0;
  tornEnd = 0;
  level = levelOfSize(c, 4);
  misaligned = ((c.lo(2) | c.lo(3) | c.lo(4)) & GRANULE_MASK) !== 0;
  const id = usedDomain(c);
  if (c.size <= 0 || id < 0 || (c.u32(6) & ~PROT_MASK) !== 0) return;
  if (misaligned && usesLast(c)) return;
  if (!c.isMultiple(2, 4) || !c.isMultiple(3, 4)) return;
  c.verdict = useDmaErrno(c);
  if (misaligned || hasNoTable(c)) return;
  const canMap = (c.u32(6) & (Prot.read | Prot.write)) !== 0;
  if (c.verdict === 0 && level >= 0 && canMap) planMap(c, id, level);
}

/** The bytes in x1 must be those planned. */
function judgeBytes(c: Call): string | null {
  return c.value === c.planned
    ? null
    : `mapped 0x${c.value.toString(16)} bytes; it must be 0x${c.planned.toString(16)}`;
}

/** Memory ran out while the device pages that the call names were made ready for DMA: some may be. */
function applyAsked(c: Call): void {
  if (c.verdict === 0 && c.size > 0 && !isRam(c)) c.useDevicePages(paddr(c), c.size, 0);
}

/** The call has made the device pages that it names ready for DMA: they stay so, whatever the table says afterwards. */
function applyTainted(c: Call): void {
  if (c.verdict === 0 && c.size > 0 && !isRam(c)) c.useDevicePages(paddr(c), c.size, c.size);
}

/** Write down what x1 says was mapped. */
function applyMapped(c: Call): void {
  const id = usedDomain(c);
  if (id < 0) mapAll(c);
  else c.unmapIn(id, () => mapAll(c));
}

function mapAll(c: Call): void {
  if (c.verdict === 0) applyTainted(c);
  else if (c.size > 0 && !isRam(c)) c.useDevicePages(paddr(c), c.value, c.value);
  const id = usedDomain(c);
  if (id < 0 || level < 1 || level > 3) return;
  const { ghost } = c;
  const { maplets } = ghost;
  const root = ghost.domainMaplets(id);
  const span = LEAF_BYTES[level]!;
  const meaning = expectedMeaning(ghost.domainStage(id), c.u32(6));
  for (let done = 0; done < c.value; done += span) {
    const at = iova(c) + done;
    const entry = maplets.find(root, at, level);
    if (maplets.level < level && maplets.isLeaf(entry)) return;
    if (maplets.level === level && (level < 3 || maplets.isLeaf(entry))) ghost.removeMaplets(id, at, level, c.touch);
    ghost.addMaplet(id, at, level, (paddr(c) + done) / PAGE, meaning, c.touch);
  }
  tearDown(c, id);
}

/** Tables that stood before the leaf which ended the last run are gone, with what they mapped. */
function tearDown(c: Call, id: number): void {
  if (c.value !== c.planned) return;
  const span = LEAF_BYTES[level]!;
  for (let at = iova(c) + c.planned; at < tornEnd; at += span) c.ghost.removeMaplets(id, at, level, c.touch);
}

/** A short map for want of a table: it ends where a run does, and the table it wants is not there. */
function judgeShort(c: Call): string | null {
  const span = c.number(4);
  const end = iova(c) + c.value;
  const atRun = c.value === 0 || (level <= 3 && end % (RUN * span) === 0);
  if (!atRun || c.value > c.planned || c.value >= c.size)
    return `mapped 0x${c.value.toString(16)} bytes, which is no run's end`;
  // Another call may have made the table since.
  const isThere = !c.isAfterwards && level <= 3 && c.hasTable(usedDomain(c), end, level - 1);
  if (isThere) return 'asks for memory although the table is there';
  return null;
}

const call = 'map_pages';
const tables = [lack(call, 'iommu', { errno: 0, accept: judgeShort, apply: applyMapped })];
const device = lack(call, 'heap', {
  accept: (c) =>
    c.value === 0 && !isRam(c) ? null : 'wants a table of the host stage 2, which only device memory needs',
  apply: applyAsked,
});
const planned = (errno: number) => (c: Call) => c.plannedErrno === -errno;

/** Rows in which the pages themselves are looked at. */
const useRows: readonly Row[] = [
  refuseNothingMapped('EPERM', (c) => c.verdict === -Errno.EPERM),
  refuseNothingMapped('EBUSY', (c) => c.verdict === -Errno.EBUSY),
  refuseNothingMapped('EINVAL', (c) => c.verdict === -Errno.EINVAL, 'range'),
];

const noGranule = refuseNothingMapped('EINVAL', () => misaligned, 'granule');
const empty = accept(call, 'empty', { when: (c) => c.size === 0, accept: judgeBytes });

/** Rows of the page table. */
const tableRows: readonly Row[] = [
  { ...refuseNothingMapped('EINVAL', () => level < 0, 'page-size'), apply: applyTainted, shortages: [device] },
  {
    ...refuseNothingMapped(
      'EINVAL',
      (c) => (c.u32(6) & (Prot.read | Prot.write)) === 0 && !isOutOfRange(c),
      'no-access',
    ),
    apply: applyTainted,
    shortages: [device],
  },
  {
    ...refuse(call, 'ERANGE', (c) => planned(Errno.ERANGE)(c) || isOutOfRange(c)),
    accept: judgeBytes,
    apply: applyMapped,
    shortages: [...tables, device],
  },
  {
    ...refuse(call, 'EEXIST', planned(Errno.EEXIST)),
    accept: judgeBytes,
    apply: applyMapped,
    shortages: [...tables, device],
  },
  {
    ...refuseNothingMapped('EINVAL', () => level === 4, 'no-level'),
    apply: applyTainted,
    shortages: [...tables, device],
  },
  accept(call, 'ok', { accept: judgeBytes, apply: applyMapped, shortages: [...tables, device] }),
];

const argumentRows: readonly Row[] = [
  refuseNothingMapped('EOPNOTSUPP', (c) => (c.u32(6) & ~PROT_MASK) !== 0),
  refuseNothingMapped('E2BIG', (c) => c.size < 0),
  refuseNothingMapped('EINVAL', (c) => !c.isMultiple(2, 4) || !c.isMultiple(3, 4), 'alignment'),
];
const noDomain = refuseNothingMapped('ENOENT', (c) => usedDomain(c) < 0);

export const mapPages: CallRules = {
  prepare,
  rows: [...argumentRows, noDomain, noGranule, empty, ...useRows, ...tableRows],
};

/** android16: the pages are counted before the domain's table is looked at, which there may not be yet. */
export const mapPagesAndroid16: CallRules = {
  prepare,
  rows: [
    ...argumentRows,
    refuseNothingMapped('EINVAL', (c) => c.u32(1) === c.facts.profile.domains.identity, 'identity'),
    noDomain,
    ...useRows,
    { ...refuseNothingMapped('EINVAL', hasNoTable, 'no-table'), apply: applyTainted, shortages: [device] },
    { ...noGranule, index: -1, apply: applyTainted, shortages: [device] },
    empty,
    ...tableRows,
  ],
};

/** What is missing for a device page, where x0 says nothing of errors; tables never say an errno. */
const silentDevice: Shortage = { ...device, index: -1, errno: 0 };

/** RFC v2: the same, but the host learns only how many bytes were mapped. */
export const mapPagesRfcV2: CallRules = {
  prepare,
  rows: mapPagesAndroid16.rows.filter(({ id }) => id !== `${call}/EINVAL-identity`).map((row) => silent(row)),
};

/** RFC v1: the same, with android17's table from the beginning, and no register in which memory is asked for. */
export const mapPagesRfcV1: CallRules = (() => {
  const unseen = new Map([...tables, device].map((shortage) => [shortage, unseenShortage(shortage)]));
  return { prepare, rows: mapPages.rows.map((row) => silent(row, (shortage) => unseen.get(shortage)!)) };
})();

/** A map that ended before its plan has lacked a table, or (nothing mapped of device memory) one of the host's stage 2. */
function unseenShortage(shortage: Shortage): Shortage {
  const isDevice = shortage === device;
  return {
    ...shortage,
    index: -1,
    errno: 0,
    isSilent: true,
    claims: (c) => c.value < c.planned && isDevice === (!isRam(c) && c.value === 0 && c.poolLacks(HEAP, 0)),
    accept: isDevice
      ? shortage.accept
      : (c) => shortage.accept(c) ?? (isExhausted(c, isInRange(c)) ? null : 'ends short although the cache has pages'),
  };
}

/** Pages of the range are counted as mapped until the call ends, and cannot be donated. */
const isInRange =
  (c: Call) =>
  (page: number): boolean =>
    c.facts.paOf(page) >= paddr(c) && c.facts.paOf(page) < paddr(c) + c.size;

/** The row where x0 says nothing of errors. */
function silent(row: Row, short: (shortage: Shortage) => Shortage = silentShortage): Row {
  const shortages = row.shortages.map(short);
  if (row.errno === 0) return { ...row, index: -1, shortages };
  return { ...row, id: row.id.replace('/', '/0-'), index: -1, errno: 0, shortages };
}

function silentShortage(shortage: Shortage): Shortage {
  return shortage === device ? silentDevice : shortage;
}

/** Whether the first address already is beyond what the table translates. */
function isOutOfRange(c: Call): boolean {
  const smmu = c.ghost.domainSmmu(usedDomain(c));
  const { inputEnd } = c.facts.geometry(smmu, c.ghost.domainStage(usedDomain(c)));
  return iova(c) >= inputEnd || paddr(c) >= 2 ** c.facts.description.smmus[smmu]!.oas;
}

function refuseNothingMapped(errno: keyof typeof Errno, when: (c: Call) => boolean, why = '') {
  return {
    ...refuse(call, errno, when, why),
    accept: (c: Call) => (c.value === 0 ? null : `mapped 0x${c.value.toString(16)} bytes nevertheless`),
  };
}
