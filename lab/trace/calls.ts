/**
 * Probe events sit below iommu_map: one iommu_map becomes several calls into the page-table code, when its sizes
 * change or a call stops at the end of a table and is repeated for the rest. This collects the calls that one stock
 * event then sums up. Calls that no stock event follows stand for themselves.
 */
import type { PageMapEvent, PageUnmapEvent } from './event.ts';
import type { MapOperation, Operation, UnmapOperation } from './operation.ts';

/** Calls that may belong to one operation. */
interface Group {
  readonly kind: 'map' | 'unmap';
  readonly root: number;
  readonly iova: number;
  readonly pa: number;
  readonly prot: number | null;
  readonly line: number;
  readonly cpu: number;
  readonly pid: number;
  /** Index of the place that is held for the operation. */
  readonly slot: number;
  readonly calls: { iova: number; end: number; line: number }[];
  end: number;
}

/** Groups that still wait for their stock event; more than this are not waited for. */
const MAX_PENDING = 64;

export class CallGroups {
  /** Groups of calls without a stock event. */
  unpaired = 0;
  private readonly pending: Group[] = [];
  private readonly slots: (Operation[] | null)[];

  /** @param slots the operations so far; a group takes a place at once and fills it later */
  constructor(slots: (Operation[] | null)[]) {
    this.slots = slots;
  }

  /** A call that maps. */
  map(event: PageMapEvent, root: number): void {
    const { iova, pa, prot } = event;
    this.add('map', event, root, iova, iova + event.pageSize * event.count, pa, prot);
  }

  /** A call that unmaps. */
  unmap(event: PageUnmapEvent, root: number): void {
    const { iova } = event;
    this.add('unmap', event, root, iova, iova + event.pageSize * event.count, 0, null);
  }

  /** The stock event of a map: closes the group that it sums up. False when there is none. */
  closeMap(iova: number, pa: number, size: number, cpu: number, pid: number): boolean {
    const group = this.take('map', cpu, pid, (candidate) => {
      return candidate.iova === iova && candidate.pa === pa && candidate.end === iova + size;
    });
    if (group === null) return false;
    const { root, prot, line } = group;
    this.slots[group.slot] = [{ kind: 'map', root, iova, pa, size, prot, line }];
    return true;
  }

  /** The stock event of an unmap, which removed `unmapped` of `size` bytes. False when there is no group for it. */
  closeUnmap(iova: number, size: number, unmapped: number, cpu: number, pid: number): boolean {
    const group = this.take('unmap', cpu, pid, (candidate) => {
      return candidate.iova === iova && candidate.end <= iova + size;
    });
    if (group === null) return false;
    const { root, line } = group;
    this.slots[group.slot] = unmapped === 0 ? [] : [{ kind: 'unmap', root, iova, size: unmapped, line }];
    return true;
  }

  /** Nothing more comes: what still waits stands for itself. */
  finish(): void {
    while (this.pending.length > 0) this.release(this.pending.shift()!);
  }

  private add(
    kind: 'map' | 'unmap',
    { cpu, pid, line }: PageMapEvent | PageUnmapEvent,
    root: number,
    iova: number,
    end: number,
    pa: number,
    prot: number | null,
  ): void {
    const last = this.pending.findLast((group) => group.cpu === cpu && group.pid === pid);
    const follows =
      last !== undefined &&
      last.kind === kind &&
      last.root === root &&
      iova > last.iova &&
      iova <= last.end &&
      end >= last.end;
    if (follows && (kind === 'unmap' || (pa - last.pa === iova - last.iova && prot === last.prot))) {
      last.calls.push({ iova, end, line });
      last.end = end;
      return;
    }
    if (this.pending.length === MAX_PENDING) this.release(this.pending.shift()!);
    const calls = [{ iova, end, line }];
    this.pending.push({ kind, root, iova, pa, prot, line, cpu, pid, slot: this.slots.length, calls, end });
    this.slots.push(null);
  }

  /** Takes the newest fitting group off the list: of the same task on the same CPU first. */
  private take(kind: 'map' | 'unmap', cpu: number, pid: number, fits: (group: Group) => boolean): Group | null {
    const isIt = (group: Group): boolean => group.kind === kind && fits(group);
    let at = this.pending.findLastIndex((group) => group.cpu === cpu && group.pid === pid && isIt(group));
    if (at < 0) at = this.pending.findLastIndex(isIt);
    return at < 0 ? null : this.pending.splice(at, 1)[0]!;
  }

  /** A group without a stock event: each call for itself, up to where the next one takes over. */
  private release(group: Group): void {
    this.unpaired += group.calls.length;
    this.slots[group.slot] = group.calls.map(({ iova, end, line }, i): MapOperation | UnmapOperation => {
      const size = Math.min(end, group.calls[i + 1]?.iova ?? end) - iova;
      if (group.kind === 'unmap') return { kind: 'unmap', root: group.root, iova, size, line };
      const pa = group.pa + iova - group.iova;
      return { kind: 'map', root: group.root, iova, pa, size, prot: group.prot, line };
    });
  }
}
