/**
 * Draws whom memory belongs to: a small machine page by page, one cell each; a large one as strips, one for each range
 * of RAM, with a list of its runs. A mark stands in every page that is mapped for DMA, and another one in every page
 * that an old entry may still lead to.
 */
import { heading, type LegendEntry, legendRows, MARGIN } from './layout.ts';
import { type MemoryMap, type MemoryRun, OWNER_NAMES, type PageOwner } from './memory-map.ts';
import { type Scene, Sketch } from './scene.ts';
import { hex } from './walk-chain.ts';

const WIDTH = 980;
const PAGE = 4096;
const CELLS_MAX = 4096;
const COLUMNS = 64;
const CELL = 13;
const ADDRESSES = 100;
const STRIP_HEIGHT = 26;
const ROW = 22;
const ROWS_MAX = 40;

const OWNERS: readonly PageOwner[] = ['host', 'hyp', 'guest', 'shared'];
export interface MemoryViewOptions {
  readonly title?: string;
}

/** Draws a memory map. */
export function memoryView(map: MemoryMap, options: MemoryViewOptions = {}): Scene {
  const pages = map.runs.reduce((sum, run) => sum + run.pages, 0);
  const sketch = new Sketch();
  const title = options.title ?? `Memory of ${map.machine}`;
  const counts = countsOf(map.runs);
  let y = heading(sketch, WIDTH, title, `${count(pages)} pages of 4 KiB.`) + 4;
  y = legendRows(sketch, MARGIN, y, WIDTH - 2 * MARGIN, legend(counts)) + 14;
  for (const { base, size } of map.ram) {
    const runs = map.runs.filter(({ pa }) => pa >= base && pa < base + size);
    y = (pages <= CELLS_MAX ? grid(sketch, runs, base, y) : strip(sketch, runs, base, size, y)) + 16;
  }
  return sketch.scene(title, described(map, counts), WIDTH, y + MARGIN - 16);
}

interface Counts {
  readonly owners: Readonly<Record<PageOwner, number>>;
  readonly mapped: number;
  readonly cached: number;
}

function countsOf(runs: readonly MemoryRun[]): Counts {
  const owners = { host: 0, hyp: 0, guest: 0, shared: 0 };
  let [mapped, cached] = [0, 0];
  for (const run of runs) {
    owners[run.owner] += run.pages;
    if (run.mapped) mapped += run.pages;
    if (run.cached) cached += run.pages;
  }
  return { owners, mapped, cached };
}

function legend({ owners, mapped, cached }: Counts): LegendEntry[] {
  return [
    ...OWNERS.filter((owner) => owners[owner] > 0).map(
      (owner): LegendEntry => ({
        text: `${OWNER_NAMES[owner]}: ${count(owners[owner])}`,
        surface: `${owner}-pale`,
        edge: owner,
      }),
    ),
    { text: `mapped for DMA: ${count(mapped)}`, surface: 'ink-full' },
    ...(cached > 0
      ? [{ text: `an old entry may lead there: ${count(cached)}`, surface: 'bad-pale', edge: 'bad' } as const]
      : []),
  ];
}

/** One cell for each page. @returns y below */
function grid(sketch: Sketch, runs: readonly MemoryRun[], base: number, top: number): number {
  let page = 0;
  for (const run of runs) {
    for (let i = 0; i < run.pages; i++, page++) {
      const x = MARGIN + ADDRESSES + (page % COLUMNS) * CELL;
      const y = top + Math.floor(page / COLUMNS) * CELL;
      sketch.box(x, y, CELL - 1, CELL - 1, run.cached ? 'bad-pale' : `${run.owner}-pale`, {
        ...(run.cached ? { edge: 'bad' } : {}),
        ...(run.mapped || run.cached || i === 0 ? { hint: hintOf(run, run.pa + i * PAGE) } : {}),
      });
      if (run.mapped) sketch.box(x + 3.5, y + 3.5, CELL - 8, CELL - 8, 'ink-full', { radius: 1 });
    }
  }
  const rows = Math.ceil(page / COLUMNS);
  // Every second row: the addresses need the room.
  for (let row = 0; row < rows; row += 2) {
    sketch.text(MARGIN, top + row * CELL + 11, hex(base + row * COLUMNS * PAGE), 'mono-small', 'dim');
  }
  return top + rows * CELL;
}

/** A strip to scale, and its runs by owner as a list. @returns y below */
function strip(sketch: Sketch, runs: readonly MemoryRun[], base: number, size: number, top: number): number {
  const width = WIDTH - 2 * MARGIN;
  const scale = width / size;
  sketch.text(MARGIN, top + 11, `${hex(base)} – ${hex(base + size - 1)}`, 'mono-small', 'dim');
  const y = top + 18;
  const owned = byOwner(runs);
  for (const { pa, pages, owner } of owned) {
    sketch.box(MARGIN + (pa - base) * scale, y, Math.max(1, pages * PAGE * scale), STRIP_HEIGHT, `${owner}-pale`);
  }
  marks(sketch, runs, base, scale, y);
  sketch.box(MARGIN, y, width, STRIP_HEIGHT, 'none', { edge: 'line', radius: 2 });
  let at = y + STRIP_HEIGHT + 10;
  for (const run of owned.slice(0, ROWS_MAX)) {
    listed(sketch, run, at);
    at += ROW;
  }
  if (owned.length > ROWS_MAX) {
    sketch.text(MARGIN + 26, at + 12, `and ${count(owned.length - ROWS_MAX)} more runs`, 'small', 'dim');
    at += ROW;
  }
  return at;
}

interface OwnedRun {
  readonly pa: number;
  readonly owner: PageOwner;
  pages: number;
  mapped: number;
  cached: number;
}

/** Runs of one owner, whatever is mapped in them. */
function byOwner(runs: readonly MemoryRun[]): OwnedRun[] {
  const owned: OwnedRun[] = [];
  for (const { pa, pages, owner, mapped, cached } of runs) {
    let last = owned.at(-1);
    if (last === undefined || last.owner !== owner) {
      last = { pa, owner, pages: 0, mapped: 0, cached: 0 };
      owned.push(last);
    }
    last.pages += pages;
    if (mapped) last.mapped += pages;
    if (cached) last.cached += pages;
  }
  return owned;
}

/** Ticks for pages that are mapped or may be reached; those that fall on one pixel are one tick. */
function marks(sketch: Sketch, runs: readonly MemoryRun[], base: number, scale: number, y: number): void {
  let end = -1;
  for (const { pa, pages, mapped, cached } of runs) {
    if (!mapped && !cached) continue;
    const x = Math.max(end, Math.floor((pa - base) * scale));
    const to = Math.ceil((pa - base + pages * PAGE) * scale);
    if (to <= x && !cached) continue;
    const surface = cached ? 'bad-full' : 'ink-full';
    sketch.box(MARGIN + x, y + STRIP_HEIGHT - 10, Math.max(1, to - x), 10, surface);
    end = Math.max(end, to);
  }
}

function listed(sketch: Sketch, { pa, pages, owner, mapped, cached }: OwnedRun, top: number): void {
  sketch.box(MARGIN, top + 1, 14, 14, `${owner}-pale`, { edge: owner, radius: 3 });
  sketch.text(MARGIN + 26, top + 12, `${hex(pa)} – ${hex(pa + pages * PAGE - 1)}`, 'mono-small');
  sketch.text(MARGIN + 270, top + 12, OWNER_NAMES[owner], 'small');
  sketch.text(MARGIN + 500, top + 12, `${count(pages)} ${pages === 1 ? 'page' : 'pages'}`, 'small', 'dim', {
    anchor: 'end',
  });
  const facts = [
    mapped > 0 ? `${count(mapped)} mapped for DMA` : null,
    cached > 0 ? `old entries may lead to ${count(cached)}` : null,
  ].filter((fact) => fact !== null);
  if (facts.length > 0) sketch.text(MARGIN + 530, top + 12, facts.join('; '), 'small', cached > 0 ? 'bad' : 'ink');
}

function hintOf({ owner, mapped, cached }: MemoryRun, pa: number): string {
  const dma = mapped ? ', mapped for DMA' : '';
  return `${hex(pa)}: ${OWNER_NAMES[owner]}${dma}${cached ? ', an old entry may still lead there' : ''}`;
}

function count(n: number): string {
  return n.toLocaleString('en-US');
}

function described({ machine }: MemoryMap, { owners, mapped, cached }: Counts): string {
  const whose = OWNERS.filter((owner) => owners[owner] > 0).map(
    (owner) => `${count(owners[owner])} pages are ${OWNER_NAMES[owner]}`,
  );
  const old = cached > 0 ? ` Old entries may still lead to ${count(cached)}.` : '';
  return `Of the memory of ${machine}, ${whose.join(', ')}. ${count(mapped)} are mapped for DMA.${old}`;
}
