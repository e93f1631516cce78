/**
 * Draws one access of a device: the chain from the register to the page, every word that was fetched on the way with
 * its address and key fields, and what came of it: the page with its permissions, or the check that said no.
 */
import { hex64 } from '../oracle/decode/fields.ts';
import type { Outcome, Walk, WalkStep } from '../walk/result.ts';
import { sizeName } from '../walk/tables.ts';
import { type Chip, chips, heading, LINE_HEIGHT, MARGIN, paragraph } from './layout.ts';
import { textWidth } from './metrics.ts';
import { type Scene, Sketch, type Tone } from './scene.ts';
import { addressParts, chainOf, checksOf, groupsOf, hex, type Link } from './walk-chain.ts';

/** Width of the drawing of a walk. */
export const WALK_WIDTH = 980;
const PAD = 14;
const INNER = 30;
const GAP = 30;
const TITLE_COLUMN = 140;
const LEVEL_COLUMN = 60;

/** What a walk is drawn with. */
export interface WalkViewOptions {
  /** Heading; one that names stream and address when left out. */
  readonly title?: string;
  /** Below the heading; the access and how many structures are fetched when left out. */
  readonly subtitle?: string;
  /** What a physical address is called, for example `page secret, the host's`. */
  readonly place?: (pa: number) => string;
}

/** Draws a walk. */
export function walkView(walk: Walk, options: WalkViewOptions = {}): Scene {
  const sketch = new Sketch();
  const access = `${walk.write ? 'Write' : 'Read'} by stream ${hex(walk.sid)} at IOVA ${hex(walk.iova)}`;
  const title = options.title ?? access;
  const count = `${walk.steps.length} ${walk.steps.length === 1 ? 'structure is' : 'structures are'} fetched`;
  const subtitle = options.subtitle ?? (options.title === undefined ? `${count}.` : `${access}: ${count}.`);
  let y = heading(sketch, WALK_WIDTH, title, subtitle);
  y = address(sketch, walk, y);
  y = register(sketch, walk, y);
  const links = chainOf(walk);
  const groups = groupsOf(links);
  groups.forEach((group, i) => {
    const decided = walk.outcome.kind === 'fault' && i === groups.length - 1;
    const [link] = group;
    y = arrow(sketch, y, link!.inner ? '' : link!.from, link!.inner);
    y = link!.inner ? innerCard(sketch, group, decided, y) : card(sketch, link!, decided, y);
  });
  y = arrow(sketch, y, outcomeOrigin(walk.outcome), false);
  y = outcome(sketch, walk.outcome, options, y);
  y = checks(sketch, walk, y + 22);
  return sketch.scene(title, described(walk), WALK_WIDTH, y + MARGIN);
}

/** The address, cut into the indexes of the levels. */
function address(sketch: Sketch, walk: Walk, top: number): number {
  const parts = addressParts(walk);
  if (parts.length === 0) return top + 4;
  const wide = (WALK_WIDTH - 2 * MARGIN) / parts.length;
  parts.forEach((part, i) => {
    const x = MARGIN + i * wide;
    const tone: Tone = part.used ? 'accent' : 'dim';
    sketch.box(x + 2, top, wide - 4, 46, part.used ? 'accent-pale' : 'band', { radius: 5 });
    sketch.text(x + wide / 2, top + 19, `${part.name}, bits ${part.top}:${part.bottom}`, 'small', tone, {
      anchor: 'middle',
    });
    const value = part.name === 'offset' ? hex(part.value) : `index ${part.value}`;
    sketch.text(x + wide / 2, top + 37, value, 'mono-bold', part.used ? 'ink' : 'dim', { anchor: 'middle' });
  });
  return top + 46 + 18;
}

function register(sketch: Sketch, { registers }: Walk, top: number): number {
  const { enabled, table, log2, twoLevel, split } = registers;
  const shape = twoLevel ? `two levels, split at bit ${split}` : 'linear';
  sketch.box(MARGIN, top, WALK_WIDTH - 2 * MARGIN, 64, 'card', { edge: 'line', radius: 8 });
  sketch.text(MARGIN + PAD, top + 24, 'Registers', 'heading');
  const list = [
    { text: `CR0.SMMUEN ${enabled ? 1 : 0}`, ...(enabled ? {} : ({ surface: 'warn-pale', tone: 'warn' } as const)) },
    { text: `STRTAB_BASE ${hex(table)}` },
    { text: `STRTAB_BASE_CFG: 2^${log2} streams, ${shape}` },
  ];
  sketch.text(WALK_WIDTH - MARGIN - PAD, top + 24, 'where the SMMU begins', 'body', 'dim', { anchor: 'end' });
  chips(sketch, MARGIN + PAD, top + 34, WALK_WIDTH - 2 * MARGIN - 2 * PAD, list);
  return top + 64;
}

/** From one card to the next, with what leads there beside it. */
function arrow(sketch: Sketch, top: number, text: string, inner: boolean): number {
  const x = MARGIN + 28 + (inner ? INNER : 0);
  const end = top + (text === '' ? 20 : GAP);
  sketch.line(
    [
      [x, top],
      [x, end],
    ],
    'dim',
    { arrow: true },
  );
  if (text !== '') sketch.text(x + 14, top + GAP / 2 + 4, text, 'small', 'dim');
  return end;
}

function card(sketch: Sketch, { step, fields, inner }: Link, decided: boolean, top: number): number {
  const x = MARGIN + (inner ? INNER : 0);
  const width = WALK_WIDTH - MARGIN - x;
  const room = width - 2 * PAD;
  const tone: Tone = decided ? 'bad' : step.stage === 2 ? 'second' : step.stage === 1 ? 'accent' : 'ink';
  const body = new Sketch();
  let y = top + 24;
  body.text(x + PAD, y, titleOf(step), 'heading', tone);
  const single = step.words.length === 1 ? ` = ${hex64(step.words[0]!.hi, step.words[0]!.lo)}` : '';
  const place = step.pa === null ? hex(step.address) : `IPA ${hex(step.address)} → PA ${hex(step.pa)}`;
  const where = `${place}${single}`;
  body.text(x + PAD + TITLE_COLUMN, y, where, 'mono');
  const rest = room - TITLE_COLUMN - textWidth(where, 'mono') - 20;
  if (textWidth(step.note, 'body') <= rest) {
    body.text(x + width - PAD, y, step.note, 'body', decided ? 'bad' : 'dim', { anchor: 'end' });
  } else {
    y = paragraph(body, x + PAD, y + LINE_HEIGHT + 2, room, step.note, 'body', decided ? 'bad' : 'dim') - LINE_HEIGHT;
  }
  y += 10;
  const words: Chip[] =
    step.words.length < 2
      ? []
      : step.words
          .map(({ hi, lo }, i) => ({ hi, lo, text: `q${i} ${hex64(hi, lo)}` }))
          .filter(({ hi, lo }) => hi !== 0 || lo !== 0)
          .map(({ text }) => ({ text, surface: 'none', tone: 'dim' }));
  y = chips(body, x + PAD - (words.length > 0 ? 7 : 0), y, room, words) + (words.length > 0 ? 4 : 0);
  y = chips(
    body,
    x + PAD,
    y,
    room,
    fields.map(({ name, text, meaning }) => ({ text: `${name} ${text}`, hint: meaning })),
  );
  const bottom = y + (fields.length > 0 ? 12 : 2);
  sketch.box(x, top, width, bottom - top, decided ? 'bad-pale' : 'card', { edge: decided ? 'bad' : 'line', radius: 8 });
  sketch.items.push(...body.items);
  return bottom;
}

/** A walk of stage 2 for something that stage 1 reads: a line for each descriptor. */
function innerCard(sketch: Sketch, links: readonly Link[], decided: boolean, top: number): number {
  const x = MARGIN + INNER;
  const width = WALK_WIDTH - MARGIN - x;
  const { of, ipa } = links[0]!.step.beneath!;
  const body = new Sketch();
  let y = top + 22;
  const what = of === 'CD' || of === 'L1CD' ? of : `${of} descriptor`;
  body.text(x + PAD, y, `Stage 2 of IPA ${hex(ipa)}, where the ${what} is`, 'body', decided ? 'bad' : 'second');
  for (const { step, from } of links) {
    y += LINE_HEIGHT + 4;
    const isLast = decided && step === links.at(-1)!.step;
    const word = step.words.length === 0 ? '' : ` = ${hex64(step.words[0]!.hi, step.words[0]!.lo)}`;
    body.text(x + PAD, y, `level ${step.level}`, 'small', 'dim', { hint: from });
    body.text(x + PAD + LEVEL_COLUMN, y, `${hex(step.address)}${word}`, 'mono-small', isLast ? 'bad' : 'ink', {
      hint: step.fields.map(({ name, text }) => `${name} ${text}`).join(', '),
    });
    body.text(x + width - PAD, y, step.note, 'small', isLast ? 'bad' : 'dim', { anchor: 'end' });
  }
  const bottom = y + 12;
  sketch.box(x, top, width, bottom - top, decided ? 'bad-pale' : 'card', { edge: decided ? 'bad' : 'line', radius: 8 });
  sketch.items.push(...body.items);
  return bottom;
}

function titleOf({ title }: WalkStep): string {
  return title.charAt(0).toUpperCase() + title.slice(1);
}

function outcomeOrigin(outcome: Outcome): string {
  return outcome.kind === 'translated' ? 'output address + offset' : '';
}

function outcome(sketch: Sketch, result: Outcome, { place }: WalkViewOptions, top: number): number {
  const x = MARGIN + PAD;
  const width = WALK_WIDTH - 2 * MARGIN;
  const tone: Tone = result.kind === 'fault' ? 'bad' : result.kind === 'translated' ? 'ok' : 'warn';
  const body = new Sketch();
  let y = top + 25;
  switch (result.kind) {
    case 'translated': {
      const { read, write, execute } = result.permissions;
      const called = place === undefined ? '' : `, ${place(result.pa)}`;
      body.text(x, y, `Physical address ${hex(result.pa)}${called}`, 'heading', tone);
      const may = (name: string, allowed: boolean): Chip =>
        allowed
          ? { text: name, surface: 'none', edge: 'ok', tone: 'ok' }
          : { text: `no ${name}`, surface: 'band', tone: 'dim' };
      y = chips(body, x, y + 11, width - 2 * PAD, [
        may('read', read),
        may('write', write),
        may('execute', execute),
        { text: result.memoryType },
        { text: `mapping of ${sizeName(result.size)}` },
      ]);
      break;
    }
    case 'bypassed':
      body.text(x, y, `Physical address ${hex(result.pa)}, untranslated`, 'heading', tone);
      y = paragraph(body, x, y + 21, width - 2 * PAD, result.reason) - 12;
      break;
    case 'aborted':
      body.text(x, y, 'Aborted, and no event says so', 'heading', tone);
      y = paragraph(body, x, y + 21, width - 2 * PAD, result.reason) - 12;
      break;
    case 'fault': {
      const where = [
        result.stage === null ? null : `stage ${result.stage}`,
        result.level === null ? null : `level ${result.level}`,
        result.class === null ? null : `class ${result.class}`,
        result.ipa === null ? null : `IPA ${hex(result.ipa)}`,
      ].filter((part) => part !== null);
      body.text(
        x,
        y,
        `${result.event} (${hex(result.code)})${where.length > 0 ? `: ${where.join(', ')}` : ''}`,
        'heading',
        tone,
      );
      const recorded = result.recorded ? 'An event is recorded.' : 'No event is recorded.';
      y = paragraph(body, x, y + 21, width - 2 * PAD, `Decided by: ${result.check}. ${recorded}`) - 12;
      break;
    }
  }
  const bottom = y + 12;
  sketch.box(MARGIN, top, width, bottom - top, `${tone}-pale`, { edge: tone, radius: 8 });
  sketch.items.push(...body.items);
  return bottom;
}

/** The order of checks, and how far this access came in it. */
function checks(sketch: Sketch, walk: Walk, top: number): number {
  sketch.text(MARGIN, top + 12, 'The order of checks', 'heading');
  sketch.text(MARGIN + 160, top + 12, 'from F_WALK_EABT to F_ADDR_SIZE again at every level', 'small', 'dim');
  const list = checksOf(walk).map(({ event, state }): Chip => {
    if (state === 'decided')
      return { text: `✗ ${event}`, surface: 'bad-pale', edge: 'bad', tone: 'bad', hint: 'this check decided' };
    if (state === 'passed') return { text: `✓ ${event}`, surface: 'ok-pale', tone: 'ok', hint: 'passed' };
    return { text: event, surface: 'band', tone: 'dim', hint: 'not reached' };
  });
  return chips(sketch, MARGIN, top + 24, WALK_WIDTH - 2 * MARGIN, list);
}

/** The walk in words. */
function described(walk: Walk): string {
  const steps = walk.steps.map(({ title, address, note }) => `${title} at ${hex(address)}: ${note}`);
  const { outcome: end } = walk;
  const result =
    end.kind === 'translated'
      ? `It reaches physical address ${hex(end.pa)}.`
      : end.kind === 'bypassed'
        ? `It reaches physical address ${hex(end.pa)} untranslated.`
        : end.kind === 'aborted'
          ? `It is aborted: ${end.reason}.`
          : `It ends with ${end.event}: ${end.check}.`;
  return `${steps.length === 0 ? 'Nothing is fetched' : steps.join('; ')}. ${result}`;
}
