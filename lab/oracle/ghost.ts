/**
 * The ghost: what the calls so far have made of pages, domains, streams, VMs and CPUs, kept by the oracle and never by
 * the hypervisor. Every word is journaled, so it goes back in time with the machine.
 */

import { PVIOMMU_COUNT, PVIOMMU_ROUTES_MAX } from '#hyp/layout';
import { VM_HANDLE_BASE } from '#hypercall-abi';
import { type PhysicalMemory, StateClass } from '#machine/memory';
import { type Facts, PAGE } from './facts.ts';
import { GhostPages, Owner } from './ghost-pages.ts';
import { GhostVms } from './ghost-vms.ts';
import { JournaledTable } from './journaled-table.ts';
import { leafHash } from './leaf.ts';
import { LEAF_BYTES, Maplets } from './maplets.ts';

/** A power of two, so that no record lies across two pages of its file. */
const DOMAIN_STRIDE = 16;
const SMMU_STRIDE = 2;
const D = { used: 0, stage: 1, smmu: 2, attached: 3, maplets: 4, hashA: 5, hashB: 6, leaves: 7, type: 8 } as const;
/** Words of an attachment: of a stream (PASID 0) or of one PASID of it. */
const A = { domain: 0, stalls: 1, bits: 2, pasids: 3 } as const;
const ATTACHMENT_WORDS = 4;
/** PASIDs have 20 bits. */
const PASID_BITS = 20;
/** A paravirtual IOMMU: address of the description (two words), id, handle of the VM, routes of three words each. */
const P = { kvmLo: 0, kvmHi: 1, id: 2, vm: 3, count: 4, routes: 5 } as const;
const PVIOMMU_STRIDE = P.routes + 3 * PVIOMMU_ROUTES_MAX;

export class Ghost {
  readonly memory: PhysicalMemory;
  readonly pages: GhostPages;
  readonly vms: GhostVms;
  readonly maplets: Maplets;
  private readonly facts: Facts;
  private readonly domains: number;
  private readonly devices: number;
  private readonly leaks: number;
  private readonly smmus: number;
  private readonly unanswered: number;
  private readonly streams: JournaledTable;
  /** Streams by domain and SMMU. */
  private readonly smmuStreams: JournaledTable;
  /** Those of them whose attach was not answered. */
  private readonly lostStreams: JournaledTable;
  /** By domain: handle of the VM that has the id, 0 for the host. */
  private readonly domainOwners: number;
  private readonly pviommus: number;
  private readonly resources: number;

  constructor(facts: Facts) {
    const { memory } = facts;
    const file = (words: number): number => memory.allocFile(words, StateClass.derived);
    this.facts = facts;
    this.memory = memory;
    this.pages = new GhostPages(facts);
    this.vms = new GhostVms(facts);
    this.unanswered = file(1);
    this.domains = file(facts.profile.domains.count * DOMAIN_STRIDE);
    this.leaks = file(1);
    this.devices = file(Math.max(1, facts.registry.length));
    this.smmus = file(facts.description.smmus.length * SMMU_STRIDE);
    this.domainOwners = file(facts.profile.domains.count);
    this.pviommus = file(PVIOMMU_COUNT * PVIOMMU_STRIDE);
    this.resources = file(Math.max(1, facts.resources.length));
    this.maplets = new Maplets(memory);
    this.streams = new JournaledTable(memory, ATTACHMENT_WORDS);
    this.smmuStreams = new JournaledTable(memory, 1);
    this.lostStreams = new JournaledTable(memory, 1);
  }

  private add(at: number, delta: number): void {
    this.memory.put(at, this.memory.words[at]! + delta);
  }

  // ---- domains

  private domain(id: number): number {
    return this.domains + id * DOMAIN_STRIDE;
  }

  domainUsed(id: number): boolean {
    return this.memory.words[this.domain(id) + D.used] !== 0;
  }

  domainSmmu(id: number): number {
    return this.memory.words[this.domain(id) + D.smmu]!;
  }

  /** Translation stage; 0 while the domain has no table. */
  domainStage(id: number): number {
    return this.memory.words[this.domain(id) + D.stage]!;
  }

  /** Streams that translate through the domain. */
  domainAttached(id: number): number {
    return this.memory.words[this.domain(id) + D.attached]!;
  }

  domainHashA(id: number): number {
    return this.memory.words[this.domain(id) + D.hashA]!;
  }

  domainHashB(id: number): number {
    return this.memory.words[this.domain(id) + D.hashB]!;
  }

  domainLeaves(id: number): number {
    return this.memory.words[this.domain(id) + D.leaves]!;
  }

  /** The domain's set of maplets; good while it is in use. */
  domainMaplets(id: number): number {
    return this.memory.words[this.domain(id) + D.maplets]!;
  }

  /** Type it was allocated with, where that decides the stage later; else 0. */
  domainType(id: number): number {
    return this.memory.words[this.domain(id) + D.type]!;
  }

  /** Streams of the domain behind one SMMU. */
  domainStreams(id: number, smmu: number): number {
    const at = this.smmuStreams.find(id, smmu);
    return at < 0 ? 0 : this.memory.words[at]!;
  }

  /** Streams of the domain behind one SMMU whose attach succeeded: through them its tables are there. */
  domainRoutes(id: number, smmu: number): number {
    const at = this.lostStreams.find(id, smmu);
    return this.domainStreams(id, smmu) - (at < 0 ? 0 : this.memory.words[at]!);
  }

  /** A domain without a table: the first attach will {@link bindDomain}. */
  makeUnbound(id: number, type: number): void {
    this.makeDomain(id, 0, 0);
    this.memory.put(this.domain(id) + D.type, type);
  }

  /** The domain has got its table, for that stage and SMMU. */
  bindDomain(id: number, stage: number, smmu: number): void {
    this.memory.put(this.domain(id) + D.stage, stage);
    this.memory.put(this.domain(id) + D.smmu, smmu);
  }

  /** Handle of the VM that has the id, 0 for the host. */
  domainOwner(id: number): number {
    return this.memory.words[this.domainOwners + id]!;
  }

  setDomainOwner(id: number, vm: number): void {
    this.memory.put(this.domainOwners + id, vm);
  }

  /** How many of `count` pages from `page` on may be reached by domain `id`, up to the first that may not. */
  reachableRun(id: number, page: number, count: number): number {
    if (id < 0 || this.domainOwner(id) === 0) return this.pages.ownedRun(page, count, Owner.host);
    let n = 0;
    while (n < count && this.mayReach(id, page + n)) n++;
    return n;
  }

  /** Whether what a domain (-1: none) leads to may be that page: only its owner's own. */
  mayReach(id: number, page: number): boolean {
    const vm = id < 0 ? 0 : this.domainOwner(id);
    const owner = this.pages.owner(page);
    if (vm === 0) return owner === Owner.host;
    return owner === Owner.guest && this.pages.ownerVm(page) === vm - VM_HANDLE_BASE;
  }

  makeDomain(id: number, stage: number, smmu: number): void {
    const at = this.domain(id);
    this.memory.put(at + D.used, 1);
    this.memory.put(at + D.stage, stage);
    this.memory.put(at + D.smmu, smmu);
    this.memory.put(at + D.attached, 0);
    this.memory.put(at + D.maplets, this.maplets.make());
  }

  freeDomain(id: number, touched: (page: number) => void): void {
    const at = this.domain(id);
    const root = this.memory.words[at + D.maplets]!;
    this.maplets.forEach(root, (_iova, level, leaf) => {
      this.count(this.maplets.targetPage(leaf), level, -1, touched);
    });
    this.maplets.free(root);
    for (let i = 0; i < DOMAIN_STRIDE; i++) this.memory.put(at + i, 0);
  }

  addMaplet(
    id: number,
    iova: number,
    level: number,
    targetPage: number,
    meaning: number,
    touched: (page: number) => void,
  ): void {
    const { maplets } = this;
    const root = this.domainMaplets(id);
    const at = maplets.find(root, iova, level);
    if (maplets.level === level && !maplets.isNode(at)) maplets.insertFound(at, targetPage, meaning);
    else maplets.insert(root, iova, level, targetPage, meaning);
    this.weigh(id, iova, level, targetPage, meaning, 1, touched);
  }

  /** Remove every maplet at or below the slot of `level` at `iova`. */
  removeMaplets(id: number, iova: number, level: number, touched: (page: number) => void): void {
    const { maplets } = this;
    const root = this.domainMaplets(id);
    const at = maplets.find(root, iova, level);
    if (maplets.level !== level) return;
    if (maplets.isLeaf(at)) {
      this.weigh(id, iova, level, maplets.targetPage(at), maplets.meaning(at), -1, touched);
      maplets.removeFound(at);
      return;
    }
    maplets.forEachBelow(at, level, iova, (leafIova, leafLevel, leaf) => {
      this.weigh(id, leafIova, leafLevel, maplets.targetPage(leaf), maplets.meaning(leaf), -1, touched);
      maplets.remove(root, leafIova, leafLevel);
    });
  }

  private weigh(
    id: number,
    iova: number,
    level: number,
    targetPage: number,
    meaning: number,
    sign: number,
    touched: (page: number) => void,
  ): void {
    const at = this.domain(id);
    const iovaPage = iova / LEAF_BYTES[3]!;
    // Side by side: one entry of the journal for all three.
    const words = this.memory.edit(at + D.hashA, 3);
    words[at + D.hashA]! += sign * leafHash(iovaPage, level, targetPage, meaning, false);
    words[at + D.hashB]! += sign * leafHash(iovaPage, level, targetPage, meaning, true);
    words[at + D.leaves]! += sign;
    this.count(targetPage, level, sign, touched);
  }

  /** Count a leaf on every page of RAM that it leads to. */
  private count(targetPage: number, level: number, sign: number, touched: (page: number) => void): void {
    const { facts } = this;
    if (level === 3) {
      const page = facts.pageOf(targetPage * PAGE);
      if (page >= 0) this.pages.countLeaf(page, 1, sign, touched);
      return;
    }
    facts.forEachRamPiece(targetPage * PAGE, LEAF_BYTES[level]!, (first, pages) => {
      this.pages.countLeaf(first, pages, sign, touched);
    });
  }

  /** Whether a call was ever made while an SMMU did not answer: what hardware may have kept then is lost for good. */
  get mayHaveLost(): boolean {
    return this.memory.words[this.unanswered] !== 0;
  }

  setMayHaveLost(): void {
    this.memory.put(this.unanswered, 1);
  }

  // ---- devices of the registry

  /** Handle of the VM that the device is with, 0 for the host. */
  deviceContext(device: number): number {
    return this.memory.words[this.devices + device]!;
  }

  setDeviceContext(device: number, vm: number): void {
    this.memory.put(this.devices + device, vm);
  }

  /** Whether the host has given register range number `resource` up. */
  isGiven(resource: number): boolean {
    return this.memory.words[this.resources + resource] !== 0;
  }

  setGiven(resource: number, given: boolean): void {
    this.memory.put(this.resources + resource, given ? 1 : 0);
  }

  // ---- paravirtual IOMMUs

  /** Record of number `n` as words: address of the description (lo, hi), id, handle, count, routes (SMMU, StreamID, virtual one). */
  pviommu(n: number): Int32Array {
    const at = this.pviommus + n * PVIOMMU_STRIDE;
    return this.memory.words.subarray(at, at + PVIOMMU_STRIDE);
  }

  setPviommuWord(n: number, word: number, value: number): void {
    this.memory.put(this.pviommus + n * PVIOMMU_STRIDE + word, value);
  }

  clearPviommu(n: number): void {
    for (let word = 0; word < PVIOMMU_STRIDE; word++) this.setPviommuWord(n, word, 0);
  }

  // ---- streams

  /** Index of the words of an attachment, or -1. */
  private attachment(smmu: number, sid: number, pasid: number): number {
    return this.streams.find(sid | 0, (smmu << PASID_BITS) | pasid);
  }

  private attachmentWord(smmu: number, sid: number, pasid: number, word: number, none: number): number {
    const at = this.attachment(smmu, sid, pasid);
    return at < 0 ? none : this.memory.words[at + word]!;
  }

  /** The domain that a PASID of a stream is attached to, or -1. PASID 0 is the stream itself. */
  streamDomain(smmu: number, sid: number, pasid = 0): number {
    return this.attachmentWord(smmu, sid, pasid, A.domain, -1);
  }

  /** Whether faults of that attachment stall. */
  stalls(smmu: number, sid: number, pasid: number): boolean {
    return this.attachmentWord(smmu, sid, pasid, A.stalls, 0) !== 0;
  }

  /** log2 of the PASIDs that an attached stream has room for. */
  pasidBits(smmu: number, sid: number): number {
    return this.attachmentWord(smmu, sid, 0, A.bits, 0);
  }

  /** PASIDs of a stream that are attached, 0 left out. */
  pasids(smmu: number, sid: number): number {
    return this.attachmentWord(smmu, sid, 0, A.pasids, 0);
  }

  /** @param bits log2 of the PASIDs that there is room for; only for PASID 0 */
  attach(smmu: number, sid: number, pasid: number, id: number, stalls: boolean, bits: number): void {
    const at = this.streams.insert(sid | 0, (smmu << PASID_BITS) | pasid);
    this.memory.put(at + A.domain, id);
    this.memory.put(at + A.stalls, stalls ? 1 : 0);
    this.memory.put(at + A.bits, bits);
    this.add(this.domain(id) + D.attached, 1);
    this.add(this.smmuStreams.insert(id, smmu), 1);
    this.addPasid(smmu, sid, pasid, 1);
  }

  detach(smmu: number, sid: number, pasid: number): void {
    const at = this.attachment(smmu, sid, pasid);
    if (at < 0) return;
    const id = this.memory.words[at + A.domain]!;
    this.add(this.domain(id) + D.attached, -1);
    this.add(this.smmuStreams.insert(id, smmu), -1);
    if (this.domainStreams(id, smmu) === 0) this.smmuStreams.remove(id, smmu);
    this.streams.remove(sid | 0, (smmu << PASID_BITS) | pasid);
    this.addPasid(smmu, sid, pasid, -1);
  }

  private addPasid(smmu: number, sid: number, pasid: number, delta: number): void {
    const stream = pasid === 0 ? -1 : this.attachment(smmu, sid, 0);
    if (stream >= 0) this.add(stream + A.pasids, delta);
  }

  /** A stream was to be attached, but hardware has not answered: the domain stays referenced for good. */
  loseReference(id: number, smmu: number): void {
    this.add(this.domain(id) + D.attached, 1);
    this.add(this.smmuStreams.insert(id, smmu), 1);
    this.add(this.lostStreams.insert(id, smmu), 1);
  }

  /** Hardware has answered about every stream that the domain may be referenced by: nothing is lost any more. */
  findReferences(id: number): void {
    const smmu = this.domainSmmu(id);
    const at = this.lostStreams.find(id, smmu);
    if (at < 0) return;
    const lost = this.memory.words[at]!;
    this.add(this.domain(id) + D.attached, -lost);
    this.add(this.smmuStreams.insert(id, smmu), -lost);
    if (this.domainStreams(id, smmu) === 0) this.smmuStreams.remove(id, smmu);
    this.lostStreams.remove(id, smmu);
  }

  // ---- what is lost for good

  /** Hardware was asked something that it does not answer: tables that it may still use are never given back. */
  mayLeak(): void {
    if (!this.hasLeaked) this.memory.put(this.leaks, 1);
  }

  get hasLeaked(): boolean {
    return this.memory.words[this.leaks] !== 0;
  }

  // ---- SMMUs

  smmuOff(smmu: number): boolean {
    return this.memory.words[this.smmus + smmu * SMMU_STRIDE] !== 0;
  }

  setSmmuOff(smmu: number, off: boolean): void {
    this.memory.put(this.smmus + smmu * SMMU_STRIDE, off ? 1 : 0);
  }

  /** Streams of an SMMU that use, or may still use, the identity domain. */
  identityStreams(smmu: number): number {
    return this.memory.words[this.smmus + smmu * SMMU_STRIDE + 1]!;
  }

  addIdentityStream(smmu: number, delta: number): void {
    this.add(this.smmus + smmu * SMMU_STRIDE + 1, delta);
  }
}
