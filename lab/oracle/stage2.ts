/**
 * The CPUs' stage 2, decoded: 4 KiB granule, four levels, 48-bit input. The host's is an identity map in which an
 * invalid entry that is not zero names the owner that keeps the host out, and software bit 55 of a device page's leaf
 * says that the page was mapped for DMA; a guest's leaf carries the page state in software bits 56:55.
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
import type { Frame } from './frame.ts';
import type { Ghost } from './ghost.ts';
import { DeviceUse, Owner } from './ghost-pages.ts';
import type { LayoutReader } from './layout-reader.ts';
import { LEAF_BYTES } from './maplets.ts';

const OWNER_SHIFT = 2;
const OWNER_BITS = 0xff;
const STATE_SHIFT_HI = 23;
/** Software bit 55 in the leaf of a device page: mapped for DMA once. */
const TAINTED_HI = 1 << 23;

/** From the index of a word to its slot. */
const SLOT_SHIFT = 10;

/** Told of an entry: the first address that it decides, its level, its two words. */
type Visit = (ipa: number, level: number, hi: number, lo: number) => void;

/** Owners by their ids in annotations. */
const OWNERS: Readonly<Record<number, number>> = {
  [OwnerId.host]: Owner.host,
  [OwnerId.hyp]: Owner.hyp,
  [OwnerId.guest]: Owner.guest,
};
/** Annotations by owner. */
const ANNOTATIONS = [OwnerId.host << OWNER_SHIFT, OwnerId.hyp << OWNER_SHIFT, OwnerId.guest << OWNER_SHIFT];

/** Whose all pages must be that an entry of the host's stage 2 covers from `ipa` on; -1 where it is right for nobody's. */
function ownerIn(ipa: number, level: number, hi: number, lo: number): number {
  if (descriptorKind(level, hi, lo) !== DescriptorKind.invalid) {
    return outputAddress(level, hi, lo) === ipa ? Owner.host : -1;
  }
  return (lo & 1) === 0 ? (OWNERS[(lo >>> OWNER_SHIFT) & OWNER_BITS] ?? -1) : -1;
}

/** Whether a last-level entry says of a page of RAM at `ipa` what it must, and nothing else that could be wrong. */
function isPlain(hi: number, lo: number, ipa: number, owner: number): boolean {
  if ((lo & 1) === 0) return hi === 0 && lo === ANNOTATIONS[owner];
  const isMapped = (lo & 2) !== 0 && (hi & TAINTED_HI) === 0 && owner === Owner.host;
  return isMapped && outputAddress(3, hi, lo) === ipa;
}

export class Stage2 {
  private readonly facts: Facts;
  private readonly ghost: Ghost;
  private readonly findings: Findings;
  private readonly reader: LayoutReader;
  /** Says what a call has written, where that is known. */
  frame: Frame | null = null;
  private hi = 0;
  private lo = 0;
  private level = 0;
  private table = 0;

  constructor(facts: Facts, ghost: Ghost, findings: Findings, reader: LayoutReader) {
    this.facts = facts;
    this.ghost = ghost;
    this.findings = findings;
    this.reader = reader;
  }

  /** Find the entry that decides `ipa`; left in hi, lo, level, and its table in table. @returns whether all tables on the way are RAM */
  private walk(root: number, ipa: number): boolean {
    const { memory } = this.facts;
    let table = root;
    for (let level = 0; level <= 3; level++) {
      if (this.facts.pageOf(table) < 0) return false;
      const i = memory.indexOf(table + 8 * (Math.floor(ipa / LEAF_BYTES[level]!) % 512));
      this.lo = memory.words[i]!;
      this.hi = memory.words[i + 1]!;
      this.level = level;
      this.table = table;
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
    this.judgeHostPage(page, pa, this.level, this.hi, this.lo, property);
  }

  /** Check the entry that decides `pa`, which is in `page`. */
  private judgeHostPage(
    page: number,
    pa: number,
    level: number,
    hi: number,
    lo: number,
    property: 'ownership' | 'unchanged',
  ): void {
    const wrong = this.judgeHost(level, hi, lo, pa, this.ghost.pages.owner(page));
    if (wrong === null) return;
    const owner = this.ghost.pages.ownerName(page);
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

  /**
   * Check the whole host stage 2, entry by entry: every page of RAM, that everything is mapped where it is, that no
   * register of an SMMU is mapped, and which device pages are marked as mapped for DMA.
   */
  checkHost(): void {
    this.visitTable(this.reader.hostRoot(), 0, 0, this.checkHostEntry, null);
    this.facts.resources.forEach((_, resource) => {
      this.checkResource(resource, 'ownership');
    });
    this.ghost.pages.forEachDevicePage((pa) => {
      this.checkDevicePage(pa, 'ownership');
    });
  }

  /** Check what the host's stage 2 says of a register range of a device: that the host is kept out while it has given it up. */
  checkResource(resource: number, property: 'ownership' | 'unchanged'): void {
    const { base, size } = this.facts.resources[resource]!;
    const given = this.ghost.isGiven(resource);
    for (let pa = base; pa < base + size; pa += PAGE) {
      if (!this.walk(this.reader.hostRoot(), pa)) continue;
      const isInvalid = descriptorKind(this.level, this.hi, this.lo) === DescriptorKind.invalid;
      const annotated = isInvalid ? (this.lo >>> OWNER_SHIFT) & OWNER_BITS : OwnerId.host;
      if (annotated === (given ? OwnerId.hyp : OwnerId.host)) continue;
      const text = `the host's stage 2 names owner ${annotated} of the registers at ${hex(pa)}`;
      this.findings.add(property, 'stage2', text, { pa });
    }
  }

  /**
   * Check what stands beside the entry of one page, where it stands in a last-level table: a split may lose it. Where the
   * call has written nothing else in the table, all that was right before.
   */
  checkNeighbours(pa: number): void {
    if (!this.walk(this.reader.hostRoot(), pa) || this.level !== 3) return;
    const entry = this.facts.memory.indexOf(this.table) + 2 * (Math.floor(pa / PAGE) % 512);
    if (this.frame?.wroteOnly(entry >>> SLOT_SHIFT, entry) === true) return;
    const block = pa - (pa % LEAF_BYTES[2]!);
    const { memory } = this.facts;
    const first = memory.indexOf(this.table);
    const page = this.facts.ramRange(block, 512);
    for (let i = 0; i < 512; i++) {
      const lo = memory.words[first + 2 * i]!;
      const hi = memory.words[first + 2 * i + 1]!;
      const ipa = block + i * PAGE;
      if (page < 0 || !isPlain(hi, lo, ipa, this.ghost.pages.owner(page + i))) this.checkHostEntry(ipa, 3, hi, lo);
    }
  }

  private readonly checkHostEntry: Visit = (ipa, level, hi, lo) => {
    const span = LEAF_BYTES[level]!;
    if (descriptorKind(level, hi, lo) !== DescriptorKind.invalid) this.checkHostLeaf(ipa, level, hi, lo);
    const owner = ownerIn(ipa, level, hi, lo);
    for (const { base, size } of this.facts.description.ram) {
      const from = Math.max(ipa, base);
      const count = (Math.min(ipa + span, base + size) - from) / PAGE;
      if (count <= 0) continue;
      const page = this.facts.pageOf(from);
      for (let i = this.ghost.pages.ownedRun(page, count, owner); i < count; ) {
        this.judgeHostPage(page + i, from + i * PAGE, level, hi, lo, 'ownership');
        i++;
        i += this.ghost.pages.ownedRun(page + i, count - i, owner);
      }
    }
  };

  /** What holds of every mapping in the host's stage 2, wherever it leads. */
  private checkHostLeaf(ipa: number, level: number, hi: number, lo: number): void {
    const span = LEAF_BYTES[level]!;
    const to = outputAddress(level, hi, lo);
    if (this.facts.touchesSmmu(to, span) || this.facts.touchesSmmu(ipa, span)) {
      this.findings.add('ownership', 'smmu-registers', `the host's stage 2 maps registers of an SMMU at ${hex(ipa)}`, {
        pa: to,
      });
    }
    if (to !== ipa) {
      const text = `the host's stage 2 maps ${hex(ipa)} to ${hex(to)}: it must be an identity map`;
      this.findings.add('ownership', 'stage2', text, { pa: to });
    }
    const isMarked = (hi & TAINTED_HI) !== 0;
    const use = level === 3 && this.facts.pageOf(ipa) < 0 ? this.ghost.pages.deviceUse(ipa) : DeviceUse.none;
    if (!isMarked || use !== DeviceUse.none) return;
    const text = `the host's stage 2 marks ${hex(ipa)} as mapped for DMA, which was never asked for`;
    this.findings.add('ownership', 'dma-mark', text, { pa: ipa });
  }

  /** A device page that was mapped for DMA must be the host's and be marked as such, for good. */
  checkDevicePage(pa: number, property: 'ownership' | 'unchanged'): void {
    if (this.ghost.pages.deviceUse(pa) !== DeviceUse.mapped) return;
    const known = this.walk(this.reader.hostRoot(), pa);
    const isMapped = known && descriptorKind(this.level, this.hi, this.lo) === DescriptorKind.page;
    if (isMapped && (this.hi & TAINTED_HI) !== 0) return;
    const text = `the device page ${hex(pa)} was mapped for DMA, and the host's stage 2 does not say so`;
    this.findings.add(property, 'dma-mark', text, { pa });
  }

  /** After the host was let through at `ipa`: all that the entry covers must be the host's. */
  checkCovered(ipa: number): void {
    if (!this.walk(this.reader.hostRoot(), ipa)) return;
    const span = LEAF_BYTES[this.level]!;
    this.checkHostEntry(ipa - (ipa % span), this.level, this.hi, this.lo);
    this.checkNeighbours(ipa);
  }

  /** Check what a guest has at one of its page numbers. */
  checkGuestPage(slot: number, gfn: number, property: 'ownership' | 'unchanged'): void {
    const { ghost } = this;
    const root = this.facts.paOf(ghost.vms.pgd(slot));
    const known = this.walk(root, gfn * PAGE);
    const page = ghost.vms.page(slot, gfn);
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
      const expected = ghost.vms.isProtected(slot) ? PageState.owned : PageState.sharedBorrowed;
      const access = s2Permissions(this.hi, this.lo) & (Access.read | Access.write);
      if (state !== expected) wrong = `has page state ${state}`;
      else if (access !== ghost.vms.access(slot, gfn)) wrong = `gives access ${access}`;
    }
    if (wrong !== null) {
      const text = `the stage 2 of VM slot ${slot} ${wrong} at guest page ${hex(gfn)}`;
      this.findings.add(property, 'guest-stage2', text, { slot, gfn });
    }
  }

  /** Calls `visit` with every leaf of a guest's stage 2. */
  forEachGuestLeaf(slot: number, visit: (gfn: number, pages: number) => void): void {
    const leaf: Visit = (ipa, level, hi, lo) => {
      if (descriptorKind(level, hi, lo) !== DescriptorKind.invalid) visit(ipa / PAGE, LEAF_BYTES[level]! / PAGE);
    };
    this.visitTable(this.facts.paOf(this.ghost.vms.pgd(slot)), 0, 0, leaf, null);
  }

  /** Calls `visit` with each page that holds a table of the stage 2 at `root`, the root included. */
  forEachTable(root: number, visit: (pa: number) => void): void {
    this.visitTable(root, 0, 0, null, visit);
  }

  /** Calls `entry` with each entry that is no table, and `page` with the address of each table. */
  private visitTable(
    table: number,
    level: number,
    ipa: number,
    entry: Visit | null,
    page: ((pa: number) => void) | null,
  ): void {
    if (page !== null) page(table);
    if ((entry === null && level === 3) || this.facts.pageOf(table) < 0) return;
    const { memory } = this.facts;
    const span = LEAF_BYTES[level]!;
    const first = memory.indexOf(table);
    for (let i = 0; i < 512; i++) {
      const lo = memory.words[first + 2 * i]!;
      const hi = memory.words[first + 2 * i + 1]!;
      if (descriptorKind(level, hi, lo) === DescriptorKind.table) {
        this.visitTable(nextTableAddress(hi, lo), level + 1, ipa + i * span, entry, page);
      } else if (entry !== null) {
        entry(ipa + i * span, level, hi, lo);
      }
    }
  }
}
