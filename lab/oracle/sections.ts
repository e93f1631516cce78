/**
 * Locked sections, looked at one by one and not only when the call is over. What a lock guards may change only while its
 * CPU holds it; and whenever a lock is released, everything that it guards and that was touched is either as it was before
 * the call or as it is when the call is over: nothing that another CPU can lock in between is neither. The ghost says
 * what it was before; what it must be afterwards is compared when the call has returned (compare.ts).
 *
 * Reference counts of domains are left out: they move by atomic instructions, and calls in flight hold one.
 */

import { HypPage, type LOCK_ORDER, VmRecord } from '#hyp/layout';
import type { Comparison } from './compare.ts';
import type { Facts } from './facts.ts';
import { type Findings, hex } from './findings.ts';
import type { Frame } from './frame.ts';
import type { LayoutReader } from './layout-reader.ts';
import type { Locks } from './locks.ts';
import type { Monitor } from './monitor.ts';
import { T } from './node-store.ts';
import type { Property } from './properties.ts';

type LockClass = (typeof LOCK_ORDER)[number];

/** What was seen when a lock was released, and was not what it had been before the call. */
interface Seen {
  readonly property: Property;
  readonly what: string;
  /** What it said then. */
  readonly said: string;
  /** Whether that is what it has come to, or lies on the way there. */
  readonly fits: () => boolean;
}

/** Bits of a page's first word by the lock that guards them. */
const PAGE_BITS: readonly (readonly [bits: number, locks: readonly LockClass[]])[] = [
  [bitsOf('hostState'), ['host']],
  [bitsOf('hypStateComplement'), ['hyp']],
  [bitsOf('order') | bitsOf('pool'), ['pool']],
  [bitsOf('refcount'), ['host', 'pool']],
];
const GUEST_PAGES = VmRecord.fields.find(({ name }) => name === 'guestPages')!.offset;

function bitsOf(name: string): number {
  const { lsb, width } = HypPage.fields.find((field) => field.name === name)!;
  return ((1 << width) - 1) << lsb;
}

export class Sections {
  private readonly facts: Facts;
  private readonly findings: Findings;
  private readonly reader: LayoutReader;
  private readonly monitor: Monitor;
  private readonly comparison: Comparison;
  private readonly locks: Locks;
  private readonly frame: Frame;
  private readonly seen = new Map<string, Seen>();
  private cpu = -1;
  private isPiecewise = false;
  /** Sections that were looked at so far. */
  count = 0;

  constructor(
    facts: Facts,
    findings: Findings,
    reader: LayoutReader,
    monitor: Monitor,
    comparison: Comparison,
    frame: Frame,
  ) {
    this.facts = facts;
    this.findings = findings;
    this.reader = reader;
    this.monitor = monitor;
    this.comparison = comparison;
    this.locks = monitor.locks;
    this.frame = frame;
  }

  /** A call of that CPU begins. @param isPiecewise whether it changes a domain's tables in several locked sections */
  begin(cpu: number, isPiecewise = false): void {
    this.cpu = cpu;
    this.isPiecewise = isPiecewise;
    this.seen.clear();
    this.monitor.sections = this;
    this.locks.onReleased = (name) => this.released(name);
  }

  /** The machine was taken back to before the call. */
  forget(): void {
    this.monitor.sections = null;
    this.locks.onReleased = null;
    this.cpu = -1;
    this.seen.clear();
  }

  /** The call has returned: what was seen in between must have been what it is now. */
  end(): void {
    for (const { property, what, fits } of this.seen.values()) {
      if (fits()) continue;
      const text = `between two locked sections of the call ${what} was neither what it had been nor what it is now`;
      this.findings.add(property, 'between-sections', text);
    }
    this.forget();
  }

  // ---- trajectory

  private released(name: LockClass): void {
    if (this.cpu < 0) return;
    this.count++;
    this.frame.look();
    const { touched } = this.monitor;
    switch (name) {
      case 'host':
        for (let i = 0; i < touched.pages.length; i++) this.page(touched.pages.items[i]!);
        break;
      case 'smmu':
        for (let i = 0; i < touched.streams.length; i += 2) this.stream(touched.streams[i]!, touched.streams[i + 1]!);
        break;
      case 'domain':
      case 'domainTable':
        for (let i = 0; i < touched.tags.length; i++) this.tag(touched.tags.items[i]!);
        break;
      case 'vmTable':
        for (let i = 0; i < touched.vms.length; i++) this.vm(touched.vms.items[i]!);
        break;
    }
  }

  private keep(property: Property, what: string, now: () => string): void {
    const said = now();
    const known = this.seen.get(what);
    // Seen twice and different: it cannot have been what it is in the end both times.
    if (known === undefined) this.seen.set(what, { property, what, said, fits: () => said === now() });
    else if (known.said !== said) this.seen.set(what, { ...known, fits: () => false });
  }

  private page(page: number): void {
    if (this.isPiecewise || this.comparison.isPageAsWas(page)) return;
    const what = `the owner of page ${hex(this.facts.paOf(page))}`;
    this.keep('ownership', what, () => `${this.comparison.pageStates(page)}`);
  }

  private stream(smmu: number, sid: number): void {
    if (this.comparison.isStreamAsWas(smmu, sid)) return;
    this.keep('streams', `the entry of stream ${hex(sid)}`, () => this.comparison.steWords(smmu, sid).join());
  }

  /** A guest's call maps run by run, each in a section of its own: the number of leaves goes one way. */
  private tag(tag: number): void {
    if (this.isPiecewise || this.comparison.isTagAsWas(tag)) return;
    const { store, reach } = this.monitor;
    const before = this.comparison.leavesBefore(tag);
    const leaves = store.tag(tag, T.leaves);
    const what = `the number of leaves in the tables of ${reach.tagName(tag)}`;
    const key = `${what} ${leaves}`;
    const fits = (): boolean => {
      const now = store.tag(tag, T.leaves);
      return leaves >= Math.min(before, now) && leaves <= Math.max(before, now);
    };
    this.seen.set(key, { property: 'tables', what, said: key, fits });
  }

  private vm(slot: number): void {
    const { reader, comparison } = this;
    if (comparison.isVmAsWas(slot)) return;
    this.keep('ownership', `the record of VM slot ${slot}`, () =>
      [reader.vmState(slot), reader.vmLoads(slot), reader.vmRoot(slot), reader.vmVcpus(slot)].join(),
    );
  }

  // ---- guards

  /** Whether the CPU of the call holds one of those locks. */
  private need(what: string, ...names: readonly LockClass[]): void {
    if (this.cpu < 0 || names.some((name) => this.locks.holds(this.cpu, name))) return;
    const text = `CPU ${this.cpu} changes ${what} without the ${names.join(' or ')} lock`;
    this.findings.add('lock', 'unguarded', text, { cpu: this.cpu });
  }

  /** The record of a page was written. */
  wrotePage(page: number, oldHi: number, oldLo: number, hi: number, lo: number): void {
    const changed = oldLo ^ lo;
    for (const [bits, names] of PAGE_BITS) {
      if ((changed & bits) !== 0) this.need(`the record of ${hex(this.facts.paOf(page))}`, ...names);
    }
    if (oldHi !== hi) this.need(`the shares of ${hex(this.facts.paOf(page))}`, 'host');
  }

  /** A table of a domain, or of the identity domain, was written. */
  wroteTable(tag: number): void {
    const { reach } = this.monitor;
    if (reach.isIdentity(tag)) this.need('the table of the identity domain', 'host');
    else this.need(`the tables of ${reach.tagName(tag)}`, 'domain', 'domainTable');
  }

  /** A stream table entry, level-1 descriptor or context descriptor was written. */
  wroteStream(smmu: number): void {
    this.need(`an entry of SMMU ${smmu}'s streams`, 'smmu');
  }

  /** A word of an SMMU's record, not its lock. */
  wroteSmmu(smmu: number): void {
    this.need(`the record of SMMU ${smmu}`, 'smmu');
  }

  /** A word of a domain's record, neither its lock nor its count of references. */
  wroteDomain(id: number): void {
    this.need(`the record of domain ${id}`, 'domainTable', 'smmu');
  }

  /** A word of a VM's record, not its lock. @param offset of the word in it */
  wroteVm(slot: number, offset: number): void {
    this.need(`the record of VM slot ${slot}`, offset === GUEST_PAGES ? 'guest' : 'vmTable');
  }

  /** The context of a device. */
  wroteDevice(device: number): void {
    this.need(`the record of device ${device}`, 'device');
  }

  /** The record of a paravirtual IOMMU, or the bit of a guest's domain id. */
  wroteGuestTables(): void {
    this.need('the records of paravirtual IOMMUs and guests’ domains', 'pviommu', 'domainTable');
  }
}
