/**
 * The identity domain, decoded anew: walked entry by entry from its root, it must map exactly what the ghost says is the
 * host's, each address to itself, to be read and written, RAM by pages; and nothing beyond the smallest output size.
 * The host's stage 2 is held against the same ghost (stage2.ts), so the one says what the other says.
 */

import { Prot } from '#hypercall-abi';
import { DescriptorKind, descriptorKind, nextTableAddress, outputAddress } from './decode/index.ts';
import { type Facts, PAGE } from './facts.ts';
import { type Findings, hex } from './findings.ts';
import type { Ghost } from './ghost.ts';
import { Owner } from './ghost-pages.ts';
import type { LayoutReader } from './layout-reader.ts';
import { expectedMeaning, leafMeaning } from './leaf.ts';
import { LEAF_BYTES } from './maplets.ts';

const RAM_MEANING = expectedMeaning(2, Prot.read | Prot.write);
const DEVICE_MEANING = expectedMeaning(2, Prot.read | Prot.write | Prot.mmio | Prot.noexec);

export class IdentityCheck {
  private readonly facts: Facts;
  private readonly ghost: Ghost;
  private readonly findings: Findings;
  private readonly reader: LayoutReader;
  /** By page of RAM: leaves met in the last run. */
  readonly mapped: Uint8Array;
  private next = 0;
  private claim: (pa: number) => void = () => {};

  constructor(facts: Facts, ghost: Ghost, findings: Findings, reader: LayoutReader) {
    this.facts = facts;
    this.ghost = ghost;
    this.findings = findings;
    this.reader = reader;
    this.mapped = new Uint8Array(facts.pages);
  }

  /** @param claim told the address of each page that holds a table */
  run(claim: (pa: number) => void): void {
    const { identitySmmus, identityGeometry } = this.facts;
    if (identitySmmus.length === 0) return;
    this.mapped.fill(0);
    this.next = 0;
    this.claim = claim;
    const { startLevel, rootPages, inputEnd } = identityGeometry;
    this.table(this.reader.identityRoot(), startLevel, 0, 512 * rootPages);
    this.gap(this.next, inputEnd);
  }

  private table(pa: number, level: number, ipa: number, entries: number): void {
    const { facts } = this;
    if (facts.pageOf(pa) < 0) {
      this.wrong('structure', 'no-ram', `a level ${level} table of the identity domain lies at ${hex(pa)}`, pa);
      return;
    }
    for (let i = 0; i < entries * 8; i += PAGE) this.claim(pa + i);
    const { inputEnd } = facts.identityGeometry;
    const isPlain = level < 3 && facts.isPlainDevice(ipa, Math.min(entries * LEAF_BYTES[level]!, inputEnd - ipa));
    const span = LEAF_BYTES[level]!;
    for (let i = 0; i < entries && ipa + i * span < inputEnd; i++) {
      const at = facts.memory.indexOf(pa + 8 * i);
      const lo = facts.memory.words[at]!;
      const hi = facts.memory.words[at + 1]!;
      const kind = descriptorKind(level, hi, lo);
      if (kind === DescriptorKind.table) this.table(nextTableAddress(hi, lo), level + 1, ipa + i * span, 512);
      else if (kind !== DescriptorKind.invalid) this.leaf(ipa + i * span, level, hi, lo, isPlain);
    }
  }

  /** @param isPlain whether neither RAM nor a register of an SMMU is anywhere near */
  private leaf(ipa: number, level: number, hi: number, lo: number, isPlain: boolean): void {
    const { facts, ghost } = this;
    const span = LEAF_BYTES[level]!;
    if (this.next !== ipa) this.gap(this.next, ipa);
    this.next = ipa + span;
    const page = isPlain ? -1 : facts.pageOf(ipa);
    const pa = outputAddress(level, hi, lo);
    if (pa !== ipa) this.wrong('identity', 'elsewhere', `the identity table maps ${hex(ipa)} to ${hex(pa)}`, ipa);
    if (page >= 0 && level === 3) {
      this.mapped[page]!++;
      if (ghost.pages.owner(page) !== Owner.host) this.foreign(ipa, `a page of the ${ghost.pages.ownerName(page)}`);
    } else if (!isPlain) {
      this.block(ipa, span);
    }
    const meaning = leafMeaning(level, hi, lo);
    const expected = page >= 0 ? RAM_MEANING : DEVICE_MEANING;
    if (meaning === expected) return;
    const text = `the identity table maps ${hex(ipa)} with attributes ${hex(meaning)}; it must be ${hex(expected)}`;
    this.wrong('identity', 'attributes', text, ipa);
  }

  /** A leaf that is no page of RAM: it may hold neither RAM nor registers of an SMMU. */
  private block(ipa: number, span: number): void {
    this.facts.forEachRamPiece(ipa, span, (first) => {
      const text = `the identity table maps ${hex(this.facts.paOf(first))} by a block; RAM is mapped by pages`;
      this.wrong('identity', 'block', text, ipa);
    });
    if (this.facts.touchesSmmu(ipa, span)) this.foreign(ipa, 'registers of an SMMU');
    if (this.givenBytes(ipa, ipa + span) !== 0) this.foreign(ipa, 'registers of a device on its way to a guest');
  }

  private foreign(ipa: number, what: string): void {
    this.wrong('identity', 'foreign', `the identity table maps ${hex(ipa)}, ${what}`, ipa);
  }

  /** Nothing of [from, to), which is not mapped, may be the host's. */
  private gap(from: number, to: number): void {
    if (from >= to) return;
    const { facts, ghost } = this;
    let covered = 0;
    facts.forEachRamPiece(from, to - from, (first, pages) => {
      covered += pages * PAGE;
      for (let i = 0; i < pages; i++) if (ghost.pages.owner(first + i) === Owner.host) this.hole(facts.paOf(first + i));
    });
    covered += facts.smmuBytes(from, to) + this.givenBytes(from, to);
    if (covered !== to - from) this.hole(from);
  }

  /** Bytes of [from, to) that are registers which the host has given up. */
  private givenBytes(from: number, to: number): number {
    let bytes = 0;
    this.facts.resources.forEach(({ base, size }, resource) => {
      if (this.ghost.isGiven(resource)) bytes += Math.max(0, Math.min(to, base + size) - Math.max(from, base));
    });
    return bytes;
  }

  private hole(pa: number): void {
    this.wrong('identity', 'hole', `the identity table does not map all that is the host's from ${hex(pa)} on`, pa);
  }

  private wrong(property: 'identity' | 'structure', rule: string, text: string, pa: number): void {
    this.findings.add(property, rule, text, { pa });
  }
}
