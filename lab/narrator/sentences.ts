/**
 * One plain sentence for each thing that can happen, for reports and site alike: what a call asked for and got, and what
 * the hypervisor and the hardware did meanwhile.
 */
import { type CallResult, type CallSpec, errnoName, PageResponse } from '#hypercall-abi';
import { hex64, type StaleEntry } from '#machine';
import { amount, hex, mappingRights, type NameOf } from './names.ts';
import type { Fact } from './recorder.ts';

/** A call as a story sees it: arguments by name, as numbers. */
export interface ToldCall {
  readonly spec: CallSpec;
  readonly cpu: number;
  readonly args: Readonly<Record<string, number>>;
  readonly result: CallResult;
}

const POOLS: Readonly<Record<number, string>> = { 0: 'the hypervisor heap', 1: 'the IOMMU pool' };

function pool(id: number | undefined): string {
  return POOLS[id ?? -1] ?? `pool ${id}`;
}

const RESPONSES: Readonly<Record<number, string>> = {
  [PageResponse.success]: 'be tried again',
  [PageResponse.invalid]: 'end with an abort',
  [PageResponse.failure]: 'end with an abort',
};

/** A stream, or a PASID of it. */
function source(a: (name: string) => number): string {
  return `${a('pasid') === 0 ? '' : `PASID ${a('pasid')} of `}stream ${hex(a('endpoint'))}`;
}

/** What a call did, in one sentence. */
export function callSentence({ spec, cpu, args, result }: ToldCall, nameOf: NameOf): string {
  const a = (name: string): number => args[name] ?? 0;
  const page = (name: string): string => nameOf(a(name) * 4096);
  const who = cpu === 0 ? 'The host' : `The host, on CPU ${cpu},`;
  const refused = (what: string): string =>
    `${who} wants to ${what}; the hypervisor answers ${errnoName(result.errno)}.`;
  const ask =
    result.request === null
      ? ''
      : ` It asks for ${amount(result.request.pages * 4096)} in ${pool(result.request.pool)}.`;
  const done = (what: string, wish: string): string =>
    result.errno === 0 ? `${who} ${what}.` : `${refused(wish)}${ask}`;
  switch (spec.name) {
    case 'alloc_domain': {
      const stage = a('type') === 1 ? 2 : 1;
      return done(`makes domain ${a('domain')}, which translates at stage ${stage}`, `make domain ${a('domain')}`);
    }
    case 'free_domain':
      return done(`frees domain ${a('domain')}`, `free domain ${a('domain')}`);
    case 'attach_dev': {
      const what = `${source(a)} to domain ${a('domain')}`;
      return done(`attaches ${what}: its accesses go through that domain's table now`, `attach ${what}`);
    }
    case 'detach_dev': {
      const what = `${source(a)} from domain ${a('domain')}`;
      return done(`detaches ${what}: ${a('pasid') === 0 ? 'the stream' : 'the PASID'} is blocked`, `detach ${what}`);
    }
    case 'page_response': {
      const what = `the access of stream ${hex(a('endpoint'))} that waits under tag ${a('tag')}`;
      const verdict = RESPONSES[a('status')] ?? 'end';
      return done(`lets ${what} ${verdict}`, `answer ${what}`);
    }
    case 'map_pages':
      return mapSentence({ who, a, result, nameOf }) + ask;
    case 'unmap_pages': {
      const size = a('pgsize') * a('pgcount');
      const short = result.value < size ? ` of ${amount(size)}` : '';
      return `${who} unmaps ${result.value === 0 ? 'nothing' : amount(result.value)}${short} at IOVA ${hex(a('iova'))} of domain ${a('domain')}.${ask}`;
    }
    case 'map_sg': {
      const where = `a list of ${a('nent')} range(s) from IOVA ${hex(a('iova'))} of domain ${a('domain')} on`;
      return `${who} wants to map ${where}, ${mappingRights(a('prot'))}: it comes to ${result.value === 0 ? 'nothing' : amount(result.value)}.${ask}`;
    }
    case 'iotlb_sync_map':
      return refused(`have the IOMMU see what was mapped at IOVA ${hex(a('iova'))} of domain ${a('domain')}`);
    case 'iova_to_phys':
      return `${who} asks where IOVA ${hex(a('iova'))} of domain ${a('domain')} leads: ${result.value === 0 ? 'nowhere' : hex(result.value)}.`;
    case 'set_identity':
      return a('on') === 0
        ? done(
            `turns identity off for stream ${hex(a('endpoint'))}: the stream is blocked`,
            `turn identity off for stream ${hex(a('endpoint'))}`,
          )
        : done(
            `turns identity on for stream ${hex(a('endpoint'))}: it reaches all that is the host's, and nothing else`,
            `turn identity on for stream ${hex(a('endpoint'))}`,
          );
    case 'hvc_pd':
      return a('on') === 0
        ? done(`switches the IOMMU of power domain ${a('device')} off`, `switch power domain ${a('device')} off`)
        : done(
            `switches the IOMMU of power domain ${a('device')} on; the hypervisor invalidates everything first`,
            `switch power domain ${a('device')} on`,
          );
    case 'host_donate_hyp_mmio':
      return done(
        `gives the registers at ${hex(a('pfn') * 4096)} to the hypervisor`,
        `give the registers at ${hex(a('pfn') * 4096)} to the hypervisor`,
      );
    case 'host_reclaim_hyp_mmio':
      return done(
        `takes the registers at ${hex(a('pfn') * 4096)} back`,
        `take the registers at ${hex(a('pfn') * 4096)} back`,
      );
    case 'pviommu_attach':
      return done(`promises a VM paravirtual IOMMU ${a('pviommu')}`, `promise a VM paravirtual IOMMU ${a('pviommu')}`);
    case 'pviommu_add_vsid':
      return done(
        `lets virtual StreamID ${hex(a('vsid'))} of paravirtual IOMMU ${a('pviommu')} stand for stream ${hex(a('endpoint'))}`,
        `let virtual StreamID ${hex(a('vsid'))} stand for stream ${hex(a('endpoint'))}`,
      );
    case 'attach_dev_nested':
      return refused(`give stream ${hex(a('endpoint'))} a stage 1 of its own inside domain ${a('domain')}`);
    case 'iotlb_inv_nested_domain':
      return refused(`invalidate a stage 1 of its own in domain ${a('domain')}`);
    case 'nested_cfg_sync':
      return refused(`make a descriptor of its own known to IOMMU ${a('iommu')}`);
    case 'host_share_hyp':
      return done(`shares ${page('pfn')} with the hypervisor`, `share ${page('pfn')} with the hypervisor`);
    case 'host_unshare_hyp':
      return done(
        `takes back ${page('pfn')}, shared with the hypervisor`,
        `take back ${page('pfn')} from the hypervisor`,
      );
    case 'map_guest':
      return (
        done(`gives ${page('pfn')} to the guest`, `give ${page('pfn')} to a guest`) + (result.errno === 0 ? ask : '')
      );
    case 'donate_guest':
      return done(`gives ${page('pfn')} to the protected guest`, `give ${page('pfn')} to a protected guest`);
    case 'share_guest':
      return done(`shares ${page('pfn')} with the guest`, `share ${page('pfn')} with a guest`);
    case 'unshare_guest':
      return done(`takes back guest page ${hex(a('gfn'))}`, `take back guest page ${hex(a('gfn'))}`);
    case 'reserve_vm':
      return done(`reserves VM handle ${hex(result.value)}`, 'reserve a VM handle');
    case 'unreserve_vm':
      return `${who} gives VM handle ${hex(a('vm'))} back.`;
    case 'init_vm':
      return done('makes a VM from a description it shared', 'make a VM');
    case 'reclaim_dying_guest_page':
      return done(
        `reclaims guest page ${hex(a('gfn'))} of a dying VM; the hypervisor zeroes it first`,
        `reclaim guest page ${hex(a('gfn'))}`,
      );
    case 'start_teardown_vm':
      return done(`begins to tear VM ${hex(a('vm'))} down`, `tear VM ${hex(a('vm'))} down`);
    case 'finalize_teardown_vm':
      return done(`ends the teardown of VM ${hex(a('vm'))}`, `end the teardown of VM ${hex(a('vm'))}`);
    case 'vcpu_load':
      return `${who} loads vCPU ${a('vcpu')} of VM ${hex(a('vm'))}.`;
    case 'vcpu_put':
      return `${who} puts the loaded vCPU away.`;
    case 'alloc_mgt_refill':
      return done(
        `donates ${a('count')} chunk(s) of memory to ${pool(a('pool'))}`,
        `donate memory to ${pool(a('pool'))}`,
      );
    case 'alloc_mgt_reclaimable':
      return `${who} asks how much ${pool(a('pool'))} could give back: ${amount(result.value * 4096)}.`;
    case 'alloc_mgt_reclaim':
      return `${who} takes memory back from ${pool(a('pool'))}.`;
  }
}

function mapSentence(told: { who: string; a: (name: string) => number; result: CallResult; nameOf: NameOf }): string {
  const { who, a, result, nameOf } = told;
  const size = a('pgsize') * a('pgcount');
  const where = `IOVA ${hex(a('iova'))} of domain ${a('domain')} to ${nameOf(a('paddr'))}`;
  if (result.errno !== 0 && result.value === 0) {
    return `${who} wants to map ${amount(size)} from ${where}; the hypervisor answers ${errnoName(result.errno)}.`;
  }
  if (result.value >= size) return `${who} maps ${amount(size)} from ${where}, ${mappingRights(a('prot'))}.`;
  const why = result.errno === 0 ? 'then memory for tables is missing' : `then ${errnoName(result.errno)}`;
  const part = result.value === 0 ? 'nothing' : `only ${amount(result.value)}`;
  return `${who} wants to map ${amount(size)} from ${where}: it comes to ${part}, ${why}.`;
}

function removedSentence(entry: StaleEntry, pa: number, nameOf: NameOf): string {
  const until = 'until an invalidation and its CMD_SYNC complete';
  const tag = entry.stage === 2 ? `VMID ${entry.vmid}` : `ASID ${entry.asid}`;
  switch (entry.kind) {
    case 'leaf':
      return `The hypervisor clears the entry for IOVA ${hex(entry.iova)} (${nameOf(pa)}, ${tag}), but the SMMU may still hold the old one ${until}.`;
    case 'table':
      return `The hypervisor unlinks a table (IOVA ${hex(entry.iova)} and up, ${tag}); walks may still pass through it ${until}.`;
    case 'ste':
      return `Words of the stream table entry of stream ${hex(entry.sid)} change; the SMMU may still use the old ones ${until}.`;
    case 'cd':
      return `The context descriptor of stream ${hex(entry.sid)} changes, but the SMMU may still use the old one ${until}.`;
    case 'l1cd':
      return `A level-1 context descriptor of stream ${hex(entry.sid)} changes; the SMMU may still use the old one ${until}.`;
    case 'l1std':
      return `A level-1 stream table descriptor changes; the SMMU may still use the old one ${until}.`;
    case 'strtab':
      return `The stream table moves; the SMMU may still use the old one ${until}.`;
    case 'tag':
      return `No stream uses ${tag} any more, but its translations may stay in the TLB ${until}.`;
  }
}

/** Whether two facts in a row are one thing that happened to several pages, or twice. */
function isSame(a: Fact, b: Fact): boolean {
  if (a.kind === 'references' && b.kind === 'references') {
    return a.from === b.from && a.to === b.to && a.pin === b.pin && a.cached === b.cached;
  }
  if (a.kind === 'owner' && b.kind === 'owner') return a.from === b.from && a.to === b.to;
  return a.kind === 'removed' && b.kind === 'removed' && a.entry.kind === b.entry.kind && a.entry.sid === b.entry.sid;
}

/** The same thing happening to several pages in a row, or one thing. */
export interface FactGroup {
  /** Number of the last of them in the step, from 0. */
  readonly last: number;
  readonly facts: readonly Fact[];
}

/** Facts in order, those in a row that are the same together. */
export function groupFacts(facts: readonly Fact[]): FactGroup[] {
  const groups: FactGroup[] = [];
  for (let i = 0; i < facts.length; ) {
    let next = i + 1;
    while (next < facts.length && isSame(facts[i]!, facts[next]!)) next++;
    groups.push({ last: next - 1, facts: facts.slice(i, next) });
    i = next;
  }
  return groups;
}

/**
 * What happened, in one sentence; null for what is not worth telling.
 * @param fact the first of `count` facts that are the same (see {@link isSame})
 */
export function factSentence(fact: Fact, nameOf: NameOf, count = 1): string | null {
  switch (fact.kind) {
    case 'removed':
      return removedSentence(fact.entry, fact.pa, nameOf);
    case 'command':
      return fact.waiting === 0 ? null : `${fact.name} is queued: it has no effect before a CMD_SYNC completes.`;
    case 'sync':
      return fact.dropped === 0
        ? null
        : `CMD_SYNC completes: the old ${fact.dropped === 1 ? 'entry is' : 'entries are'} gone for good.`;
    case 'references':
      return referenceSentence(fact, pages(fact.pa, count, nameOf), count > 1);
    case 'owner': {
      const [was, is] = count > 1 ? ['were', 'are'] : ['was', 'is'];
      return `${capital(pages(fact.pa, count, nameOf))} ${was} ${fact.from}, and ${is} ${fact.to} now.`;
    }
    case 'event': {
      const { name, sid, words } = fact.event;
      const raw = [0, 2, 4, 6].map((i) => hex64(words[i + 1]!, words[i]!)).join(' ');
      return `The SMMU stops stream ${hex(sid)} with ${name}${fact.recorded ? ` and records it: ${raw}` : ''}.`;
    }
  }
}

/** The first page, and how many more. */
function pages(pa: number, count: number, nameOf: NameOf): string {
  if (count === 1) return nameOf(pa);
  return `${nameOf(pa)} and ${count - 1} more ${count === 2 ? 'page' : 'pages'}`;
}

function referenceSentence(fact: Extract<Fact, { kind: 'references' }>, what: string, many: boolean): string {
  const count = `(${fact.from} → ${fact.to})`;
  const [it, is] = many ? ['they', 'are'] : ['it', 'is'];
  if (fact.pin) return `The hypervisor ${fact.to > fact.from ? 'pins' : 'lets go of'} ${what} ${count}.`;
  if (fact.to > fact.from)
    return `${capital(what)} ${is} counted as mapped for DMA ${count}: ${it} cannot change hands.`;
  const loose =
    fact.to === 0 ? `${it} may be given to somebody else from now on` : `${it} ${is} still mapped elsewhere`;
  const dropped = `The DMA ${many ? 'references' : 'reference'} of ${what} ${many ? 'are' : 'is'} dropped ${count}`;
  if (!fact.cached) return `${dropped}: ${loose}.`;
  return `${dropped} while the SMMU may still hold the old entry: ${loose}, and a device may still reach ${many ? 'them' : 'it'}.`;
}

function capital(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

/** The groups of facts that are worth telling, in order: the moments of a step, numbered from 1 where they are named. */
export function momentsOf(facts: readonly Fact[], nameOf: NameOf): FactGroup[] {
  return groupFacts(facts).filter(({ facts: same }) => factSentence(same[0]!, nameOf, same.length) !== null);
}
