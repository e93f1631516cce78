/**
 * Between calls the hypervisor's bytes must mean what the ghost says. After each call what was touched is compared: page
 * records, domains, streams, tables, VMs, CPUs, locks. The same comparisons, over everything, make the full check.
 */

import { PageState, PVIOMMU_COUNT } from '#hyp/layout';
import { PoolId, VM_HANDLE_BASE } from '#hypercall-abi';
import { l1stdEntries, l1stdL2Ptr, STE_BYTES } from './decode/index.ts';
import type { ExpectedAttachment, ExpectedStream } from './expected-stream.ts';
import type { Facts } from './facts.ts';
import { type Findings, hex } from './findings.ts';
import type { Ghost } from './ghost.ts';
import { Owner } from './ghost-pages.ts';
import { VmLife } from './ghost-vms.ts';
import { type LayoutReader, PageWord } from './layout-reader.ts';
import { LEAF_BYTES } from './maplets.ts';
import type { Monitor } from './monitor.ts';
import { T } from './node-store.ts';
import type { Property } from './properties.ts';
import type { Stage2 } from './stage2.ts';
import type { NumberList } from './touched.ts';

/** What a last-level table of a stage 2 covers. */
const BLOCK = LEAF_BYTES[2]!;
const POOLS = [PoolId.heap, PoolId.iommu] as const;

export class Comparison {
  private readonly facts: Facts;
  private readonly ghost: Ghost;
  private readonly findings: Findings;
  private readonly reader: LayoutReader;
  private readonly monitor: Monitor;
  private readonly stage2: Stage2;
  private readonly expected: ExpectedStream;
  /** Whether the identity domain can lead to all RAM. */
  private readonly mirrorsAll: boolean;
  /** Whether the call that is being judged failed, so that nothing may have changed. */
  private failed = false;

  constructor(
    facts: Facts,
    ghost: Ghost,
    findings: Findings,
    reader: LayoutReader,
    monitor: Monitor,
    stage2: Stage2,
    expected: ExpectedStream,
  ) {
    this.facts = facts;
    this.ghost = ghost;
    this.findings = findings;
    this.reader = reader;
    this.monitor = monitor;
    this.stage2 = stage2;
    this.expected = expected;
    this.mirrorsAll = facts.description.ram.every(({ base, size }) => base + size <= facts.identityGeometry.inputEnd);
  }

  /** Compare what was touched, and forget it. @param failed whether the call left nothing changed, by its own word */
  touched(failed: boolean): void {
    const { touched } = this.monitor;
    this.failed = failed;
    for (let i = 0; i < touched.pages.length; i++) this.page(touched.pages.items[i]!);
    for (let i = 0; i < touched.domains.length; i++) this.domain(touched.domains.items[i]!);
    for (let i = 0; i < touched.tags.length; i++) this.tag(touched.tags.items[i]!);
    for (let i = 0; i < touched.vms.length; i++) this.vm(touched.vms.items[i]!);
    for (let i = 0; i < touched.cpus.length; i++) this.cpu(touched.cpus.items[i]!);
    for (let i = 0; i < touched.devices.length; i++) this.device(touched.devices.items[i]!);
    for (let i = 0; i < touched.streams.length; i += 2) this.stream(touched.streams[i]!, touched.streams[i + 1]!);
    if (touched.guestTables) this.guestTables();
    for (let i = 0; i < touched.resources.length; i++) {
      this.stage2.checkResource(touched.resources.items[i]!, failed ? 'unchanged' : 'ownership');
    }
    this.owners(touched.owners, failed);
    for (let i = 0; i < touched.devicePages.length; i++) {
      this.stage2.checkDevicePage(touched.devicePages[i]!, failed ? 'unchanged' : 'ownership');
    }
    for (let i = 0; i < touched.guestPages.length; i += 2) {
      const slot = touched.guestPages[i]!;
      if (this.ghost.vms.life(slot) < VmLife.live) continue;
      this.stage2.checkGuestPage(slot, touched.guestPages[i + 1]!, failed ? 'unchanged' : 'ownership');
    }
    this.locks();
    touched.clear();
    this.failed = false;
  }

  /** What the host's stage 2 says of pages whose owner has changed, and of those beside them. */
  private owners(pages: NumberList, failed: boolean): void {
    let block = -1;
    for (let i = 0; i < pages.length; i++) {
      const page = pages.items[i]!;
      this.stage2.checkHostPage(page, failed ? 'unchanged' : 'ownership');
      const pa = this.facts.paOf(page);
      const blockOfPage = Math.floor(pa / BLOCK);
      if (blockOfPage !== block) this.stage2.checkNeighbours(pa);
      block = blockOfPage;
    }
  }

  private differs(property: Property, rule: string, text: string, detail: Record<string, number | string>): void {
    this.findings.add(this.failed ? 'unchanged' : property, rule, text, detail);
  }

  /** What the host must have of a page, as its record says it. */
  private expectedHost(page: number): number {
    const { ghost } = this;
    if (ghost.pages.owner(page) !== Owner.host) return this.facts.profile.pageStates.noPage;
    return ghost.pages.isSharedWithHyp(page) || ghost.pages.shareCount(page) !== 0
      ? PageState.sharedOwned
      : PageState.owned;
  }

  /** What the hypervisor must have of it. It stands as its complement: XOR the number of NOPAGE. */
  private expectedHyp(page: number): number {
    const { ghost } = this;
    const { noPage } = this.facts.profile.pageStates;
    const isHyps = ghost.pages.owner(page) === Owner.hyp;
    return (isHyps ? PageState.owned : ghost.pages.isSharedWithHyp(page) ? PageState.sharedBorrowed : noPage) ^ noPage;
  }

  /** What the record of a page says of its owner: states of host and hypervisor, and shares. */
  pageStates(page: number): string {
    const record = this.reader.page(page);
    return `${PageWord.hostNumber(record)}, ${PageWord.hypNumber(record)}, ${this.reader.pageShares(page)}`;
  }

  /** Whether the record of a page says what the ghost says of its owner: during a call, what was so before it. */
  isPageAsWas(page: number): boolean {
    const expected = `${this.expectedHost(page)}, ${this.expectedHyp(page)}, ${this.ghost.pages.shareCount(page)}`;
    return this.pageStates(page) === expected;
  }

  /** Whether the record of a page of the host's that is shared with nobody is as it must be. No answer but yes is final. */
  private isPlainPage(page: number): boolean {
    const { ghost, reader, facts } = this;
    const { reach } = this.monitor;
    if (!this.mirrorsAll || !ghost.pages.isPlain(page) || reach.identityMappings(page) !== facts.identitySmmus.length)
      return false;
    // Nothing but the reference count is not zero.
    const references = ghost.pages.dmaCount(page);
    return references < 0x10000 && references === reach.mappedCount(page) && reader.isJustReferenced(page, references);
  }

  /** The record of one page. */
  page(page: number): void {
    if (this.isPlainPage(page)) return;
    const { ghost } = this;
    const record = this.reader.page(page);
    const owner = ghost.pages.owner(page);
    const host = PageWord.hostNumber(record);
    const hyp = PageWord.hypNumber(record);
    const expectedHost = this.expectedHost(page);
    const expectedHyp = this.expectedHyp(page);
    if (host !== expectedHost || hyp !== expectedHyp || this.reader.pageShares(page) !== ghost.pages.shareCount(page)) {
      const pa = this.facts.paOf(page);
      const text =
        `the record of ${hex(pa)} says host ${host}, hypervisor ${hyp}, shares ${this.reader.pageShares(page)}; ` +
        `it must be ${expectedHost}, ${expectedHyp}, ${ghost.pages.shareCount(page)} (owner: ${ghost.pages.ownerName(page)})`;
      this.differs('ownership', 'page-record', text, { pa });
    }
    this.identity(page);
    if (owner === Owner.hyp) return;
    const refs = PageWord.references(record);
    const mappings = this.monitor.reach.mappedCount(page);
    const pins = ghost.pages.pins(page);
    if (refs === mappings + pins && refs === ghost.pages.references(page)) return;
    const pa = this.facts.paOf(page);
    const text =
      `the reference count of ${hex(pa)} is ${refs}; ${mappings} leaves of live tables lead there, ` +
      `${ghost.pages.dmaCount(page)} were mapped, ${pins} pins`;
    this.findings.add('refcount', 'page', text, { pa, refs, mappings, mapped: ghost.pages.dmaCount(page), pins });
  }

  /** That the identity domain leads to a page on every SMMU exactly while it is the host's. */
  identity(page: number): void {
    const { facts, ghost, monitor } = this;
    const pa = facts.paOf(page);
    const isHosts = ghost.pages.owner(page) === Owner.host && pa < facts.identityGeometry.inputEnd;
    const expected = isHosts ? facts.identitySmmus.length : 0;
    const found = monitor.reach.identityMappings(page);
    if (ghost.pages.owner(page) !== Owner.host && monitor.reach.identityCount(page) !== 0) {
      monitor.releases.checkUnreached(page, 'foreign-page');
    }
    if (found === expected) return;
    const text = `the identity table leads to ${hex(pa)} on ${found} SMMUs; it must on ${expected} (owner: ${ghost.pages.ownerName(page)})`;
    this.differs('identity', 'page', text, { pa, found, expected });
  }

  /** The record of one domain. */
  domain(id: number): void {
    const { ghost, reader } = this;
    const refs = reader.domainRefs(id);
    const used = ghost.domainUsed(id);
    const expected = used ? 1 + ghost.domainAttached(id) : 0;
    if (refs !== expected) {
      const text = `domain ${id} has ${refs} references; it must have ${expected}`;
      this.differs('refcount', 'domain', text, { domain: id, refs, expected });
    }
    if (reader.domainLock(id) !== 0)
      this.findings.add('lock', 'domain', `the lock of domain ${id} is held`, { domain: id });
    const owner = ghost.domainOwner(id);
    if (reader.domainOwner(id) !== owner) {
      const text = `the record of domain ${id} says owner ${hex(reader.domainOwner(id))}; it must be ${hex(owner)}`;
      this.differs('ownership', 'domain-owner', text, { domain: id, owner });
    }
    if (!used) return;
    const stage = reader.domainStage(id);
    const smmu = reader.domainSmmu(id);
    const isSame =
      stage === ghost.domainStage(id) &&
      smmu === ghost.domainSmmu(id) &&
      reader.domainType(id) === ghost.domainType(id);
    if (!isSame) {
      const text = `the record of domain ${id} says stage ${stage}, SMMU ${smmu}`;
      this.differs('tables', 'domain-record', text, { domain: id, stage, smmu });
    }
    this.streamCounts(id);
  }

  /** That the record of a domain which the first attach binds counts its streams per SMMU as they are. */
  private streamCounts(id: number): void {
    const { facts, ghost, reader } = this;
    if (facts.profile.tableBuilt === 'alloc') return;
    for (let smmu = 0; smmu < facts.description.smmus.length; smmu++) {
      const streams = reader.domainStreams(id, smmu);
      const expected = ghost.domainStreams(id, smmu);
      if (streams === expected) continue;
      const text = `the record of domain ${id} counts ${streams} streams behind SMMU ${smmu}; it must be ${expected}`;
      this.differs('accounting', 'domain-streams', text, { domain: id, smmu, streams, expected });
    }
  }

  /** The leaves of one tag against the maplets of its domain. */
  tag(tag: number): void {
    if (this.isTagAsWas(tag)) return;
    const { reach } = this.monitor;
    const id = reach.domainOf(tag);
    const mine = this.isOwnTag(tag, id);
    const difference = mine ? this.firstDifference(id) : 'has leaves although it is not in use';
    this.differs('tables', 'leaves', `${reach.tagName(tag)} ${difference}`, { domain: id });
  }

  /** Whether a tag is one that the domain has now. */
  private isOwnTag(tag: number, id: number): boolean {
    const { ghost } = this;
    const { store } = this.monitor;
    return (
      id >= 0 &&
      ghost.domainUsed(id) &&
      this.isServedBy(id, store.tag(tag, T.smmu)) &&
      ghost.domainStage(id) === store.tag(tag, T.stage)
    );
  }

  /** How many leaves the tables of a tag must have: during a call, those from before it. */
  leavesBefore(tag: number): number {
    const id = this.monitor.reach.domainOf(tag);
    return this.isOwnTag(tag, id) ? this.ghost.domainLeaves(id) : 0;
  }

  /** Whether the leaves of a tag are the maplets of its domain: during a call, those from before it. */
  isTagAsWas(tag: number): boolean {
    const { ghost } = this;
    const { store, reach } = this.monitor;
    const id = reach.domainOf(tag);
    const mine = this.isOwnTag(tag, id);
    return (
      store.tag(tag, T.hashA) === (mine ? ghost.domainHashA(id) : 0) &&
      store.tag(tag, T.hashB) === (mine ? ghost.domainHashB(id) : 0) &&
      store.tag(tag, T.leaves) === (mine ? ghost.domainLeaves(id) : 0)
    );
  }

  /** Whether the tables of a domain are there for that SMMU: it is bound to it, or has streams behind it. */
  private isServedBy(id: number, smmu: number): boolean {
    return this.ghost.domainSmmu(id) === smmu || this.ghost.domainRoutes(id, smmu) !== 0;
  }

  /** Where the tables of a domain differ from its maplets, in words. */
  firstDifference: (id: number) => string = () => 'has other leaves than were mapped';

  /** The entry of one stream, with its context descriptors. */
  stream(smmu: number, sid: number): void {
    const id = this.ghost.streamDomain(smmu, sid);
    const wrong = this.wrongStream(smmu, sid, id);
    if (wrong === null) return;
    const whose = id < 0 ? 'attached to nothing' : `attached to domain ${id}`;
    this.differs('streams', 'entry', `stream ${hex(sid)}, ${whose}, ${wrong}`, { smmu, sid, domain: id });
  }

  /** Whether the entry of a stream says what the ghost says: during a call, what was so before it. */
  isStreamAsWas(smmu: number, sid: number): boolean {
    return this.wrongStream(smmu, sid, this.ghost.streamDomain(smmu, sid)) === null;
  }

  /** The words of a stream's entry; none when it has none. */
  steWords(smmu: number, sid: number): Int32Array {
    const ste = this.steOf(smmu, sid);
    if (ste === 0) return new Int32Array(0);
    const first = this.facts.memory.indexOf(ste);
    return this.facts.memory.words.slice(first, first + STE_BYTES / 4);
  }

  private wrongStream(smmu: number, sid: number, id: number): string | null {
    const { ghost, expected } = this;
    const ste = this.steOf(smmu, sid);
    const isSettled = !ghost.mayHaveLost;
    if (id < 0) return expected.blocked(ste, isSettled);
    if (id === this.facts.profile.domains.identity) {
      return expected.identity(smmu, ste, this.reader.identityRoot());
    }
    if (ghost.domainStage(id) === 2) return expected.attachedStage2(smmu, ste, this.attachment(smmu, sid, 0)!);
    return expected.attachedStage1(smmu, ste, ghost.pasidBits(smmu, sid), isSettled, (pasid) =>
      this.attachment(smmu, sid, pasid),
    );
  }

  private attachment(smmu: number, sid: number, pasid: number): ExpectedAttachment | null {
    const domain = this.ghost.streamDomain(smmu, sid, pasid);
    if (domain < 0) return null;
    const tag = this.facts.tagOf(domain);
    return { domain: tag, root: this.reader.domainRoot(domain), stalls: this.ghost.stalls(smmu, sid, pasid) };
  }

  /** Address of a stream's entry, 0 when there is none. */
  private steOf(smmu: number, sid: number): number {
    const { reader, facts } = this;
    const table = reader.streamTable(smmu);
    const split = reader.streamTableSplit(smmu);
    if (sid >= 2 ** reader.streamTableLog2(smmu)) return 0;
    if (split === 0) return table + sid * STE_BYTES;
    const i = facts.memory.indexOf(table + 8 * Math.floor(sid / 2 ** split));
    const hi = facts.memory.words[i + 1]!;
    const lo = facts.memory.words[i]!;
    const index = sid % 2 ** split;
    return index < l1stdEntries(lo, split) ? l1stdL2Ptr(hi, lo) + index * STE_BYTES : 0;
  }

  /** The record of one VM. */
  vm(slot: number): void {
    const { ghost, reader } = this;
    const handle = hex(VM_HANDLE_BASE + slot);
    if (reader.vmLock(slot) !== 0) this.findings.add('lock', 'vm', `the lock of VM ${handle} is held`, { slot });
    const life = ghost.vms.life(slot);
    const exists = life >= VmLife.live;
    if (!this.isVmAsWas(slot)) {
      const said = vmText(reader.vmState(slot), reader.vmProtected(slot), reader.vmVcpus(slot), reader.vmRoot(slot));
      const pgd = exists ? this.facts.paOf(ghost.vms.pgd(slot)) : 0;
      const wanted = vmText(life, ghost.vms.isProtected(slot), ghost.vms.vcpus(slot), pgd);
      this.differs('ownership', 'vm-record', `the record of VM ${handle} says ${said}; it must say ${wanted}`, {
        slot,
      });
    }
    const loads = reader.vmLoads(slot);
    const pages = reader.vmPages(slot);
    if (loads === ghost.vms.loads(slot) && (!exists || pages === ghost.vms.pages(slot))) return;
    const text =
      `the record of VM ${handle} counts ${pages} pages and ${loads} loaded vCPUs; ` +
      `it must be ${ghost.vms.pages(slot)} and ${ghost.vms.loads(slot)}`;
    this.differs('accounting', 'vm-record', text, { slot, pages, loads });
  }

  /** Whether the record of a VM, its counts left out, says what the ghost says. */
  isVmAsWas(slot: number): boolean {
    const { ghost, reader } = this;
    const life = ghost.vms.life(slot);
    if (reader.vmState(slot) !== life) return false;
    if (life < VmLife.live) return true;
    return (
      reader.vmProtected(slot) === ghost.vms.isProtected(slot) &&
      reader.vmVcpus(slot) === ghost.vms.vcpus(slot) &&
      reader.vmRoot(slot) === this.facts.paOf(ghost.vms.pgd(slot))
    );
  }

  /** The record of one device of the registry, with its streams and register ranges. */
  device(index: number): void {
    const { reader } = this;
    const wanted = this.facts.registry[index];
    const context = this.ghost.deviceContext(index);
    if (reader.deviceContext(index) !== context || reader.deviceRefs(index) !== 0) {
      const text =
        `device ${index} of the registry is with ${hex(reader.deviceContext(index))} and has ${reader.deviceRefs(index)} ` +
        `references; it must be with ${hex(context)} and have none`;
      this.differs('ownership', 'device-context', text, { device: index });
    }
    const streams = wanted?.streams.flatMap(({ smmu, sid }) => [smmu, sid]) ?? [];
    const resources = wanted?.resources.flatMap(({ base, size }) => [base, size]) ?? [];
    const same =
      wanted !== undefined &&
      reader.deviceGroup(index) === wanted.group &&
      String(reader.deviceStreams(index)) === String(streams) &&
      String(reader.deviceResources(index)) === String(resources);
    if (same) return;
    const text = `device ${index} of the registry is not the one that the machine has`;
    this.differs('structure', 'device-record', text, { device: index });
  }

  /** The records of paravirtual IOMMUs, and which of the guests' domain ids are taken. */
  guestTables(): void {
    const { ghost, reader } = this;
    if (!this.facts.profile.has('pviommu_attach')) return;
    for (let n = 0; n < PVIOMMU_COUNT; n++) {
      const found = reader.pviommu(n);
      const expected = ghost.pviommu(n).subarray(0, found.length);
      if (expected[4] === found[4] && found.every((word, i) => word === expected[i])) continue;
      this.differs('structure', 'pviommu-record', `the record of paravirtual IOMMU ${n} is not what was asked for`, {
        n,
      });
    }
    const { hostCount, count } = this.facts.profile.domains;
    for (let id = hostCount; id < count; id++) {
      if (reader.isGuestDomainTaken(id - hostCount) === (ghost.domainOwner(id) !== 0)) continue;
      const is = ghost.domainOwner(id) === 0 ? 'nobody’s' : `VM ${hex(ghost.domainOwner(id))}'s`;
      this.differs('ownership', 'guest-domains', `the bit of domain id ${id} is wrong: it is ${is}`, { domain: id });
    }
  }

  /** The record of one CPU: the loaded VM, and that no request is left. */
  cpu(cpu: number): void {
    const slot = this.ghost.vms.loadedOn(cpu);
    const expected = slot < 0 ? 0 : VM_HANDLE_BASE + slot;
    const loaded = this.reader.loadedVm(cpu);
    if (loaded !== expected) {
      const text = `CPU ${cpu} has VM ${hex(loaded)} loaded; it must be ${hex(expected)}`;
      this.differs('ownership', 'loaded-vm', text, { cpu });
    }
    const type = this.reader.requestType(cpu);
    if (type === 0) return;
    const text = `a memory request of type ${type} is left for CPU ${cpu} after a call that does not return it`;
    this.findings.add('unchanged', 'request-left', text, { cpu, type });
  }

  private power(smmu: number): void {
    const [is, must] = this.ghost.smmuOff(smmu) ? ['on', 'off'] : ['off', 'on'];
    const text = `the record of SMMU ${smmu} says that it is ${is}; it must be ${must}`;
    this.differs('structure', 'power', text, { smmu });
  }

  /** Locks that every call may take, whether the SMMUs are on, and counts that any call may change. */
  locks(): void {
    const held = this.reader.heldLock();
    if (held !== null) this.findings.add('lock', 'global', `the ${held} is held`, {});
    for (let i = 0; i < this.facts.description.smmus.length; i++) {
      if (this.reader.smmuLock(i) !== 0)
        this.findings.add('lock', 'smmu', `the lock of SMMU ${i} is held`, { smmu: i });
      if (this.reader.smmuOff(i) !== this.ghost.smmuOff(i)) this.power(i);
      if (this.reader.identityStreams(i) !== this.ghost.identityStreams(i)) this.identityStreams(i);
    }
    for (const pool of POOLS)
      if (this.reader.poolTotalPages(pool) !== this.ghost.pages.poolPages(pool)) this.poolTotal(pool);
  }

  private identityStreams(smmu: number): void {
    const streams = this.reader.identityStreams(smmu);
    const expected = this.ghost.identityStreams(smmu);
    const text = `the record of SMMU ${smmu} counts ${streams} streams with identity; it must be ${expected}`;
    this.differs('accounting', 'identity-streams', text, { smmu, streams, expected });
  }

  private poolTotal(pool: number): void {
    const pages = this.reader.poolTotalPages(pool);
    const expected = this.ghost.pages.poolPages(pool);
    const text = `pool ${pool} counts ${pages} pages that were given to it and not given back; it must be ${expected}`;
    this.differs('accounting', 'pool-total', text, { pool, pages, expected });
  }
}

/** What a record of a VM says; of one that does not live only its state counts. */
function vmText(life: number, isProtected: boolean, vcpus: number, pgd: number): string {
  if (life < VmLife.live) return `state ${life}`;
  return `state ${life}, ${isProtected ? 'protected' : 'not protected'}, ${vcpus} vCPUs, first table at ${hex(pgd)}`;
}
