/**
 * The calls of a guest to its paravirtual IOMMU (docs/abi-sources.md, section 7). x0 is a status: 0, or -3 for every
 * mistake. A call that lacks memory ends in the host, with nothing done, or told as far as it came; a map of a page that
 * the guest has not ends there too.
 *
 * Deviations: an id that the guest was not given is refused; a domain takes several streams; a domain that never had a
 * stream can be freed.
 */

import { Errno, type GuestCallName, GuestStatus, PROT_MASK, Prot, VM_HANDLE_BASE } from '#hypercall-abi';
import { IPA_END, PAGE } from '../facts.ts';
import { expectedMeaning } from '../leaf.ts';
import type { Call } from './call.ts';
import { routeOf } from './pviommu.ts';
import { accept, type CallRules, lack, type Row, type Shortage } from './row.ts';
import { entryIsUnanswered, hasLevel2, level2Pages } from './stream.ts';

const TWO64 = 2 ** 64;
const IOMMU_POOL = 1;
/** Once more counted when a page is pinned for a map, and once for the map itself. */
const REFERENCES_END = 65534;

const vmOf = (c: Call): number => VM_HANDLE_BASE + c.slot;

/** A row that requires INVALID_PARAMETER, no result and no change. */
function invalid(
  call: GuestCallName,
  why: string,
  when: (c: Call) => boolean,
  shortages: readonly Shortage[] = [],
): Row {
  return {
    id: `${call}/invalid-${why}`,
    index: -1,
    when,
    errno: GuestStatus.invalid,
    accept: (c) => (c.value === 0 ? null : 'gave a result beside the refusal'),
    apply: () => {},
    shortages,
  };
}

/** Whether x[first] to x6 have anything. */
function hasRest(c: Call, first: number): boolean {
  for (let n = first; n < 7; n++) if (c.lo(n) !== 0 || c.hi(n) !== 0) return true;
  return false;
}

/** The route that a call names: pvIOMMU in x[n], virtual StreamID in x[n + 1]. */
let route: { smmu: number; sid: number } | null = null;
const prepareRoute =
  (n: number) =>
  (c: Call): void => {
    c.slot = c.ghost.vms.loadedOn(c.cpu);
    route = routeOf(c, vmOf(c), c.i32(n), c.i32(n + 1));
  };
const smmu = (): number => route!.smmu;
const device = (c: Call): number => c.facts.deviceOf(route!.smmu, route!.sid);
const smmuExists = (c: Call): boolean => smmu() < c.facts.description.smmus.length;

const request = 'guest_dev_req_dma';

/** Whether the group of the device can become the VM's now. */
function isFreeGroup(c: Call): boolean {
  const { registry, resources } = c.facts;
  const { group } = registry[device(c)]!;
  return registry.every((one, i) => {
    if (one.group !== group) return true;
    const isGiven = resources.every((resource, n) => resource.device !== i || c.ghost.isGiven(n));
    const isBlocked = one.streams.every((stream) => c.ghost.streamDomain(stream.smmu, stream.sid) < 0);
    return c.ghost.deviceContext(i) === 0 && isGiven && isBlocked;
  });
}

/** Whether an SMMU does not say that it has forgotten what it may have held of the streams of the group. */
function groupIsUnanswered(c: Call): boolean {
  const { registry } = c.facts;
  const { group } = registry[device(c)]!;
  return registry.some((one) => one.group === group && one.streams.some((stream) => entryIsUnanswered(c, stream)));
}

function isOthers(c: Call): boolean {
  const context = c.ghost.deviceContext(device(c));
  return context !== 0 && context !== vmOf(c);
}

const devReqDma: CallRules = {
  prepare: prepareRoute(1),
  rows: [
    invalid(request, 'registers', (c) => hasRest(c, 3)),
    invalid(request, 'route', (c) => route === null || !smmuExists(c)),
    invalid(request, 'device', (c) => device(c) < 0),
    invalid(request, 'others', isOthers),
    invalid(request, 'group', (c) => c.ghost.deviceContext(device(c)) === 0 && !isFreeGroup(c)),
    invalid(request, 'unanswered', (c) => c.ghost.deviceContext(device(c)) === 0 && groupIsUnanswered(c)),
    accept(request, 'ok', {
      accept: (c) => {
        const { base } = c.facts.description.smmus[smmu()]!;
        return c.value === base && c.after[4]! >>> 0 === route!.sid && c.after[5] === 0
          ? null
          : 'gave another token than the SMMU and the StreamID';
      },
      apply: (c) => {
        if (route === null || device(c) < 0) return;
        const { group } = c.facts.registry[device(c)]!;
        c.facts.registry.forEach((one, i) => {
          if (one.group === group) c.ghost.setDeviceContext(i, vmOf(c));
        });
      },
    }),
  ],
};

/** Whether the VM was given that domain. */
const isOwn = (c: Call, id: number): boolean =>
  id >= c.facts.profile.domains.hostCount && id < c.facts.profile.domains.count && c.ghost.domainOwner(id) === vmOf(c);

const attach = 'guest_attach_dev';
const attachId = (c: Call): number => c.u32(5);
/** Whether the table of the domain is made by this call. */
const isNew = (c: Call): boolean => !c.ghost.domainUsed(attachId(c));
const isMine = (c: Call): boolean => device(c) >= 0 && c.ghost.deviceContext(device(c)) === vmOf(c);

/** Pages that the pool had before the call: the first of them is the table's. */
let freeBefore = 0;

/** The table that the call has made. */
function makeTable(c: Call): void {
  c.ghost.makeDomain(attachId(c), 1, smmu());
  c.monitor.touched.domains.add(attachId(c));
}

/** A table that was made for an attach that is refused goes again, if the SMMU answers. */
function keepTable(c: Call): void {
  if (route !== null && isOwn(c, attachId(c)) && isNew(c) && c.isUnanswered(smmu())) makeTable(c);
}

/** Missing is one page (of the table or the descriptor), or a level-2 table. A new table's page went back into the pool. */
const attachShortage: Shortage = {
  ...lack(attach, 'iommu', {
    pages: (c) =>
      c.requestPages !== 1 && smmuExists(c) && !hasLevel2(c, smmu(), route!.sid) ? level2Pages(c, smmu()) : 1,
  }),
  lacks: (c, order) => c.poolLacks(IOMMU_POOL, isNew(c) && !c.isUnanswered(smmu()) ? order + 1 : order),
  apply: (c) => {
    // Of a call that overlapped with others, only the record tells whether there was a page for the table.
    const hadPage = c.isAfterwards ? isNew(c) && c.reader.domainRefs(attachId(c)) !== 0 : freeBefore > 0;
    if (hadPage) keepTable(c);
  },
};

/** A row of refusal behind the making of the table. */
const refused = (why: string, when: (c: Call) => boolean): Row => ({
  ...invalid(attach, why, when, [attachShortage]),
  apply: keepTable,
});

const attachDev: CallRules = {
  prepare: (c) => {
    prepareRoute(2)(c);
    freeBefore = c.reader.poolFreePages(IOMMU_POOL);
  },
  rows: [
    invalid(attach, 'route', () => route === null),
    invalid(attach, 'domain', (c) => !isOwn(c, attachId(c))),
    invalid(attach, 'iommu', (c) => isNew(c) && (!smmuExists(c) || !c.facts.description.smmus[smmu()]!.stage1)),
    invalid(attach, 'tag', (c) => isNew(c) && attachId(c) >= 2 ** (c.facts.description.smmus[smmu()]!.asid16 ? 16 : 8)),
    refused('device', (c) => !isMine(c)),
    invalid(attach, 'other-iommu', (c) => !isNew(c) && c.ghost.domainSmmu(attachId(c)) !== smmu()),
    refused('in-use', (c) => c.ghost.streamDomain(smmu(), route!.sid) >= 0),
    refused('pasid', (c) => c.u32(4) !== 0),
    {
      ...refused('unanswered', (c) => c.isUnanswered(smmu())),
      apply: (c) => {
        keepTable(c);
        c.ghost.loseReference(attachId(c), smmu());
        c.monitor.touched.addStream(smmu(), route!.sid);
        c.monitor.touched.domains.add(attachId(c));
      },
    },
    accept(attach, 'ok', {
      apply: (c) => {
        if (route === null || !isOwn(c, attachId(c)) || c.ghost.streamDomain(smmu(), route.sid) >= 0) return;
        if (isNew(c)) makeTable(c);
        // A guest does not ask for faults that stall; some hardware has no others.
        const stalls = c.facts.description.smmus[smmu()]!.stallModel === 'stall';
        c.ghost.attach(smmu(), route.sid, 0, attachId(c), stalls, 0);
        c.monitor.touched.addStream(smmu(), route.sid);
        c.monitor.touched.domains.add(attachId(c));
      },
      shortages: [attachShortage],
    }),
  ],
};

const detach = 'guest_detach_dev';

const detachDev: CallRules = {
  prepare: prepareRoute(2),
  rows: [
    invalid(detach, 'registers', (c) => hasRest(c, 6)),
    invalid(detach, 'route', () => route === null),
    invalid(detach, 'device', (c) => !isMine(c)),
    invalid(detach, 'domain', (c) => c.ghost.streamDomain(smmu(), route!.sid) !== attachId(c)),
    invalid(detach, 'pasid', (c) => c.u32(4) !== 0),
    invalid(detach, 'unanswered', (c) => c.isUnanswered(smmu())),
    accept(detach, 'ok', {
      apply: (c) => {
        if (route === null) return;
        c.monitor.touched.domains.add(attachId(c));
        c.ghost.detach(smmu(), route.sid, 0);
        c.monitor.touched.addStream(smmu(), route.sid);
      },
    }),
  ],
};

const alloc = 'guest_alloc_domain';

function noIdIsFree(c: Call): boolean {
  const { hostCount, count } = c.facts.profile.domains;
  for (let id = hostCount; id < count; id++) if (c.ghost.domainOwner(id) === 0) return false;
  return true;
}

const prepareVm = (c: Call): void => {
  c.slot = c.ghost.vms.loadedOn(c.cpu);
};

const allocDomain: CallRules = {
  prepare: prepareVm,
  rows: [
    invalid(alloc, 'registers', (c) => hasRest(c, 2)),
    invalid(alloc, 'none-left', noIdIsFree),
    accept(alloc, 'ok', {
      accept: (c) => {
        const { hostCount, count } = c.facts.profile.domains;
        if (c.value < hostCount || c.value >= count) return `gave domain ${c.value}, which is no guest's`;
        return c.ghost.domainOwner(c.value) === 0 ? null : `gave domain ${c.value}, which is somebody's`;
      },
      apply: (c) => {
        if (c.value >= c.facts.profile.domains.count) return;
        c.ghost.setDomainOwner(c.value, vmOf(c));
        c.monitor.touched.domains.add(c.value);
        c.monitor.touched.guestTables = true;
      },
    }),
  ],
};

const free = 'guest_free_domain';

const freeDomain: CallRules = {
  prepare: prepareVm,
  rows: [
    invalid(free, 'registers', (c) => hasRest(c, 3)),
    invalid(free, 'domain', (c) => !isOwn(c, c.u32(2))),
    invalid(free, 'attached', (c) => c.ghost.domainAttached(c.u32(2)) !== 0),
    invalid(free, 'unanswered', (c) => c.ghost.domainUsed(c.u32(2)) && c.domainIsUnanswered(c.u32(2))),
    accept(free, 'ok', {
      apply: (c) => {
        const id = c.u32(2);
        if (id >= c.facts.profile.domains.count) return;
        if (c.ghost.domainUsed(id)) c.ghost.freeDomain(id, c.touch);
        c.ghost.setDomainOwner(id, 0);
        c.monitor.touched.domains.add(id);
        c.monitor.touched.guestTables = true;
      },
    }),
  ],
};

// ---- maps

const isAligned = (c: Call, n: number): boolean => (c.lo(n) & (PAGE - 1)) === 0;
/** The domain in x2 when the VM may map in it, else -1. */
const mapDomain = (c: Call): number => (isOwn(c, c.u32(2)) && c.ghost.domainUsed(c.u32(2)) ? c.u32(2) : -1);

/** How a map ends: at the end of the range, at a page that the guest has not, or at a mistake. */
const End = { done: 0, page: 1, mistake: 2 } as const;

/** Work out how far the map comes; what stops it is left in c.verdict. */
function planMap(c: Call): void {
  c.planned = 0;
  c.verdict = End.done;
  const size = c.number(5);
  while (c.planned < size) {
    const end = pageEnd(c, c.number(3) + c.planned, c.number(4) + c.planned);
    if (end !== End.done) {
      c.verdict = end;
      return;
    }
    c.planned += PAGE;
  }
}

function pageEnd(c: Call, iova: number, ipa: number): number {
  if (ipa >= IPA_END) return End.mistake;
  const page = c.ghost.vms.page(c.slot, ipa / PAGE);
  if (page < 0) return End.page;
  const id = mapDomain(c);
  if (id < 0 || c.ghost.pages.references(page) >= REFERENCES_END || iova + PAGE >= TWO64) return End.mistake;
  if ((c.u32(6) & (Prot.read | Prot.write)) === 0) return End.mistake;
  const { inputEnd } = c.facts.geometry(c.ghost.domainSmmu(id), c.ghost.domainStage(id));
  if (iova >= inputEnd) return End.mistake;
  if (c.facts.paOf(page) >= 2 ** c.facts.description.smmus[c.ghost.domainSmmu(id)]!.oas) return End.mistake;
  const { maplets } = c.ghost;
  return maplets.isLeaf(maplets.find(c.ghost.domainMaplets(id), iova, 3)) ? End.mistake : End.done;
}

function judgeBytes(c: Call): string | null {
  if (c.value !== c.planned) {
    return `came to 0x${c.value.toString(16)} bytes; it must be 0x${c.planned.toString(16)}`;
  }
  const wantsPage = c.exit?.reason === 'map';
  if (wantsPage !== (c.verdict === End.page)) return wantsPage ? 'asks for a page' : 'does not ask for the page';
  if (c.exit?.reason !== 'map') return null;
  const isRight = c.exit.ipa === c.number(4) + c.planned && c.exit.size === c.number(5) - c.planned;
  return isRight ? null : 'asks for other pages than those it lacks';
}

function applyMap(c: Call): void {
  const id = mapDomain(c);
  if (id < 0) return;
  for (let done = 0; done < Math.min(c.value, c.planned); done += PAGE) {
    const page = c.ghost.vms.page(c.slot, (c.number(4) + done) / PAGE);
    const meaning = expectedMeaning(c.ghost.domainStage(id), c.u32(6));
    c.ghost.addMaplet(id, c.number(3) + done, 3, c.facts.paOf(page) / PAGE, meaning, c.touch);
  }
}

const map = 'guest_map_pages';

const mapShortage = lack(map, 'iommu', {
  errno: GuestStatus.success,
  accept: (c) => (c.value < c.planned ? null : 'asks for memory after all that can be mapped'),
  apply: applyMap,
});

const mapPages: CallRules = {
  isPiecewise: true,
  prepare: (c) => {
    prepareVm(c);
    c.planned = 0;
    c.verdict = End.done;
    if (isAligned(c, 3) && isAligned(c, 4) && isAligned(c, 5)) planMap(c);
  },
  rows: [
    invalid(map, 'alignment', (c) => !isAligned(c, 3) || !isAligned(c, 4) || !isAligned(c, 5)),
    invalid(map, 'prot', (c) => (c.lo(6) & ~PROT_MASK) !== 0 || c.hi(6) !== 0),
    {
      ...invalid(map, 'part', (c) => c.verdict === End.mistake, [mapShortage]),
      accept: judgeBytes,
      apply: applyMap,
    },
    accept(map, 'page', {
      when: (c) => c.verdict === End.page,
      accept: judgeBytes,
      apply: applyMap,
      shortages: [mapShortage],
    }),
    accept(map, 'ok', { accept: judgeBytes, apply: applyMap, shortages: [mapShortage] }),
  ],
};

const unmap = 'guest_unmap_pages';

function planUnmap(c: Call): void {
  const id = mapDomain(c);
  const size = c.number(4);
  c.planned = 0;
  if (id < 0 || c.number(3) + size >= TWO64) return;
  const { maplets } = c.ghost;
  const { inputEnd } = c.facts.geometry(c.ghost.domainSmmu(id), c.ghost.domainStage(id));
  const isMapped = (iova: number): boolean =>
    iova < inputEnd && maplets.isLeaf(maplets.find(c.ghost.domainMaplets(id), iova, 3));
  while (c.planned < size && isMapped(c.number(3) + c.planned)) c.planned += PAGE;
}

function applyUnmap(c: Call): void {
  const id = mapDomain(c);
  if (id < 0) return;
  c.unmapIn(id, () => {
    for (let done = 0; done < Math.min(c.value, c.planned); done += PAGE) {
      c.ghost.removeMaplets(id, c.number(3) + done, 3, c.touch);
    }
  });
}

const unmapPages: CallRules = {
  prepare: (c) => {
    prepareVm(c);
    c.planned = 0;
    c.verdict = End.done;
    if (isAligned(c, 3) && isAligned(c, 4)) planUnmap(c);
  },
  rows: [
    invalid(unmap, 'alignment', (c) => !isAligned(c, 3) || !isAligned(c, 4)),
    invalid(unmap, 'registers', (c) => hasRest(c, 5)),
    {
      ...invalid(unmap, 'part', (c) => c.planned < c.number(4)),
      accept: judgeBytes,
      apply: applyUnmap,
    },
    accept(unmap, 'ok', { accept: judgeBytes, apply: applyUnmap }),
  ],
};

/** The rules of every guest call. */
export const guestRules: Readonly<Record<GuestCallName, CallRules>> = {
  guest_dev_req_dma: devReqDma,
  guest_attach_dev: attachDev,
  guest_detach_dev: detachDev,
  guest_alloc_domain: allocDomain,
  guest_free_domain: freeDomain,
  guest_map_pages: mapPages,
  guest_unmap_pages: unmapPages,
};

/** Errno by which the specification calls a guest's call that is made again when memory has come. */
export const MADE_AGAIN = -Errno.ENOMEM;
