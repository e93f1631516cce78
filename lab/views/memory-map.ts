/**
 * Whom every page of RAM belongs to, as the hypervisor's page records say, which pages are mapped for DMA, and which
 * ones an old entry may still lead to.
 */
import { type HypLayout, hypLayout } from '#hyp/layout';
import type { Machine } from '#machine';
import { leafPa } from '../narrator/recorder.ts';
import { LayoutReader, PageWord } from '../oracle/layout-reader.ts';

export type PageOwner = 'host' | 'hyp' | 'guest' | 'shared';

/** Owners in words. */
export const OWNER_NAMES: Readonly<Record<PageOwner, string>> = {
  host: "the host's",
  hyp: "the hypervisor's",
  guest: "a guest's",
  shared: 'shared',
};

/** Pages side by side that are alike. */
export interface MemoryRun {
  /** Address of the first, in bytes. */
  readonly pa: number;
  readonly pages: number;
  readonly owner: PageOwner;
  /** A domain maps it, and the record counts that. */
  readonly mapped: boolean;
  /** An entry that memory does not hold any more may still lead there. */
  readonly cached: boolean;
}

export interface MemoryMap {
  readonly machine: string;
  readonly ram: readonly { readonly base: number; readonly size: number }[];
  /** In ascending order within each range of RAM, in the order of the ranges. */
  readonly runs: readonly MemoryRun[];
}

const PAGE = 4096;
const HOST_OWNED = 0;
const NO_PAGE = 3;

/** Reads the page records of a machine. @param layout where they are, if not where hyp/layout.ts puts them for the default profile */
export function memoryMap(machine: Machine, layout: HypLayout = hypLayout(machine.description)): MemoryMap {
  const { description, memory, smmus } = machine;
  const reader = new LayoutReader(memory, layout);
  const cached = smmus.flatMap((smmu) =>
    smmu.stale().flatMap((entry) => (entry.kind === 'leaf' ? [{ pa: leafPa(entry), size: entry.size }] : [])),
  );
  const runs: MemoryRun[] = [];
  let page = 0;
  for (const { base, size } of description.ram) {
    let run: { -readonly [K in keyof MemoryRun]: MemoryRun[K] } | null = null;
    for (let pa = base; pa < base + size; pa += PAGE, page++) {
      const word = reader.page(page);
      const owner = ownerOf(word);
      const mapped = PageWord.hostState(word) === HOST_OWNED && PageWord.references(word) > 0;
      const held = cached.some((entry) => pa >= entry.pa && pa < entry.pa + entry.size);
      if (run !== null && run.owner === owner && run.mapped === mapped && run.cached === held) {
        run.pages++;
        continue;
      }
      run = { pa, pages: 1, owner, mapped, cached: held };
      runs.push(run);
    }
  }
  return { machine: description.name, ram: description.ram, runs };
}

/** The owner that the first word of a page record names. */
function ownerOf(word: number): PageOwner {
  const host = PageWord.hostState(word);
  if (host === HOST_OWNED) return 'host';
  if (host !== NO_PAGE) return 'shared';
  return PageWord.hypState(word) === NO_PAGE ? 'guest' : 'hyp';
}

/** Whom the page at `pa` belongs to, by its record; null outside RAM. */
export function ownerAt(
  { description, memory }: Machine,
  pa: number,
  layout: HypLayout = hypLayout(description),
): PageOwner | null {
  let first = 0;
  for (const { base, size } of description.ram) {
    if (pa >= base && pa < base + size) {
      return ownerOf(new LayoutReader(memory, layout).page(first + Math.floor((pa - base) / PAGE)));
    }
    first += size / PAGE;
  }
  return null;
}
