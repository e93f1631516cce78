/**
 * Which commands of a history the driver submitted when, by the log's `cmdlist` lines. On older kernels a line tells
 * how many commands go in and what the first two are; the history must then be found to say the same. On newer ones
 * the probe reads the queue's own indexes in their place: where the submission begins. A strict log without such lines
 * is aligned by its unmaps: each is followed by a batch that invalidates by address.
 */
import { COMMAND_WORDS, commandOpcode, Opcode } from '../../oracle/decode/command.ts';
import { hex64 } from '../../oracle/decode/fields.ts';
import type { CommandListEvent, TraceEvent, UnmapEvent } from '../../trace/event.ts';
import { type Commands, commandCount } from '../commands.ts';
import type { Tally } from '../tally.ts';

/** Commands [first, end) that were submitted at a line of the log, by a task on a CPU. */
export interface Submission {
  readonly line: number;
  readonly cpu: number;
  readonly pid: number;
  readonly first: number;
  readonly end: number;
}

export interface Alignment {
  readonly by: 'cmdlist' | 'unmaps';
  readonly submissions: readonly Submission[];
}

/** What one line says: how many commands, and whether the history says the same at `at`. */
type Fits = (event: CommandListEvent, at: number) => boolean;

/** Aligns a history with its log; null when neither its lines nor its unmaps tell. */
export function align(
  commands: Commands,
  events: readonly TraceEvent[],
  policy: 'strict' | 'lazy' | null,
  tally: Tally,
): Alignment | null {
  const lists = events.filter((event): event is CommandListEvent => event.kind === 'cmdlist');
  if (lists.length > 0 && lists.every(({ shifted }) => !shifted)) {
    return { by: 'cmdlist', submissions: byContent(commands, lists, tally) };
  }
  if (lists.length > 0 && plausible(lists, commandCount(commands))) {
    return { by: 'cmdlist', submissions: byIndex(commands, lists, tally) };
  }
  if (policy !== 'strict') return null;
  const unmaps = events.filter((event): event is UnmapEvent => event.kind === 'unmap' && event.unmapped > 0);
  return { by: 'unmaps', submissions: byUnmaps(commands, unmaps, tally) };
}

/** Number of commands that a submission puts in, SYNC included. */
function lengthOf({ count, sync }: CommandListEvent): number {
  return count + (sync === true ? 1 : 0);
}

/** The log may begin late and end early: of all places where it could begin, the one that fits most lines. */
function byContent(commands: Commands, lists: readonly CommandListEvent[], tally: Tally): Submission[] {
  const total = lists.reduce((sum, event) => sum + lengthOf(event), 0);
  const last = Math.max(0, commandCount(commands) - total);
  const fits: Fits = (event, at) => difference(commands, event, at) === null;
  let best = last;
  let fewest = Number.POSITIVE_INFINITY;
  for (let start = last; start >= 0 && fewest > 0; start--) {
    let misses = 0;
    let at = start;
    for (const event of lists) {
      if (!fits(event, at)) misses++;
      if (misses >= fewest) break;
      at += lengthOf(event);
    }
    if (misses < fewest) [best, fewest] = [start, misses];
  }
  let at = best;
  return lists.map((event) => {
    const { line, cpu, pid } = event;
    const first = at;
    at += lengthOf(event);
    tally.begin('submissions in the log', () => `line ${line}, commands ${first} to ${first + lengthOf(event) - 1}`);
    const differs = difference(commands, event, first);
    if (differs !== null) tally.differs(differs.what, differs.log, differs.queue);
    tally.end();
    return { line, cpu, pid, first, end: at };
  });
}

/** What the history has at `at` that the line does not say; null when they agree. */
function difference(
  commands: Commands,
  { count, sync, first, second }: CommandListEvent,
  at: number,
): { what: string; log: string; queue: string } | null {
  const seen = [first, second];
  for (let i = 0; i < Math.min(count, 2); i++) {
    const [a, b] = [wordsAt(seen[i]!, 0), wordsAt(commands, COMMAND_WORDS * (at + i))];
    if (a !== b) return { what: `command ${at + i}`, log: a, queue: b };
  }
  if (sync !== true) return null;
  const opcode = commandOpcode(commands[COMMAND_WORDS * (at + count)] ?? 0);
  if (opcode === Opcode.SYNC) return null;
  return { what: `command ${at + count}`, log: 'a SYNC', queue: wordsAt(commands, COMMAND_WORDS * (at + count)) };
}

function wordsAt(words: ArrayLike<number>, at: number): string {
  if (at + COMMAND_WORDS > words.length) return 'no command';
  return `${hex64(words[at + 1]!, words[at]!)} ${hex64(words[at + 3]!, words[at + 2]!)}`;
}

/** The queue's producer index, as the probe of a newer kernel reads it. */
function producer({ first }: CommandListEvent): number {
  return first[0] >>> 0;
}

function plausible(lists: readonly CommandListEvent[], total: number): boolean {
  let before = 0;
  for (const event of lists) {
    const at = producer(event);
    if (!event.shifted || at < before || at + event.count > total) return false;
    before = at;
  }
  return true;
}

function byIndex(commands: Commands, lists: readonly CommandListEvent[], tally: Tally): Submission[] {
  return lists.map((event, i) => {
    const { line, cpu, pid, count } = event;
    const first = producer(event);
    const next = lists[i + 1];
    const end = next === undefined ? firstAfter(commands, first + count) : producer(next);
    tally.begin('submissions in the log', () => `line ${line}, from command ${first}`);
    const length = end - first;
    if (length !== count && length !== count + 1)
      tally.differs('length', `${count}, and a SYNC or none`, String(length));
    else if (length === count + 1) {
      const opcode = commandOpcode(commands[COMMAND_WORDS * (end - 1)]!);
      if (opcode !== Opcode.SYNC)
        tally.differs(`command ${end - 1}`, 'a SYNC', wordsAt(commands, COMMAND_WORDS * (end - 1)));
    }
    tally.end();
    return { line, cpu, pid, first, end };
  });
}

/** Past the SYNC at `at`, if there is one. */
function firstAfter(commands: Commands, at: number): number {
  return commandOpcode(commands[COMMAND_WORDS * at] ?? 0) === Opcode.SYNC ? at + 1 : at;
}

/** Each unmap takes the next batch that invalidates by address; what lies before it goes with it. */
function byUnmaps(commands: Commands, unmaps: readonly UnmapEvent[], tally: Tally): Submission[] {
  const submissions: Submission[] = [];
  const total = commandCount(commands);
  let at = 0;
  for (const { line, cpu, pid } of unmaps) {
    const first = at;
    let found = false;
    for (let batched = false; at < total; ) {
      const opcode = commandOpcode(commands[COMMAND_WORDS * at++]!);
      batched ||= opcode === Opcode.TLBI_NH_VA || opcode === Opcode.TLBI_NH_VAA || opcode === Opcode.TLBI_S2_IPA;
      found = batched && opcode === Opcode.SYNC;
      if (found) break;
    }
    tally.check('unmaps with a batch of their own', `line ${line}`, 'a batch that invalidates by address', true, found);
    submissions.push({ line, cpu, pid, first, end: at });
  }
  return submissions;
}
