/**
 * The frame: a call may write what the hypervisor has, and nothing else. Pages that are the host's or one guest's before
 * the call and after it hold afterwards what they held before. Compared by hashes of pages, where a full check follows.
 */

import type { PhysicalMemory } from '#machine/memory';
import { type Facts, PAGE } from './facts.ts';
import { type Findings, hex } from './findings.ts';
import { type Ghost, Owner } from './ghost.ts';
import type { NumberList } from './touched.ts';

export class Frame {
  private readonly facts: Facts;
  private readonly memory: PhysicalMemory;
  private readonly ghost: Ghost;
  private readonly findings: Findings;
  /** Two lanes of hash per slot, and whose its page was. Scratch of one call. */
  private hashes = new Int32Array(0);
  private owners = new Uint8Array(0);
  private slots = 0;

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
    const owner = this.ghost.owner(page);
    return owner === Owner.hyp ? 0 : owner === Owner.host ? 1 : 2 + this.ghost.ownerVm(page);
  }

  /** A call is about to be made. */
  begin(): void {
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

  /** The call has returned, and the ghost has taken over what it did. @param moved pages whose owner has changed */
  end(moved: NumberList): void {
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
      if (moved.has(page)) continue;
      const name = this.ghost.ownerName(page);
      const text = `the call wrote to ${hex(pa)}, a page of the ${name}`;
      this.findings.add('unchanged', 'foreign-write', text, { pa, owner: name });
    }
  }
}
