/**
 * Applies edits to sources. Every edit is looked for in the unedited source, so that the order of sets does not matter
 * and two sets that want the same lines are found out.
 */

import type { EditSet, SourceEdit } from './card.ts';

/** Sources by path. */
export type Sources = Readonly<Record<string, string>>;

/** Lines that change places: `count` lines of the file from line `from` on (counted from 0) become `lines`. */
export interface Splice {
  readonly set: string;
  readonly edit: SourceEdit;
  readonly from: number;
  readonly count: number;
  readonly lines: readonly string[];
}

/** An edit that cannot be applied. The message names the set, the file, the function, and what was found instead. */
export class EditError extends Error {
  override readonly name: string = 'EditError';
}

/**
 * Where in `sources` the edits of `sets` belong: per file, in the order of their lines.
 * @throws EditError when an edit does not match exactly once, or two of them touch the same lines
 */
export function locateEdits(sources: Sources, sets: readonly EditSet[]): Map<string, Splice[]> {
  const located = new Map<string, Splice[]>();
  for (const { id, edits } of sets) {
    for (const edit of edits) {
      const splices = located.get(edit.file) ?? [];
      splices.push(locate(sources, id, edit));
      located.set(edit.file, splices);
    }
  }
  for (const [file, splices] of located) {
    splices.sort((a, b) => a.from - b.from);
    for (let i = 1; i < splices.length; i++) {
      const [one, other] = [splices[i - 1]!, splices[i]!];
      if (one.from + one.count <= other.from) continue;
      throw new EditError(`${one.set} and ${other.set} both edit ${file}, line ${other.from + 1}`);
    }
  }
  return located;
}

/**
 * The sources with every edit applied; those that no edit touches are the same strings.
 * @throws EditError as {@link locateEdits}
 */
export function applyEdits(sources: Sources, sets: readonly EditSet[]): Sources {
  const edited: Record<string, string> = { ...sources };
  for (const [file, splices] of locateEdits(sources, sets)) {
    const lines = sources[file]!.split('\n');
    for (const { from, count, lines: after } of splices.toReversed()) lines.splice(from, count, ...after);
    edited[file] = lines.join('\n');
  }
  return edited;
}

function locate(sources: Sources, set: string, edit: SourceEdit): Splice {
  const place = `${set}: ${edit.file}, function ${edit.function}`;
  const source = Object.hasOwn(sources, edit.file) ? sources[edit.file] : undefined;
  if (source === undefined) throw new EditError(`${place}: there is no such file`);
  if (edit.before === '' || edit.before === edit.after) throw new EditError(`${place}: the edit changes nothing`);
  const lines = source.split('\n');
  const before = edit.before.split('\n');
  const [first, last] = functionLines(lines, edit.function, place);
  const matches: number[] = [];
  for (let at = first; at + before.length <= last + 1; at++) {
    if (before.every((line, i) => lines[at + i] === line)) matches.push(at);
  }
  if (matches.length !== 1) {
    throw new EditError(`${place}: the lines to replace occur ${matches.length} times instead of once`);
  }
  const after = edit.after === '' ? [] : edit.after.split('\n');
  return { set, edit, from: matches[0]!, count: before.length, lines: after };
}

/**
 * First and last line of a function: from its declaration to the brace at the same indentation. That takes formatted
 * sources, which ours are, and no parser.
 */
function functionLines(lines: readonly string[], name: string, place: string): [number, number] {
  const escaped = name.replaceAll('$', '\\$');
  const declaration = new RegExp(
    `^(?<indent> *)(?:(?:export )?function\\*? ?${escaped}[(<]|${escaped}: function\\*? ?[(<])`,
  );
  const starts = lines.flatMap((line, i) => (declaration.test(line) ? [i] : []));
  if (starts.length !== 1) throw new EditError(`${place}: the file has ${starts.length} functions of that name`);
  const first = starts[0]!;
  if (/\}[,;]?$/.test(lines[first]!)) return [first, first];
  const { indent = '' } = declaration.exec(lines[first]!)!.groups!;
  const ends = [`${indent}}`, `${indent}},`, `${indent}};`];
  const last = lines.findIndex((line, i) => i > first && ends.includes(line));
  if (last < 0) throw new EditError(`${place}: its end is not found`);
  return [first, last];
}
