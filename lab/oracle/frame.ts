/**
 * The frame: a call may write what the hypervisor has, and nothing else. Pages that are the host's or one guest's before
 * the call and after it hold afterwards what they held before. Where the memory keeps a journal, what it says of the call
 * is gone through after every call, and, where locked sections are looked at, after each of them: what was written in
 * between and put back counts, too. Else pages are compared by their hashes, around calls that a full check follows.
 */

import { PAGE_SHIFT, type PhysicalMemory } from '#machine/memory';
import { type Facts, PAGE, type Range } from './facts.ts';
import { type Findings, hex } from './findings.ts';
import type { Ghost } from './ghost.ts';
import { Owner } from './ghost-pages.ts';
import type { NumberList } from './touched.ts';

/** How a call is watched. */
const Watch = { not: 0, journal: 1, hashes: 2 } as const;
/** From the index of a word to its slot. */
const SLOT_SHIFT = PAGE_SHIFT - 2;

export class Frame {
  private readonly facts: Facts;
  private readonly memory: PhysicalMemory;
  private readonly ghost: Ghost;
  private readonly findings: Findings;
  // Scratch of one call.
  private watch: number = Watch.not;
  private mark = -1;
  /** Two lanes of hash per slot, and whose its page was. */
  private hashes = new Int32Array(0);
  private owners = new Uint8Array(0);
  private slots = 0;
  /** Pages whose owner has changed, and the slot that was spoken of last. */
  private moved: NumberList | null = null;
  private reported = 0;
  /** What {@link wroteOnly} asks for, and its answer. */
  private onlySlot = 0;
  private onlyIndex = 0;
  private isOnly = false;
  /** Addresses that were seen changed in the call, in pages that were not the hypervisor's before it. */
  private readonly noted = new Map<number, number>();

  constructor(facts: Facts, ghost: Ghost, findings: Findings) {
    this.facts = facts;
    this.memory = facts.memory;
    this.ghost = ghost;
    this.findings = findings;
  }

  /** Whose page is in the slot: 0 nobody's or the hypervisor's, else a number for the host and for each guest. */
  private ownerOf(slot: number): number {
    const pa = this.memory.paOfSlot(slot);
    const page = pa < 0 ? -1 : this.facts.pageOf(pa);
    if (page < 0) return 0;
    const owner = this.ghost.pages.owner(page);
    return owner === Owner.hyp ? 0 : owner === Owner.host ? 1 : 2 + this.ghost.pages.ownerVm(page);
  }

  /** Pages of the host that may be written while a call is made. */
  private readonly shared = new Set<number>();

  /**
   * Calls may write to these ranges of the host's pages, and to no others: what both sides use, and event queues, which
   * hardware writes whenever a call lets it.
   */
  allow(ranges: readonly Range[]): void {
    this.shared.clear();
    for (const { base, size } of ranges) {
      for (let pa = base; pa < base + size; pa += PAGE) this.shared.add(this.facts.pageOf(pa));
    }
  }

  /** A call is about to be made. @param thorough whether hashes may be taken if there is no journal */
  begin(thorough: boolean): void {
    this.mark = this.memory.logged;
    if (this.noted.size !== 0) this.noted.clear();
    this.watch = this.mark >= 0 ? Watch.journal : thorough ? Watch.hashes : Watch.not;
    if (this.watch === Watch.hashes) this.takeHashes();
  }

  /** A locked section of the call is over: remember what it has changed of what is not the hypervisor's. */
  look(): void {
    if (this.watch !== Watch.journal) return;
    this.reported = 0;
    this.memory.eachLoggedRun(this.mark, this.note);
  }

  private readonly note = (start: number, count: number, log: Int32Array, at: number): void => {
    const pa = this.changed(start, count, log, at);
    if (pa < 0) return;
    const page = this.facts.pageOf(pa);
    if (!this.noted.has(page)) this.noted.set(page, pa);
  };

  /**
   * Where a run of words of the journal has changed something in a page that is not the hypervisor's, and was not the last
   * to be reported; -1 where it has not.
   */
  private changed(start: number, count: number, log: Int32Array, at: number): number {
    const slot = start >>> SLOT_SHIFT;
    const pa = this.memory.paOfSlot(slot);
    if (pa < 0 || slot === this.reported || this.ghost.pages.owner(this.facts.pageOf(pa)) === Owner.hyp) return -1;
    const { words } = this.memory;
    let i = count - 1;
    while (i >= 0 && words[start + i] === log[at + i]) i--;
    if (i < 0) return -1;
    this.reported = slot;
    return pa + 4 * ((start + i) & ((1 << SLOT_SHIFT) - 1));
  }

  /** Whether the journal says that the call has written nothing in a slot but the 64-bit word at `index`, if that. */
  wroteOnly(slot: number, index: number): boolean {
    if (this.mark < 0) return false;
    this.onlySlot = slot;
    this.onlyIndex = index;
    this.isOnly = true;
    this.memory.eachLoggedRun(this.mark, this.noteOther);
    return this.isOnly;
  }

  private readonly noteOther = (start: number, count: number): void => {
    if (start >>> SLOT_SHIFT !== this.onlySlot) return;
    if (start < this.onlyIndex || start + count > this.onlyIndex + 2) this.isOnly = false;
  };

  /** The call has returned, and the ghost has taken over what it did. @param moved pages whose owner has changed */
  end(moved: NumberList): void {
    const { watch } = this;
    this.watch = Watch.not;
    if (watch === Watch.hashes) {
      this.compareHashes(moved);
    } else if (watch === Watch.journal) {
      this.moved = moved;
      this.reported = 0;
      this.memory.eachLoggedRun(this.mark, this.wrote);
      for (const [page, pa] of this.noted) {
        if (this.ghost.pages.owner(page) !== Owner.hyp && !moved.has(page)) this.foreign(page, pa);
      }
    }
  }

  /** Words were written in the call. Bound, so that going through the journal makes nothing. */
  private readonly wrote = (start: number, count: number, log: Int32Array, at: number): void => {
    const pa = this.changed(start, count, log, at);
    if (pa >= 0 && !this.moved!.has(this.facts.pageOf(pa))) this.foreign(this.facts.pageOf(pa), pa);
  };

  private foreign(page: number, pa: number): void {
    if (this.shared.has(page)) return;
    const name = this.ghost.pages.ownerName(page);
    this.findings.add('unchanged', 'foreign-write', `the call wrote to ${hex(pa)}, in a page of the ${name}`, {
      pa,
      owner: name,
    });
  }

  private takeHashes(): void {
    this.slots = this.memory.bytesInUse() / PAGE;
    if (this.owners.length < this.slots) {
      this.owners = new Uint8Array(2 * this.slots);
      this.hashes = new Int32Array(4 * this.slots);
    }
    for (let slot = 1; slot < this.slots; slot++) {
      const owner = this.ownerOf(slot);
      this.owners[slot] = owner;
      if (owner !== 0) this.hashes.set(this.memory.pageHash(slot), 2 * slot);
    }
  }

  private compareHashes(moved: NumberList): void {
    const slots = this.memory.bytesInUse() / PAGE;
    for (let slot = 1; slot < slots; slot++) {
      const owner = this.ownerOf(slot);
      const known = slot < this.slots;
      if (owner === 0 || (known && this.owners[slot] !== owner)) continue;
      // A page that had no slot before was all zero, whose hash is (0, 0).
      const [a, b] = this.memory.pageHash(slot);
      if (a === (known ? this.hashes[2 * slot] : 0) && b === (known ? this.hashes[2 * slot + 1] : 0)) continue;
      const pa = this.memory.paOfSlot(slot);
      const page = this.facts.pageOf(pa);
      if (!moved.has(page)) this.foreign(page, pa);
    }
  }
}
