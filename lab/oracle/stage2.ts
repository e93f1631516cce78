/**
 * The CPUs' stage 2, decoded: 4 KiB granule, four levels, 48-bit input. The host's is an identity map in which an
 * invalid entry that is not zero names the owner that keeps the host out; a guest's leaf carries the page state in
 * software bits 56:55.
 */

import { OwnerId, PageState } from '#hyp/layout';
import {
  Access,
  DescriptorKind,
  descriptorKind,
  nextTableAddress,
  outputAddress,
  s2Permissions,
} from './decode/index.ts';
import { type Facts, PAGE } from './facts.ts';
import { type Findings, hex } from './findings.ts';
import { type Ghost, Owner } from './ghost.ts';
import type { LayoutReader } from './layout-reader.ts';
import { LEAF_BYTES } from './maplets.ts';

const OWNER_SHIFT = 2;
const OWNER_BITS = 0xff;
const STATE_SHIFT_HI = 23;

export class Stage2 {
  private readonly facts: Facts;
  private readonly ghost: Ghost;
  private readonly findings: Findings;
  private readonly reader: LayoutReader;
  private hi = 0;
  private lo = 0;
  private level = 0;

  constructor(facts: Facts, ghost: Ghost, findings: Findings, reader: LayoutReader) {
    this.facts = facts;
    this.ghost = ghost;
    this.findings = findings;
    this.reader = reader;
  }

  /** Find the entry that decides `ipa`; left in hi, lo, level. @returns whether all tables on the way are RAM */
  private walk(root: number, ipa: number): boolean {
    const { memory } = this.facts;
    let table = root;
    for (let level = 0; level <= 3; level++) {
      if (this.facts.pageOf(table) < 0) return false;
      const i = memory.indexOf(table + 8 * (Math.floor(ipa / LEAF_BYTES[level]!) % 512));
      this.lo = memory.words[i]!;
      this.hi = memory.words[i + 1]!;
      this.level = level;
      if (descriptorKind(level, this.hi, this.lo) !== DescriptorKind.table) return true;
      table = nextTableAddress(this.hi, this.lo);
    }
    return true;
  }

  /** Check what the host's stage 2 says of one page of RAM. `property` is what a difference breaks. */
  checkHostPage(page: number, property: 'ownership' | 'unchanged'): void {
    const pa = this.facts.paOf(page);
    if (!this.walk(this.reader.hostRoot(), pa)) {
      this.findings.add('structure', 'stage2', `the host's stage 2 has a table outside RAM on the way to ${hex(pa)}`, {
        pa,
      });
      return;
    }
    const wrong = this.judgeHost(this.level, this.hi, this.lo, pa, this.ghost.owner(page));
    if (wrong === null) return;
    const owner = this.ghost.ownerName(page);
    this.findings.add(property, 'stage2', `the host's stage 2 ${wrong} at ${hex(pa)}, a page of the ${owner}`, {
      pa,
      owner,
    });
  }

  /** What is wrong with a host entry over `pa`, whose owner is known; null for nothing. */
  private judgeHost(level: number, hi: number, lo: number, pa: number, owner: number): string | null {
    const kind = descriptorKind(level, hi, lo);
    if (kind === DescriptorKind.invalid) {
      const annotated = (lo & 1) === 0 ? (lo >>> OWNER_SHIFT) & OWNER_BITS : -1;
      const expected = owner === Owner.host ? OwnerId.host : owner === Owner.hyp ? OwnerId.hyp : OwnerId.guest;
      return annotated === expected ? null : `names owner ${annotated}`;
    }
    if (owner !== Owner.host) return 'has a mapping';
    const span = LEAF_BYTES[level]!;
    return outputAddress(level, hi, lo) === pa - (pa % span) ? null : 'maps another page';
  }

  /** Check the whole host stage 2: every page of RAM, and that no SMMU's registers are mapped. */
  checkHost(): void {
    for (let page = 0; page < this.facts.pages; page++) this.checkHostPage(page, 'ownership');
    for (const { base } of this.facts.description.smmus) this.checkRegisters(base);
  }

  private checkRegisters(base: number): void {
    if (!this.walk(this.reader.hostRoot(), base)) return;
    if (descriptorKind(this.level, this.hi, this.lo) === DescriptorKind.invalid) return;
    this.findings.add('ownership', 'smmu-registers', `the host's stage 2 maps the SMMU at ${hex(base)}`, { pa: base });
  }

  /** After the host was let through at `ipa`: all that the entry covers must be the host's. */
  checkCovered(ipa: number): void {
    if (!this.walk(this.reader.hostRoot(), ipa)) return;
    const span = LEAF_BYTES[this.level]!;
    const start = ipa - (ipa % span);
    for (let pa = start; pa < start + span; pa += PAGE) {
      const page = this.facts.pageOf(pa);
      if (page >= 0) this.checkHostPage(page, 'ownership');
    }
    for (const { base } of this.facts.description.smmus) {
      if (base < start + span && start < base + PAGE) this.checkRegisters(base);
    }
  }

  /** Check what a guest has at one of its page numbers. */
  checkGuestPage(slot: number, gfn: number, property: 'ownership' | 'unchanged'): void {
    const { ghost } = this;
    const root = this.facts.paOf(ghost.vmPgd(slot));
    const known = this.walk(root, gfn * PAGE);
    const page = ghost.guestPage(slot, gfn);
    const kind = known ? descriptorKind(this.level, this.hi, this.lo) : DescriptorKind.invalid;
    let wrong: string | null = null;
    if (page < 0) {
      if (kind !== DescriptorKind.invalid) wrong = 'has a mapping that nobody made';
    } else if (kind !== DescriptorKind.page) {
      wrong = 'has no page mapping';
    } else if (outputAddress(3, this.hi, this.lo) !== this.facts.paOf(page)) {
      wrong = 'maps another page';
    } else {
      const state = (this.hi >>> STATE_SHIFT_HI) & 3;
      const expected = ghost.vmProtected(slot) ? PageState.owned : PageState.sharedBorrowed;
      const access = s2Permissions(this.hi, this.lo) & (Access.read | Access.write);
      if (state !== expected) wrong = `has page state ${state}`;
      else if (access !== ghost.guestAccess(slot, gfn)) wrong = `gives access ${access}`;
    }
    if (wrong !== null) {
      const text = `the stage 2 of VM slot ${slot} ${wrong} at guest page ${hex(gfn)}`;
      this.findings.add(property, 'guest-stage2', text, { slot, gfn });
    }
  }

  /** Calls `visit` with every leaf of a guest's stage 2. */
  forEachGuestLeaf(slot: number, visit: (gfn: number, pages: number) => void): void {
    this.visitTable(this.facts.paOf(this.ghost.vmPgd(slot)), 0, 0, visit, () => {});
  }

  /** Calls `visit` with each page that holds a table of the stage 2 at `root`, the root included. */
  forEachTable(root: number, visit: (pa: number) => void): void {
    this.visitTable(root, 0, 0, () => {}, visit);
  }

  private visitTable(
    table: number,
    level: number,
    gfn: number,
    leaf: (gfn: number, pages: number) => void,
    page: (pa: number) => void,
  ): void {
    page(table);
    if (this.facts.pageOf(table) < 0) return;
    const { memory } = this.facts;
    const pages = LEAF_BYTES[level]! / PAGE;
    for (let i = 0; i < 512; i++) {
      const at = memory.indexOf(table + 8 * i);
      const lo = memory.words[at]!;
      const hi = memory.words[at + 1]!;
      const kind = descriptorKind(level, hi, lo);
      if (kind === DescriptorKind.table) {
        this.visitTable(nextTableAddress(hi, lo), level + 1, gfn + i * pages, leaf, page);
      } else if (kind !== DescriptorKind.invalid) {
        leaf(gfn + i * pages, pages);
      }
    }
  }
}
