/**
 * Draws the tables of one stream as a tree: every table with a strip that shows which of its entries are used, and
 * below it, indented, the next tables and the runs of pages that it maps.
 */
import type { WalkSource } from '../walk/source.ts';
import { type LeafRun, type TableNode, type TableTree, tableTree } from '../walk/table-tree.ts';
import { sizeName } from '../walk/tables.ts';
import { heading, MARGIN, paragraph } from './layout.ts';
import { fitted, textWidth } from './metrics.ts';
import { type Scene, Sketch } from './scene.ts';
import { hex } from './walk-chain.ts';

const WIDTH = 980;
const INDENT = 26;
const TABLE_HEIGHT = 34;
const RUN_HEIGHT = 22;
const STRIP = 256;
const DEFAULT_RUNS = 12;

export interface TablesViewOptions {
  /** Runs of one table that are drawn; the others are counted. */
  readonly maxRuns?: number;
  readonly title?: string;
}

/** Draws the tables of stream `sid`; a stream with no stage or two stages of translation has no tree of its own. */
export function tablesView(source: WalkSource, sid: number, options: TablesViewOptions = {}): Scene {
  return treeView(tableTree(source, sid), sid, options);
}

/** Draws a tree that was read before. */
export function treeView(tree: TableTree | null, sid: number, options: TablesViewOptions = {}): Scene {
  const sketch = new Sketch();
  const title = options.title ?? `Tables of stream ${hex(sid)}`;
  if (tree === null) {
    const why = 'The stream has no translation tables of one stage.';
    const end = paragraph(
      sketch,
      MARGIN,
      heading(sketch, WIDTH, title, '') + 12,
      WIDTH - 2 * MARGIN,
      why,
      'body',
      'dim',
    );
    return sketch.scene(title, why, WIDTH, end + 8);
  }
  const sum = totals(tree.root);
  const summary = `Stage ${tree.stage}: ${counted(sum.tables, 'table')}, ${counted(sum.leaves, 'mapping')} of ${bytesName(sum.bytes)} in ${counted(sum.runs, 'run')}.`;
  const top = heading(sketch, WIDTH, title, summary) + 8;
  const y = table(sketch, tree.root, 0, top, options.maxRuns ?? DEFAULT_RUNS);
  return sketch.scene(title, `${summary} ${outline(tree.root)}`, WIDTH, y + MARGIN - 8);
}

interface Totals {
  tables: number;
  runs: number;
  leaves: number;
  bytes: number;
}

function totals(node: TableNode): Totals {
  const sum: Totals = { tables: 1, runs: 0, leaves: 0, bytes: 0 };
  for (const child of node.children) {
    const below =
      child.kind === 'table'
        ? totals(child)
        : { tables: 0, runs: 1, leaves: child.count, bytes: child.count * child.size };
    sum.tables += below.tables;
    sum.runs += below.runs;
    sum.leaves += below.leaves;
    sum.bytes += below.bytes;
  }
  return sum;
}

/** @returns y below the table and all that hangs on it */
function table(sketch: Sketch, node: TableNode, depth: number, top: number, maxRuns: number): number {
  const x = MARGIN + depth * INDENT;
  const width = WIDTH - MARGIN - x;
  sketch.box(x, top, width, TABLE_HEIGHT - 4, 'card', { edge: 'line', radius: 6 });
  sketch.text(x + 12, top + 19.5, `Level ${node.level}`, 'heading', 'accent');
  sketch.text(x + 80, top + 19.5, `table at ${hex(node.address)}`, 'mono');
  const covers = `IOVA ${hex(node.iova)} and up, ${sizeName(node.span)} an entry`;
  sketch.text(x + 92 + textWidth(`table at ${hex(node.address)}`, 'mono'), top + 19.5, covers, 'small', 'dim');
  strip(sketch, node, WIDTH - MARGIN - STRIP - 10, top + 9);
  let y = top + TABLE_HEIGHT + 2;
  let last = y;
  const trunk = x + 12;
  const branch = (at: number): void => {
    sketch.line(
      [
        [trunk, at],
        [trunk + INDENT - 14, at],
      ],
      'line',
    );
    last = at;
  };
  let shown = 0;
  const runs = node.children.filter((child) => child.kind === 'run');
  for (const child of node.children) {
    if (child.kind === 'table') {
      branch(y + TABLE_HEIGHT / 2 - 2);
      y = table(sketch, child, depth + 1, y, maxRuns);
    } else if (shown < maxRuns) {
      shown++;
      branch(y + RUN_HEIGHT / 2);
      run(sketch, child, x + INDENT, y);
      y += RUN_HEIGHT;
    }
  }
  if (runs.length > shown) {
    const hidden = runs.slice(shown);
    const leaves = hidden.reduce((sum, { count }) => sum + count, 0);
    branch(y + RUN_HEIGHT / 2);
    sketch.text(
      x + INDENT + 6,
      y + 15,
      `and ${counted(hidden.length, 'more run')} with ${counted(leaves, 'mapping')}`,
      'small',
      'dim',
    );
    y += RUN_HEIGHT;
  }
  if (last > top + TABLE_HEIGHT) {
    sketch.line(
      [
        [trunk, top + TABLE_HEIGHT - 4],
        [trunk, last],
      ],
      'line',
    );
  }
  return y + 6;
}

/** Which entries are used, drawn to scale. */
function strip(sketch: Sketch, { entries, used }: TableNode, x: number, top: number): void {
  sketch.box(x, top, STRIP, 12, 'band', { radius: 2, hint: `${used.length} of ${entries} entries used` });
  const scale = STRIP / entries;
  for (let i = 0; i < used.length; ) {
    let next = i + 1;
    while (next < used.length && used[next] === used[next - 1]! + 1) next++;
    const wide = Math.max(1.5, (next - i) * scale);
    sketch.box(x + Math.min(used[i]! * scale, STRIP - wide), top, wide, 12, 'accent-full');
    i = next;
  }
}

function run(sketch: Sketch, leaf: LeafRun, x: number, top: number): void {
  const y = top + 15;
  const rights = `${leaf.read ? 'r' : '-'}${leaf.write ? 'w' : '-'}${leaf.execute ? 'x' : '-'}`;
  const end = leaf.iova + leaf.count * leaf.size;
  const range = `${hex(leaf.iova)} – ${hex(end - 1)}`;
  sketch.text(x + 6, y, fitted(range, 'mono-small', 280), 'mono-small');
  sketch.text(x + 300, y, `→ ${hex(leaf.pa)}`, 'mono-small');
  sketch.text(x + 470, y, rights, 'mono-small', leaf.write ? 'warn' : 'dim');
  sketch.text(x + 520, y, `${leaf.count} × ${sizeName(leaf.size)}`, 'small', 'dim');
}

function counted(count: number, what: string): string {
  return `${count.toLocaleString('en-US')} ${what}${count === 1 ? '' : 's'}`;
}

/** Bytes in the largest unit that divides them well. */
function bytesName(size: number): string {
  if (size < 2 ** 20) return `${size / 1024} KiB`;
  return size < 2 ** 30 ? `${round(size / 2 ** 20)} MiB` : `${round(size / 2 ** 30)} GiB`;
}

function round(value: number): string {
  return value.toFixed(1).replace(/\.0$/, '');
}

function outline(node: TableNode): string {
  const inside = node.children.map((child) =>
    child.kind === 'table'
      ? outline(child)
      : `${counted(child.count, 'mapping')} from IOVA ${hex(child.iova)} to ${hex(child.pa)}`,
  );
  const shown = inside.slice(0, DEFAULT_RUNS);
  const more = inside.length > shown.length ? `; and ${inside.length - shown.length} more` : '';
  return `Level ${node.level} table at ${hex(node.address)}: ${shown.length === 0 ? 'empty' : shown.join('; ')}${more}.`;
}
