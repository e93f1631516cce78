/**
 * The invalidation automaton once more, plain and slow, to run beside the one of the oracle. It is told nothing while a
 * call runs: afterwards it takes the journal, applies the writes one by one to a copy of memory, decodes everything from
 * the domains' records and the stream tables after each write that matters, and compares with what was there before.
 *
 * Each descriptor and each configuration entry is valid (it is in `now`), or unclean: removed, then `invalidated` when a
 * command covers it; at the SYNC behind that it is clean, and forgotten. Left out: the identity domain, two-level tables
 * of any kind, SMMUs without power, global entries.
 */

import { DomainRecord, type HypLayout, SmmuRecord } from '#hyp/layout';
import * as d from '#lab/oracle/decode/index';
import type { PhysicalMemory } from '#machine/memory';

const PAGE = 4096;
const TWO32 = 2 ** 32;
const DOMAINS = 256;
const SPAN = [2 ** 39, 2 ** 30, 2 ** 21, 2 ** 12];

/** A table entry, a stream table entry, or a context descriptor. */
interface Entry {
  readonly kind: 'leaf' | 'table' | 'ste' | 'cd';
  /** `stage:VMID or ASID` of what is tagged; of configuration, the tags that it leads to. */
  readonly tags: readonly string[];
  readonly sid: number;
  readonly pasid: number;
  readonly level: number;
  readonly iova: number;
  readonly target: number;
}

interface Unclean {
  readonly entry: Entry;
  invalidated: boolean;
}

/** Where an entry stands: what takes its place there is another one. */
const place = ({ kind, tags, sid, pasid, level, iova }: Entry): string =>
  kind === 'ste' || kind === 'cd' ? `${kind} ${sid} ${pasid}` : `${kind} ${tags[0]} L${level} ${iova}`;
const same = (a: Entry, b: Entry | undefined): boolean => b?.target === a.target && b.tags.join() === a.tags.join();

/** One SMMU, number 0 of its machine, with a linear stream table. */
export class ReferenceAutomaton {
  private words: Int32Array;
  private mark = 0;
  private now = new Map<string, Entry>();
  private pages = new Set<number>();
  private readonly unclean: Unclean[] = [];
  /** Tags of which something may be cached; true while a command for all of one waits for its SYNC. */
  private readonly warm = new Map<string, boolean>();

  private readonly memory: PhysicalMemory;
  private readonly layout: HypLayout;
  private readonly hasRanges: boolean;
  private readonly oas: number;
  private produced = 0;

  /** @param oas output bits, which are the input bits of stage 2 */
  constructor(memory: PhysicalMemory, layout: HypLayout, hasRanges: boolean, oas: number) {
    this.memory = memory;
    this.layout = layout;
    this.hasRanges = hasRanges;
    this.oas = oas;
    this.words = memory.words.slice();
    this.look();
  }

  /** What hardware may still hold of what is no more, in words. */
  mayHold(): string[] {
    return this.unclean.map(({ entry }) => `${place(entry)} -> ${entry.target}`).sort();
  }

  /** From here on the journal is followed. */
  begin(): void {
    this.words = this.memory.words.slice();
    this.mark = this.memory.logged;
  }

  /** Follow what was written since. */
  end(): void {
    const writes: { index: number; old: number; value: number }[] = [];
    this.memory.eachLogged(
      this.mark,
      (index, old) => void writes.push({ index, old, value: this.memory.words[index]! }),
    );
    // The last write comes first: before each one, its word holds what the next one found there.
    const later = new Map<number, number>();
    for (const write of writes) {
      write.value = later.get(write.index) ?? write.value;
      later.set(write.index, write.old);
    }
    if (this.memory.words.length > this.words.length) {
      const grown = this.memory.words.slice().fill(0, this.words.length);
      grown.set(this.words);
      this.words = grown;
    }
    for (const [index, old] of later) this.words[index] = old;
    writes.reverse();
    for (let i = 0; i < writes.length; i++) {
      const { index } = writes[i]!;
      this.apply(writes[i]!);
      // Both halves of a descriptor are one store.
      if (writes[i + 1] !== undefined && writes[i + 1]!.index === (index ^ 1)) this.apply(writes[++i]!);
      const pa = this.memory.paOfSlot(index >>> 10);
      if (pa >= 0) this.wrote(pa + 4 * (index & 1023));
    }
  }

  private apply({ index, value }: { index: number; value: number }): void {
    const pa = this.memory.paOfSlot(index >>> 10) + 4 * (index & 1023);
    if (pa === this.layout.smmus + 28) this.produced = this.words[index]!;
    this.words[index] = value;
    if (pa === this.layout.smmus + 28) this.commands(this.produced, value);
  }

  private wrote(pa: number): void {
    if (this.pages.has(pa - (pa % PAGE))) this.look();
  }

  // ---- decoding

  private read(pa: number): number {
    return this.words[this.memory.indexOf(pa)]!;
  }

  private pointer(pa: number): number {
    return (this.read(pa + 4) >>> 0) * TWO32 + (this.read(pa) >>> 0);
  }

  /** Decode everything; what was there and is no more becomes unclean if it may be cached. */
  private look(): void {
    const before = this.now;
    this.now = new Map();
    this.pages = new Set([this.layout.domains, this.layout.smmus]);
    for (let at = 0; at < DOMAINS * DomainRecord.size; at += PAGE) this.pages.add(this.layout.domains + at);
    this.streams();
    this.heat();
    this.domains();
    for (const entry of before.values()) {
      if (same(entry, this.now.get(place(entry)))) continue;
      const isRoute = entry.kind === 'ste' || entry.kind === 'cd';
      const ste = before.get(`ste ${entry.sid} 0`);
      // With its stream's entry a descriptor goes as a whole.
      if (entry.kind === 'cd' && (ste === undefined || !same(ste, this.now.get(place(ste))))) continue;
      if (isRoute || this.warm.has(entry.tags[0]!)) this.unclean.push({ entry, invalidated: false });
    }
  }

  private add(entry: Entry): void {
    this.now.set(place(entry), entry);
  }

  private streams(): void {
    const table = this.pointer(this.layout.smmus + SmmuRecord.fields.find(({ name }) => name === 'strtabLo')!.offset);
    const log2 = this.read(this.layout.smmus + 16) & 0xff;
    for (let sid = 0; sid < 2 ** log2; sid++) {
      const ste = table + 64 * sid;
      this.pages.add(ste - (ste % PAGE));
      const lo0 = this.read(ste);
      if (!d.steValid(lo0)) continue;
      const config = d.steConfig(lo0);
      if (config === d.SteConfig.stage2) {
        const tag = `2:${d.steS2Vmid(this.read(ste + 16))}`;
        this.add({ kind: 'ste', tags: [tag], sid, pasid: 0, level: 0, iova: 0, target: this.pointer(ste + 24) });
      } else if (config === d.SteConfig.stage1) {
        const tags = this.descriptors(
          sid,
          d.steS1ContextPtr(this.read(ste + 4), lo0),
          d.steS1CdMax(this.read(ste + 4)),
        );
        this.add({ kind: 'ste', tags, sid, pasid: 0, level: 0, iova: 0, target: this.pointer(ste) });
      }
    }
  }

  private descriptors(sid: number, table: number, log2: number): string[] {
    const tags: string[] = [];
    for (let pasid = 0; pasid < 2 ** log2; pasid++) {
      const cd = table + 64 * pasid;
      this.pages.add(cd - (cd % PAGE));
      if (!d.cdValid(this.read(cd))) continue;
      const tag = `1:${d.cdAsid(this.read(cd + 4))}`;
      tags.push(tag);
      this.add({ kind: 'cd', tags: [tag], sid, pasid, level: 0, iova: 0, target: this.pointer(cd + 8) });
    }
    return tags;
  }

  /** Whatever a stream leads to, now or by what may be cached, may be cached. */
  private heat(): void {
    for (const tag of this.led()) this.warm.set(tag, false);
  }

  private led(): Set<string> {
    const routes = [...this.now.values(), ...this.unclean.map(({ entry }) => entry)];
    return new Set(routes.filter(({ kind }) => kind === 'ste' || kind === 'cd').flatMap(({ tags }) => tags));
  }

  private domains(): void {
    for (let id = 1; id < DOMAINS; id++) {
      const record = this.layout.domains + id * DomainRecord.size;
      const stage = this.read(record + 8) & 0xff;
      if (this.read(record) === 0 || stage === 0) continue;
      const first = stage === 1 ? 0 : 1;
      const bits = stage === 1 ? 48 : this.oas;
      this.table(`${stage}:${id}`, this.pointer(record + 16), first, 0, 2 ** bits / SPAN[first]!);
    }
  }

  private table(tag: string, pa: number, level: number, base: number, entries: number): void {
    for (let i = 0; i < entries; i++) {
      const at = pa + 8 * i;
      this.pages.add(at - (at % PAGE));
      const [lo, hi] = [this.read(at), this.read(at + 4)];
      const kind = d.descriptorKind(level, hi, lo);
      if (kind === d.DescriptorKind.invalid) continue;
      const iova = base + i * SPAN[level]!;
      const isTable = kind === d.DescriptorKind.table;
      const target = isTable ? d.nextTableAddress(hi, lo) : d.outputAddress(level, hi, lo);
      this.add({ kind: isTable ? 'table' : 'leaf', tags: [tag], sid: 0, pasid: 0, level, iova, target });
      if (isTable) this.table(tag, target, level + 1, iova, 512);
    }
  }

  // ---- commands

  private commands(before: number, after: number): void {
    const queue = this.pointer(this.layout.smmus + 20);
    const mask = (2 << ((this.read(this.layout.smmus + 16) >>> 16) & 0xff)) - 1;
    for (let index = before & mask; index !== (after & mask); index = (index + 1) & mask) {
      const at = queue + 16 * (index & (mask >>> 1));
      const [lo0, hi0, lo1, hi1] = [this.read(at), this.read(at + 4), this.read(at + 8), this.read(at + 12)] as const;
      if (d.commandOpcode(lo0) === d.Opcode.SYNC) this.sync();
      else this.invalidate(lo0, hi0, lo1, hi1);
    }
  }

  private sync(): void {
    for (let i = this.unclean.length - 1; i >= 0; i--) if (this.unclean[i]!.invalidated) this.unclean.splice(i, 1);
    for (const [tag, isCooling] of [...this.warm]) if (isCooling) this.warm.delete(tag);
  }

  private invalidate(lo0: number, hi0: number, lo1: number, hi1: number): void {
    const led = this.led();
    for (const one of this.unclean) one.invalidated ||= this.covers(one.entry, lo0, hi0, lo1, hi1);
    for (const tag of this.warm.keys()) if (!led.has(tag) && isWholeTag(tag, lo0, hi0)) this.warm.set(tag, true);
  }

  /** What SMMUv3 4.3 and 4.4 require of a command, no more. */
  private covers(
    { kind, tags, sid, pasid, level, iova }: Entry,
    lo0: number,
    hi0: number,
    lo1: number,
    hi1: number,
  ): boolean {
    const opcode = d.commandOpcode(lo0);
    if (kind === 'ste' || kind === 'cd') {
      if (opcode === d.Opcode.CFGI_STE_RANGE)
        return Math.floor(sid / 2 ** ((lo1 & 31) + 1)) === Math.floor((hi0 >>> 0) / 2 ** ((lo1 & 31) + 1));
      if (sid !== hi0 >>> 0) return false;
      if (opcode === d.Opcode.CFGI_STE) return true;
      return (
        kind === 'cd' && (opcode === d.Opcode.CFGI_CD_ALL || (opcode === d.Opcode.CFGI_CD && pasid === lo0 >>> 12))
      );
    }
    if (isWholeTag(tags[0]!, lo0, hi0)) return true;
    const byAddress = { [d.Opcode.TLBI_NH_VA]: `1:${hi0 >>> 16}`, [d.Opcode.TLBI_S2_IPA]: `2:${hi0 & 0xffff}` }[opcode];
    if (byAddress !== tags[0]) return false;
    const isRange = this.hasRanges && (lo1 & 0xc00) !== 0;
    const from = (hi1 >>> 0) * TWO32 + ((lo1 & ~0xfff) >>> 0);
    const to = from + PAGE * (isRange ? d.rangePages(lo0) : 1);
    const hint = isRange ? (lo1 >>> 8) & 3 : 0;
    if (iova >= to || iova + SPAN[level]! <= from) return false;
    return kind === 'leaf' ? hint === 0 || hint === level : (lo1 & 1) === 0 && (hint === 0 || level < hint);
  }
}

/** Whether a command drops all of a tag. Stage-1 tags have VMID 0. */
function isWholeTag(tag: string, lo0: number, hi0: number): boolean {
  const [stage, id] = tag.split(':').map(Number) as [number, number];
  const vmid = stage === 1 ? 0 : id;
  switch (d.commandOpcode(lo0)) {
    case d.Opcode.TLBI_NSNH_ALL:
      return true;
    case d.Opcode.TLBI_S12_VMALL:
      return vmid === (hi0 & 0xffff);
    case d.Opcode.TLBI_NH_ALL:
      return stage === 1 && (hi0 & 0xffff) === 0;
    case d.Opcode.TLBI_NH_ASID:
      return stage === 1 && (hi0 & 0xffff) === 0 && id === hi0 >>> 16;
  }
  return false;
}
