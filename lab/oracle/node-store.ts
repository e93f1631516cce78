/**
 * Words of the reach graph: nodes (pages that hold translation tables, context descriptors or stream tables that
 * hardware may use) and tags (what a TLB entry is marked with on one SMMU). Storage only; the rules are in reach.ts.
 */

import { type PhysicalMemory, StateClass } from '#machine/memory';
import type { Facts } from './facts.ts';
import { JournaledTable } from './journaled-table.ts';
import { RecordFile } from './record-file.ts';

/** What lies in a node's page. */
export const NodeKind = { table: 1, cd: 2, ste: 3, l1std: 4 } as const;

/** How hardware may come to a node: not at all, from live structures, only from what may still be cached. */
export const Reached = { none: 0, live: 1, stale: 2 } as const;

/** Words of a node. */
export const N = {
  /** Kind, level << 4, stage << 8, SMMU << 12. */
  what: 0,
  page: 1,
  tag: 2,
  /** Pointers to it in live structures. */
  liveRefs: 3,
  /** Pointers to it that may still be cached. */
  staleRefs: 4,
  /** Next node in the same page. */
  nextInPage: 5,
  /** Next page of the same structure (concatenated tables, stream tables of several pages). */
  sibling: 6,
  /** First input address that it translates, in pages. */
  iovaLo: 7,
  iovaHi: 8,
  /** Stream of a CD, first stream of a stream table. */
  sid: 9,
  /** Byte offset of a CD in its page. */
  offset: 10,
  /** Node of the table that a CD leads to, and the tag it gives. */
  linked: 11,
  linkedTag: 12,
  /** One of {@link Reached}: what its content counts as now. */
  reached: 13,
  /** Valid descriptors in a table; entries of a stream table in this page. */
  valid: 14,
  /** Set for what the host gave at boot: it is in no pool. */
  boot: 15,
} as const;
const NODE_STRIDE = 16;

/** Words of a tag. */
export const T = {
  smmu: 0,
  stage: 1,
  vmid: 2,
  /** -1 at stage 2. */
  asid: 3,
  /** Live stream table entries or CDs that lead here. */
  attached: 4,
  /** The same that may still be cached. */
  staleRoutes: 5,
  /** 0 nothing is cached; 1 what is in the tables may be; 2 a whole-tag invalidation waits for its SYNC. */
  heat: 6,
  /** Entries of the stale set with this tag. */
  staleEntries: 7,
  hashA: 8,
  hashB: 9,
  leaves: 10,
  /** Domain whose tag it is, plus 1. */
  domain: 11,
} as const;
const TAG_STRIDE = 12;

export class NodeStore {
  readonly memory: PhysicalMemory;
  readonly nodes: RecordFile;
  readonly tags: RecordFile;
  private readonly byPage: number;
  private readonly tagTable: JournaledTable;

  constructor({ memory, pages }: Facts) {
    this.memory = memory;
    this.nodes = new RecordFile(memory, NODE_STRIDE, 6);
    this.tags = new RecordFile(memory, TAG_STRIDE, 6);
    this.byPage = memory.allocFile(pages, StateClass.derived);
    this.tagTable = new JournaledTable(memory, 1);
  }

  node(id: number, word: number): number {
    return this.memory.words[this.nodes.at(id) + word]!;
  }

  setNode(id: number, word: number, value: number): void {
    this.memory.put(this.nodes.at(id) + word, value);
  }

  addNode(id: number, word: number, delta: number): number {
    const at = this.nodes.at(id) + word;
    const value = this.memory.words[at]! + delta;
    this.memory.put(at, value);
    return value;
  }

  tag(id: number, word: number): number {
    return this.memory.words[this.tags.at(id) + word]!;
  }

  setTag(id: number, word: number, value: number): void {
    this.memory.put(this.tags.at(id) + word, value);
  }

  addTag(id: number, word: number, delta: number): number {
    const at = this.tags.at(id) + word;
    const value = this.memory.words[at]! + delta;
    this.memory.put(at, value);
    return value;
  }

  /** First node in a page, 0 for none; go on with {@link N.nextInPage}. */
  firstIn(page: number): number {
    return this.memory.words[this.byPage + page]!;
  }

  kind(id: number): number {
    return this.node(id, N.what) & 0xf;
  }

  level(id: number): number {
    return (this.node(id, N.what) >>> 4) & 0xf;
  }

  stage(id: number): number {
    return (this.node(id, N.what) >>> 8) & 0xf;
  }

  smmu(id: number): number {
    return this.node(id, N.what) >>> 12;
  }

  /** First input page of a node's table. */
  iovaPage(id: number): number {
    const at = this.nodes.at(id);
    return this.memory.words[at + N.iovaHi]! * 4294967296 + (this.memory.words[at + N.iovaLo]! >>> 0);
  }

  makeNode(page: number, kind: number, level: number, stage: number, smmu: number): number {
    const id = this.nodes.alloc();
    this.setNode(id, N.what, kind | (level << 4) | (stage << 8) | (smmu << 12));
    this.setNode(id, N.page, page);
    const head = this.byPage + page;
    if (this.memory.words[head] !== 0) this.setNode(id, N.nextInPage, this.memory.words[head]!);
    this.memory.put(head, id);
    return id;
  }

  /** Take a node out of its page and free it. */
  dropNode(id: number): void {
    const head = this.byPage + this.node(id, N.page);
    const next = this.node(id, N.nextInPage);
    let before = this.memory.words[head]!;
    if (before === id) {
      this.memory.put(head, next);
    } else {
      while (this.node(before, N.nextInPage) !== id) before = this.node(before, N.nextInPage);
      this.setNode(before, N.nextInPage, next);
    }
    this.nodes.free(id);
  }

  /** The tag with those values on that SMMU, made when it is new. `asid` is -1 at stage 2. */
  tagFor(smmu: number, stage: number, vmid: number, asid: number): number {
    const at = this.tagTable.insert((smmu << 8) | stage, (vmid << 16) | (asid & 0xffff));
    const known = this.memory.words[at]!;
    if (known !== 0) return known;
    const id = this.tags.alloc();
    this.memory.put(at, id);
    this.setTag(id, T.smmu, smmu);
    this.setTag(id, T.stage, stage);
    this.setTag(id, T.vmid, vmid);
    this.setTag(id, T.asid, asid);
    return id;
  }
}
