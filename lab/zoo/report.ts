/** The detection matrix for people: Markdown, and HTML of the same tables. */

import type { Engine } from './engine.ts';
import type { Cell, MatrixRow, Spread } from './matrix.ts';
import { outOfScope } from './out-of-scope.ts';

/** What the matrix is of. */
export interface MatrixInfo {
  /** Day on which it was made, `2026-11-20`. */
  readonly date: string;
  readonly version: string;
  readonly firstSeed: number;
  readonly seeds: number;
  /** CPU seconds of each hunt. */
  readonly budget: number;
  readonly engines: readonly Engine[];
  /** Hunts that are done, and all there are to be. */
  readonly done: number;
  readonly total: number;
}

/** A table: cells are text without markup. */
interface Table {
  readonly head: readonly string[];
  readonly rows: readonly (readonly string[])[];
}

/** A part of the report: a heading, sentences, and perhaps a table. */
interface Part {
  readonly heading: string;
  readonly text: readonly string[];
  readonly table?: Table;
}

/** The matrix as Markdown. */
export function matrixMarkdown(rows: readonly MatrixRow[], info: MatrixInfo): string {
  const parts = partsOf(rows, info).map(({ heading, text, table }) => {
    const paragraphs = text.map((line) => `${line}\n`);
    return [`## ${heading}\n`, ...paragraphs, ...(table === undefined ? [] : [markdownTable(table)])].join('\n');
  });
  return `# What finds which defect\n\n${parts.join('\n')}`;
}

function markdownTable({ head, rows }: Table): string {
  const line = (cells: readonly string[]): string =>
    `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |\n`;
  return line(head) + line(head.map(() => '---')) + rows.map(line).join('');
}

/** The matrix as a page of HTML that needs nothing else. */
export function matrixHtml(rows: readonly MatrixRow[], info: MatrixInfo): string {
  const parts = partsOf(rows, info).map(({ heading, text, table }) => {
    const paragraphs = text.map((line) => `<p>${escaped(line)}</p>`);
    return [`<h2>${escaped(heading)}</h2>`, ...paragraphs, ...(table === undefined ? [] : [htmlTable(table)])].join(
      '\n',
    );
  });
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Postern: what finds which defect</title>
<style>${STYLE}</style>
</head>
<body>
<h1>What finds which defect</h1>
${parts.join('\n')}
</body>
</html>
`;
}

const STYLE =
  ':root{color-scheme:light dark}body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:75rem;padding:0 1rem}' +
  'table{border-collapse:collapse;margin:1rem 0}th,td{border:1px solid #8888;padding:.3rem .6rem;text-align:left;' +
  'vertical-align:top}th{background:#8882}td.missed{background:#d334}td.found{background:#3a53}';

function htmlTable({ head, rows }: Table): string {
  const cells = (row: readonly string[]): string =>
    row.map((cell) => `<td${classOf(cell)}>${escaped(cell)}</td>`).join('');
  const header = head.map((cell) => `<th scope="col">${escaped(cell)}</th>`).join('');
  return `<table>\n<tr>${header}</tr>\n${rows.map((row) => `<tr>${cells(row)}</tr>`).join('\n')}\n</table>`;
}

function classOf(cell: string): string {
  if (cell.startsWith(MISSED)) return ' class="missed"';
  return / calls?, /.test(cell) ? ' class="found"' : '';
}

function escaped(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}

// ---- the parts

const MISSED = 'not found';

function partsOf(rows: readonly MatrixRow[], info: MatrixInfo): Part[] {
  const missed = missedTable(rows);
  return [
    { heading: 'How', text: howText(info) },
    { heading: 'Defects and engines', text: [], table: matrixTable(rows, info) },
    ...(missed.rows.length === 0 ? [] : [{ heading: 'Not found', text: [], table: missed }]),
    { heading: 'By property', text: [BY_PROPERTY], table: propertyTable(rows, info) },
    {
      heading: 'Not in the zoo',
      text: [],
      table: {
        head: ['Defect', 'What', 'Why not'],
        rows: outOfScope.map(({ id, title, cves, reason }) => [id, [title, ...cves].join(', '), reason]),
      },
    },
  ];
}

const BY_PROPERTY = 'Defects by the property of the first violation, over all hunts.';

function howText({ date, version, firstSeed, seeds, budget, engines, done, total }: MatrixInfo): string[] {
  const range = seeds === 1 ? `seed ${firstSeed}` : `seeds ${firstSeed} to ${firstSeed + seeds - 1}`;
  const partly = done < total ? ` Interrupted: ${done} of ${total} hunts are done.` : '';
  return [
    `Postern ${version}, ${date}; ${range}; at most ${budget} s of CPU time for each hunt, which ends at the first violation.${partly}`,
    ...engines.map(({ name, describe }) => `${name}: ${describe}.`),
  ];
}

function matrixTable(rows: readonly MatrixRow[], { seeds, engines }: MatrixInfo): Table {
  return {
    head: ['Defect', 'What', 'Profile, machine', ...engines.map(({ name }) => name)],
    rows: rows.map(({ card, cells }) => [
      card.id,
      card.title,
      `${card.profile}, ${card.machine}`,
      ...cells.map((cell) => cellText(cell, seeds)),
    ]),
  };
}

/** A cell in words: what found it, calls, time, steps; or that it was not found. */
function cellText(cell: Cell, seeds: number): string {
  if (cell.hunts === 0) return cell.limit === null ? '' : `${MISSED}: cannot be`;
  const share = seeds === 1 ? '' : ` ${cell.found}/${cell.hunts}`;
  if (cell.found === 0) return `${MISSED}${share}`;
  const steps = `${cell.steps} step${cell.steps === 1 ? '' : 's'}`;
  const property = cell.properties.join(', ');
  if (cell.seconds === null || cell.calls === null) return `${MISSED} by most:${share}, ${property}, ${steps}`;
  const count = Math.round(cell.calls.median);
  const calls = `${count.toLocaleString('en-US')} call${count === 1 ? '' : 's'}`;
  return `${seeds === 1 ? '' : `${cell.found}/${cell.hunts}, `}${property}, ${calls}, ${secondsText(cell.seconds, seeds)}, ${steps}`;
}

function secondsText({ median, low, high }: Spread, seeds: number): string {
  if (seeds === 1) return `${median.toFixed(2)} s`;
  return `${median.toFixed(2)} s (${low.toFixed(2)} to ${high === null ? 'beyond' : high.toFixed(2)})`;
}

function missedTable(rows: readonly MatrixRow[]): Table {
  return {
    head: ['Defect', 'Engine', 'Why'],
    rows: rows.flatMap(({ card, cells }) =>
      cells
        .filter(({ limit, hunts, found }) => (hunts === 0 ? limit !== null : found < hunts))
        .map(({ engine, limit, hunts, found }) => [
          card.id,
          engine,
          limit ?? `the budget ended ${hunts - found} of ${hunts} hunts`,
        ]),
    ),
  };
}

function propertyTable(rows: readonly MatrixRow[], { engines }: MatrixInfo): Table {
  const names = [...new Set(rows.flatMap(({ cells }) => cells.flatMap(({ properties }) => properties)))].sort();
  return {
    head: ['Property', ...engines.map(({ name }) => name)],
    rows: names.map((property) => [
      property,
      ...engines.map((_, i) =>
        rows
          .filter(({ cells }) => cells[i]!.properties.includes(property))
          .map(({ card }) => card.id)
          .join(' '),
      ),
    ]),
  };
}
