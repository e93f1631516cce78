/** What is mapped once a sequence of operations is done. */
import type { Operation } from './operation.ts';

/** One page that is mapped: its address, where it leads, and with which permissions. */
export interface LivePage {
  readonly root: number;
  readonly iova: number;
  readonly pa: number;
  readonly prot: number | null;
}

const PAGE = 4096;

/** The 4 KiB pages that are mapped at the end, by root and then by IOVA. */
export function livePages(operations: readonly Operation[]): LivePage[] {
  const live = new Map<number, Map<number, LivePage>>();
  for (const operation of operations) {
    if (operation.kind !== 'map' && operation.kind !== 'unmap') continue;
    const { kind, root, iova, size } = operation;
    const pages = live.get(root) ?? new Map<number, LivePage>();
    live.set(root, pages);
    for (let offset = 0; offset < size; offset += PAGE) {
      if (kind === 'unmap') pages.delete(iova + offset);
      else pages.set(iova + offset, { root, iova: iova + offset, pa: operation.pa + offset, prot: operation.prot });
    }
  }
  return [...live.values()].flatMap((pages) => [...pages.values()]).sort((a, b) => a.root - b.root || a.iova - b.iova);
}
