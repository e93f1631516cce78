/**
 * Draws a timeline, time running down: what happens in memory, what goes through the SMMU's queues, and beside them a
 * bar for each old entry as long as the SMMU may use it. A page that is released while the bar runs is released too
 * early.
 */
import { heading, LINE_HEIGHT, legendRows, MARGIN, paragraph } from './layout.ts';
import { fitted, textWidth, wrapped } from './metrics.ts';
import { type Scene, Sketch, type Surface, type Tone } from './scene.ts';
import type { Timeline, TimelineMoment, TimelineStep, TimelineWindow } from './timeline.ts';

const DEFAULT_WIDTH = 960;
const BAND_HEIGHT = 28;
const ROW_PAD = 9;
const AXIS = MARGIN + 12;
const FIRST_LANE = MARGIN + 44;
const BAR = 16;
const BAR_GAP = 6;
const DOT = 4;
/** Bars side by side; where more windows overlap, the last ones share a place. */
const TRACKS_MAX = 4;

export interface TimelineViewOptions {
  /** Pixels, at least 560. */
  readonly width?: number;
  /** Number of the first step that is drawn. */
  readonly from?: number;
  /** Number of the last step that is drawn. */
  readonly to?: number;
  /** Heading; the scenario's title when left out. */
  readonly title?: string;
}

interface Lanes {
  readonly width: number;
  readonly memory: number;
  readonly queue: number;
  readonly held: number;
}

/** Draws a timeline, or its end from step `from` on. */
export function timelineView(timeline: Timeline, options: TimelineViewOptions = {}): Scene {
  const width = options.width ?? DEFAULT_WIDTH;
  const from = options.from ?? 1;
  const lanes: Lanes = { width, memory: FIRST_LANE, queue: width * 0.46, held: width * 0.67 };
  const sketch = new Sketch();
  const title = options.title ?? timeline.title;
  const to = Math.min(options.to ?? timeline.steps.length, timeline.steps.length);
  const part =
    from === 1 && to === timeline.steps.length ? '' : `; ${from === to ? `step ${from}` : `steps ${from} to ${to}`}`;
  const subtitle = `Hypervisor ${timeline.hypervisor} on ${timeline.machine}${part}. Time runs down.`;
  let y = laneHeads(sketch, lanes, heading(sketch, width, title, subtitle) + 8);
  const top = y;
  const tracks = tracksOf(timeline.windows);
  const labels = lanes.held + (Math.max(-1, ...tracks) + 1) * (BAR + BAR_GAP) + 8;
  /** Middle of the row of every moment, by its index; before and after what is drawn at its edges. */
  const rows: number[] = [];
  const ends: number[] = [];
  for (const step of timeline.steps) {
    const drawn = step.number >= from && step.number <= to;
    if (drawn) y = stepBand(sketch, lanes, step, y);
    const begin = y;
    for (const moment of step.moments) {
      if (!drawn) {
        rows.push(step.number < from ? top : Number.POSITIVE_INFINITY);
        ends.push(0);
        continue;
      }
      const notes = notesAt(timeline.windows, rows.length);
      const height = rowHeight(lanes, labels, moment, notes);
      rows.push(y + height / 2);
      ends.push(row(sketch, lanes, labels, moment, notes, y, height));
      y += height;
    }
    if (!drawn) continue;
    if (y > begin) separators(sketch, lanes, begin, y);
    for (const violation of step.violations) y = violationRow(sketch, lanes, violation, y);
    y += 8;
  }
  sketch.items.unshift({
    kind: 'line',
    points: [
      [AXIS, top],
      [AXIS, y + 6],
    ],
    tone: 'line',
    arrow: true,
  });
  timeline.windows.forEach((window, i) => {
    bar(sketch, lanes, window, tracks[i]!, { rows, ends, top, bottom: y });
  });
  y = legend(sketch, lanes, timeline, y + 18);
  return sketch.scene(title, described(timeline, from, to), width, y + MARGIN - 6);
}

function laneHeads(sketch: Sketch, lanes: Lanes, top: number): number {
  const heads = [
    [lanes.memory - 18, 'Memory'],
    [lanes.queue, 'SMMU queues'],
    [lanes.held, 'May still be cached'],
  ] as const;
  for (const [x, text] of heads) sketch.text(x, top + 12, text, 'heading', 'dim');
  return top + 26;
}

function stepBand(sketch: Sketch, lanes: Lanes, step: TimelineStep, top: number): number {
  const bad = step.violations.length > 0;
  const x = MARGIN + 26;
  const room = lanes.width - MARGIN - x;
  sketch.box(x, top, room, BAND_HEIGHT, bad ? 'bad-pale' : 'band', { radius: 5, hint: step.text });
  sketch.box(AXIS - 11, top + 3, 22, 22, bad ? 'bad-full' : 'dim-full', { radius: 11 });
  sketch.text(AXIS, top + 18, String(step.number), 'small', 'ink', { anchor: 'middle', inverse: true });
  const visible = step.moments.length === 0 ? room - 16 : Math.min(room - 16, lanes.width - MARGIN - x - 16);
  sketch.text(x + 8, top + 18.5, fitted(step.text, 'mono-small', visible), 'mono-small', bad ? 'bad' : 'ink');
  return top + BAND_HEIGHT + 4;
}

interface Note {
  readonly text: string;
  readonly tone: 'warn' | 'bad' | 'dim';
}

/** What stands beside the bars in the row of a moment. */
function notesAt(windows: readonly TimelineWindow[], moment: number): Note[] {
  return windows.flatMap((window): Note[] => {
    if (window.from === moment) return [{ text: `old ${window.text}`, tone: 'warn' }];
    if (window.released === moment) return [{ text: 'released too early', tone: 'bad' }];
    if (window.to === moment) return [{ text: 'gone for good', tone: 'dim' }];
    return [];
  });
}

function momentLines(lanes: Lanes, moment: TimelineMoment): string[] {
  const inQueue = moment.lane === 'queue';
  const room = inQueue ? lanes.held - lanes.queue - 32 : lanes.queue - lanes.memory - 24;
  return wrapped(moment.text, inQueue ? 'mono-small' : 'body', room);
}

function noteLines(lanes: Lanes, labels: number, notes: readonly Note[]): Note[] {
  return notes
    .slice(0, 3)
    .flatMap(({ text, tone }) =>
      wrapped(text, 'small', lanes.width - MARGIN - labels).map((line) => ({ text: line, tone })),
    );
}

function rowHeight(lanes: Lanes, labels: number, moment: TimelineMoment, notes: readonly Note[]): number {
  const lines = Math.max(momentLines(lanes, moment).length, noteLines(lanes, labels, notes).length);
  return lines * LINE_HEIGHT + ROW_PAD;
}

/** @returns where its text ends */
function row(
  sketch: Sketch,
  lanes: Lanes,
  labels: number,
  moment: TimelineMoment,
  notes: readonly Note[],
  top: number,
  height: number,
): number {
  const middle = top + height / 2;
  const x = moment.lane === 'queue' ? lanes.queue : lanes.memory;
  const tone = moment.early ? 'bad' : moment.lane === 'queue' ? 'second' : 'accent';
  sketch.text(AXIS + 34, middle + 4, moment.label, 'small', 'dim', { anchor: 'end' });
  sketch.box(x + 6, middle - DOT, 2 * DOT, 2 * DOT, `${tone}-full`, { radius: DOT, hint: moment.sentence });
  const lines = momentLines(lanes, moment);
  const style = moment.lane === 'queue' ? 'mono-small' : 'body';
  centred(middle, lines.length, (y, i) => {
    sketch.text(x + 20, y, lines[i]!, style, moment.early ? 'bad' : 'ink');
  });
  const beside = noteLines(lanes, labels, notes);
  centred(middle, beside.length, (y, i) => {
    sketch.text(labels, y, beside[i]!.text, 'small', beside[i]!.tone);
  });
  return x + 20 + Math.max(...lines.map((line) => textWidth(line, style)));
}

/** Lines between the lanes. */
function separators(sketch: Sketch, lanes: Lanes, top: number, bottom: number): void {
  for (const lane of [lanes.queue, lanes.held]) {
    const x = lane - 14;
    sketch.line(
      [
        [x, top],
        [x, bottom],
      ],
      'line',
      { dashed: true },
    );
  }
}

/** Calls `each` with the base line of every one of `count` lines around `middle`. */
function centred(middle: number, count: number, each: (y: number, i: number) => void): void {
  for (let i = 0; i < count; i++) each(middle + 4.5 + (i - (count - 1) / 2) * LINE_HEIGHT, i);
}

function violationRow(sketch: Sketch, lanes: Lanes, text: string, top: number): number {
  const x = MARGIN + 34;
  return paragraph(sketch, x, top + 16, lanes.held - x - 24, `Violation of ${text}`, 'small', 'bad') - 6;
}

/** Bars side by side where their windows overlap. @returns the track of each window */
function tracksOf(windows: readonly TimelineWindow[]): number[] {
  const ends: number[] = [];
  return windows.map(({ from, to }) => {
    const free = ends.findIndex((end) => end < from);
    const track = free >= 0 ? free : Math.min(ends.length, TRACKS_MAX - 1);
    ends[track] = to ?? Number.POSITIVE_INFINITY;
    return track;
  });
}

/** Where the moments are drawn. */
interface Rows {
  readonly rows: readonly number[];
  readonly ends: readonly number[];
  readonly top: number;
  readonly bottom: number;
}

function bar(sketch: Sketch, lanes: Lanes, window: TimelineWindow, track: number, place: Rows): void {
  const x = lanes.held + track * (BAR + BAR_GAP);
  const at = (moment: number | null): number =>
    moment === null ? place.bottom : Math.min(place.bottom, place.rows[moment]!);
  const end = at(window.to);
  const hint = `The SMMU may still use the old ${window.text}`;
  const part = (from: number, to: number, surface: Surface, text: string, edge?: Tone): void => {
    if (to > from) {
      const options = { radius: 3, hint: text, ...(edge === undefined ? {} : { edge }) };
      sketch.box(x, from, BAR, to - from, surface, options);
    }
  };
  const released = window.released === null ? end : at(window.released);
  const queued = Math.min(at(window.queued), end, released);
  part(at(window.from), queued, 'warn-full', hint);
  part(queued, released, 'warn-pale', `${hint}; its invalidation waits for CMD_SYNC`, 'warn');
  part(released, end, 'bad-full', `${hint}, although the page is released`);
  if (released >= end) return;
  sketch.line(
    [
      [place.ends[window.released!]! + 8, released],
      [x - 3, released],
    ],
    'bad',
    { dashed: true, arrow: true },
  );
}

function legend(sketch: Sketch, lanes: Lanes, { windows }: Timeline, top: number): number {
  if (windows.length === 0) return top - 18;
  const early = windows.some(({ released }) => released !== null);
  return legendRows(sketch, MARGIN, top, lanes.width - 2 * MARGIN, [
    { text: 'the old entry may be used', surface: 'warn-full' },
    { text: 'its invalidation waits for CMD_SYNC', surface: 'warn-pale', edge: 'warn' },
    ...(early ? [{ text: 'the page is released and may still be reached', surface: 'bad-full' } as const] : []),
  ]);
}

/** The timeline in words. */
function described({ steps, windows }: Timeline, from: number, to: number): string {
  const told = steps
    .filter(({ number }) => number >= from && number <= to)
    .map(({ number, text, moments, violations }) => {
      const inside = moments.map(({ sentence }) => sentence).join(' ');
      const wrong = violations.map((violation) => ` Violation of ${violation}.`).join('');
      return `Step ${number}: ${text}.${inside === '' ? '' : ` ${inside}`}${wrong}`;
    });
  const early = windows.filter(({ released }) => released !== null).length;
  const end =
    early > 0
      ? `${early === 1 ? 'One page is' : `${early} pages are`} released while the SMMU may still reach ${early === 1 ? 'it' : 'them'}.`
      : 'No page is released while the SMMU may still reach it.';
  return `${told.join(' ')} ${end}`;
}
