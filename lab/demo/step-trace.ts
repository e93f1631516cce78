/**
 * One hypercall, pause by pause: what the hypervisor is about to touch, by name, and the bytes that it then changes.
 * For pages that explain the hypervisor to people: the names are those of the declared layout and of the architecture.
 */

import { CpuRecord, DomainRecord, type Field, type HypLayout, HypPage, PoolRecord, SmmuRecord } from '#hyp/layout';
import { Interleaving, type Machine, type MachineDescription, registers, type Steps } from '#machine';

/** What changed of one 64-bit word. */
export interface StepWrite {
  readonly what: string;
  readonly before: string;
  readonly after: string;
}

export interface TracedStep {
  /** As in machine's Touch. */
  readonly kind: string;
  readonly what: string;
  readonly writes: readonly StepWrite[];
}

/** Page tables and the command queue, which the layout does not place. */
export interface NamedPage {
  readonly pa: number;
  readonly bytes: number;
  readonly name: (offset: number) => string;
}

/** Run `steps` on CPU 0, and tell each of its steps. */
export function traceSteps(
  machine: Machine,
  layout: HypLayout,
  pages: readonly NamedPage[],
  steps: Steps<void>,
): TracedStep[] {
  const { memory } = machine;
  const traced: TracedStep[] = [];
  const cpus = new Interleaving(memory, machine.cpus.length);
  cpus.start(0, steps);
  while (cpus.isBusy(0)) {
    const { kind, at } = cpus.next(0)!;
    const mark = memory.mark();
    cpus.step(0);
    cpus.stores.drainAll(0);
    const pairs = new Map<number, [before: number[], after: number[]]>();
    for (const [index, old] of memory.writtenSince(mark)) {
      const even = index & ~1;
      const pair = pairs.get(even) ?? [
        [memory.words[even]!, memory.words[even + 1]!],
        [memory.words[even]!, memory.words[even + 1]!],
      ];
      pair[0][index - even] = old;
      pairs.set(even, pair);
    }
    const writes: StepWrite[] = [];
    for (const [index, [before, after]] of pairs) {
      const page = memory.paOfSlot(index >>> 10);
      if (page < 0) continue;
      const pa = page + (index & 1023) * 4;
      const write = describeWrite(kind, before, after);
      if (write === null) continue;
      const { half, ...texts } = write;
      writes.push({ what: nameOf(machine.description, layout, pages, pa + 4 * half), ...texts });
    }
    traced.push({ kind, what: kind === 'barrier' ? '' : nameOf(machine.description, layout, pages, at), writes });
  }
  return traced;
}

/** Both states of a 64-bit word as text: whole for what hardware reads, else the half that has changed; null without one. */
function describeWrite(kind: string, before: readonly number[], after: readonly number[]) {
  const changed = [0, 1].filter((half) => before[half] !== after[half]);
  if (changed.length === 0) return null;
  if (changed.length === 2 || kind === 'writeDescriptor' || kind === 'queue') {
    // A record's word beside a queue entry is no entry.
    const isRecord = changed.length === 1 && kind === 'queue' && changed[0] === 1;
    if (!isRecord) return { half: 0, before: word64(before), after: word64(after) };
  }
  const half = changed[0]!;
  return { half, before: word32(before[half]!), after: word32(after[half]!) };
}

function word32(n: number): string {
  return (n >>> 0).toString(16).padStart(8, '0');
}

function word64([lo, hi]: readonly number[]): string {
  return `${word32(hi!)}_${word32(lo!)}`;
}

function hex(n: number): string {
  return `0x${n.toString(16)}`;
}

/** Name of the record field in the word at `offset`. */
function fieldAt(fields: readonly Field[], offset: number): string {
  const names = fields.filter((field) => field.offset === offset).map(({ name }) => name);
  return names.length === 0 ? `+${offset}` : names.join(', ');
}

function nameOf(machine: MachineDescription, layout: HypLayout, pages: readonly NamedPage[], pa: number): string {
  for (const { name, base } of machine.smmus) {
    if (pa >= base && pa < base + 0x20000)
      return `${name}.${registers.REGISTER_NAMES.get(pa - base) ?? hex(pa - base)}`;
  }
  for (const { pa: base, bytes, name } of pages) if (pa >= base && pa < base + bytes) return name(pa - base);
  for (const lock of ['hostLock', 'hypLock', 'domainLock', 'vmLock'] as const) if (pa === layout[lock]) return lock;
  const pools = [
    { base: layout.heapPool, name: 'heap pool' },
    { base: layout.iommuPool, name: 'IOMMU pool' },
  ];
  for (const { base, name } of pools) {
    if (pa >= base && pa < base + PoolRecord.size) return `${name}.${fieldAt(PoolRecord.fields, pa - base)}`;
  }
  const records = [
    { table: SmmuRecord, base: layout.smmus, end: layout.vms },
    { table: CpuRecord, base: layout.cpuRecords, end: layout.unmapCaches },
    { table: DomainRecord, base: layout.domains, end: layout.vmemmap },
  ];
  for (const { table, base, end } of records) {
    if (pa < base || pa >= end) continue;
    const offset = (pa - base) % table.size;
    return `${table.name} ${Math.floor((pa - base) / table.size)}.${fieldAt(table.fields, offset)}`;
  }
  if (pa >= layout.unmapCaches && pa < layout.domains) return 'list of pages to release';
  if (pa >= layout.vmemmap && pa < layout.heap.base) {
    const page = machine.ram[0]!.base + ((pa - layout.vmemmap) / HypPage.size) * 4096;
    return `hyp_page of 0x${page.toString(16)}`;
  }
  return `0x${pa.toString(16)}`;
}
