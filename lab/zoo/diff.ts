/** The unified diff of a card: what its edits change, for people, for `git apply` and for `patch`. */

import { sources } from '#sources';
import { locateEdits, type Sources, type Splice } from './apply.ts';
import type { EditSet } from './card.ts';

/** Unchanged lines shown around a change. */
const CONTEXT = 3;

/** One line of a diff: kept, removed or added. */
interface DiffLine {
  readonly mark: ' ' | '-' | '+';
  readonly text: string;
}

/**
 * The unified diff that the edits of `sets` make of the sources of this hypervisor, or of those given; file names carry
 * `a/` and `b/`.
 * @throws EditError when an edit does not match exactly once
 */
export function unifiedDiff(sets: EditSet | readonly EditSet[], from: Sources = sources): string {
  const files = [...locateEdits(from, 'edits' in sets ? [sets] : sets)].toSorted(([a], [b]) => (a < b ? -1 : 1));
  return files.map(([file, splices]) => fileDiff(file, from[file]!, splices)).join('');
}

function fileDiff(file: string, source: string, splices: readonly Splice[]): string {
  const lines = source.split('\n');
  // A source ends with a line break, not with an empty line.
  lines.pop();
  const all: DiffLine[] = [];
  let at = 0;
  for (const { from, count, lines: after } of splices) {
    for (; at < from; at++) all.push({ mark: ' ', text: lines[at]! });
    all.push(...diffLines(lines.slice(from, from + count), after));
    at = from + count;
  }
  for (; at < lines.length; at++) all.push({ mark: ' ', text: lines[at]! });
  return `--- a/${file}\n+++ b/${file}\n${hunks(all, functionsOf(all))}`;
}

/** Hunks: runs of lines that are at most {@link CONTEXT} away from a change. */
function hunks(all: readonly DiffLine[], functions: readonly string[]): string {
  const shown = all.map((_, i) =>
    all.slice(Math.max(0, i - CONTEXT), i + CONTEXT + 1).some(({ mark }) => mark !== ' '),
  );
  let text = '';
  let oldLine = 1;
  let newLine = 1;
  for (let i = 0; i < all.length; ) {
    if (!shown[i]) {
      oldLine++;
      newLine++;
      i++;
      continue;
    }
    let end = i;
    while (end < all.length && shown[end]) end++;
    const part = all.slice(i, end);
    const oldCount = part.filter(({ mark }) => mark !== '+').length;
    const newCount = part.filter(({ mark }) => mark !== '-').length;
    const heading = i === 0 ? '' : functions[i - 1]!;
    text += `@@ -${range(oldLine, oldCount)} +${range(newLine, newCount)} @@${heading === '' ? '' : ` ${heading}`}\n`;
    for (const { mark, text: line } of part) text += `${mark}${line}\n`;
    oldLine += oldCount;
    newLine += newCount;
    i = end;
  }
  return text;
}

/** A line range as the format writes it; one of no lines is placed after the line before it. */
function range(first: number, count: number): string {
  return count === 1 ? `${first}` : `${count === 0 ? first - 1 : first},${count}`;
}

/** For each line, the last line up to it that starts at the margin with a word: the function or declaration it is in. */
function functionsOf(all: readonly DiffLine[]): string[] {
  let last = '';
  return all.map(({ mark, text }) => {
    if (mark !== '+' && /^[A-Za-z_$]/.test(text)) last = text;
    return last;
  });
}

/** The shortest way from one list of lines to another (longest common subsequence; the lists are a few lines long). */
function diffLines(before: readonly string[], after: readonly string[]): DiffLine[] {
  const common = Array.from({ length: before.length + 1 }, () => new Int32Array(after.length + 1));
  for (let i = before.length - 1; i >= 0; i--) {
    for (let k = after.length - 1; k >= 0; k--) {
      common[i]![k] =
        before[i] === after[k] ? common[i + 1]![k + 1]! + 1 : Math.max(common[i + 1]![k]!, common[i]![k + 1]!);
    }
  }
  const result: DiffLine[] = [];
  let i = 0;
  let k = 0;
  while (i < before.length || k < after.length) {
    if (i < before.length && before[i] === after[k]) {
      result.push({ mark: ' ', text: before[i]! });
      i++;
      k++;
    } else if (i < before.length && (k === after.length || common[i + 1]![k]! >= common[i]![k + 1]!)) {
      result.push({ mark: '-', text: before[i++]! });
    } else {
      result.push({ mark: '+', text: after[k++]! });
    }
  }
  return result;
}
