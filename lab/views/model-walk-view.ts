/**
 * Draws an access over a machine that runs: the walk of what memory says now, and below it what else may happen by what
 * caches may still hold, with the commands that are missing.
 */
import type { HeldEntry, ModelWalk, PossibleOutcome } from '../walk/model.ts';
import { outcomeSentence } from '../walk/model-render.ts';
import { type Chip, chips, MARGIN, paragraph } from './layout.ts';
import { below, type Scene, Sketch } from './scene.ts';
import { hex } from './walk-chain.ts';
import { WALK_WIDTH, walkView } from './walk-view.ts';

const PAD = 14;
const ROOM = WALK_WIDTH - 2 * MARGIN - 2 * PAD;

export interface ModelWalkViewOptions {
  readonly title?: string;
  /** Where the machine stands, for example `behind step 13`. */
  readonly where: string;
}

/** Draws an explained access. */
export function modelWalkView(model: ModelWalk, { title, where }: ModelWalkViewOptions): Scene {
  const { walk, device, outcomes } = model;
  const access = `${device} ${walk.write ? 'writes' : 'reads'} at IOVA ${hex(walk.iova)}`;
  const now = outcomes[0]?.place ?? null;
  const top = walkView(walk, {
    title: title ?? access,
    subtitle: title === undefined ? `On the machine ${where}.` : `${access}, ${where}.`,
    ...(now === null ? {} : { place: () => now }),
  });
  const bottom = caches(model);
  return below(top.title, `${top.description} ${bottom.description}`, [top, bottom]);
}

/** What caches may still hold. */
function caches({ outcomes, held, elsewhere }: ModelWalk): Scene {
  const sketch = new Sketch();
  const title = 'What caches may still hold';
  const others = outcomes.slice(1);
  let y = 14;
  sketch.text(MARGIN, y, title, 'heading');
  y += 14;
  if (others.length === 0) {
    const nothing =
      held.length === 0 ? 'Nothing that this access could use.' : 'Nothing that leads this access elsewhere.';
    y = paragraph(sketch, MARGIN, y + 10, ROOM, nothing, 'body', 'ok') - 6;
  }
  for (const outcome of others) y = outcomeCard(sketch, outcome, y) + 8;
  for (const entry of held) y = entryCard(sketch, entry, y) + 8;
  if (elsewhere > 0) {
    const text = `${elsewhere} other ${elsewhere === 1 ? 'entry is' : 'entries are'} held that this access cannot use.`;
    y = paragraph(sketch, MARGIN, y + 12, ROOM, text, 'small', 'dim') - 6;
  }
  const told = [
    ...others.map((outcome) => `The access may also ${outcomeSentence(outcome)}.`),
    ...held.map(({ text, missing }) => `${text}; missing: ${missing.join(', then ')}.`),
  ];
  const description = `${title}: ${told.length === 0 ? 'nothing that this access could use.' : told.join(' ')}`;
  return sketch.scene(title, description, WALK_WIDTH, y + MARGIN - 8);
}

function outcomeCard(sketch: Sketch, outcome: PossibleOutcome, top: number): number {
  const tone = outcome.pa === null ? 'warn' : 'bad';
  const body = new Sketch();
  const text = `The access may also ${outcomeSentence(outcome)}`;
  const y = paragraph(body, MARGIN + PAD, top + 22, ROOM, text, 'body', tone);
  sketch.box(MARGIN, top, WALK_WIDTH - 2 * MARGIN, y - top - 6, `${tone}-pale`, { edge: tone, radius: 8 });
  sketch.items.push(...body.items);
  return y - 6;
}

function entryCard(sketch: Sketch, { kind, id, text, missing, pending }: HeldEntry, top: number): number {
  const body = new Sketch();
  const y = paragraph(body, MARGIN + PAD, top + 22, ROOM, `${kind} ${id}: ${text}`);
  const list: Chip[] = [
    { text: pending ? 'queued, missing:' : 'missing:', surface: 'none', tone: 'dim', style: 'small' },
    ...missing.map((command): Chip => ({ text: command, surface: 'warn-pale', tone: 'warn', edge: 'warn' })),
  ];
  const end = chips(body, MARGIN + PAD - 7, y - 8, ROOM, list) + 12;
  sketch.box(MARGIN, top, WALK_WIDTH - 2 * MARGIN, end - top, 'card', { edge: 'line', radius: 8 });
  sketch.items.push(...body.items);
  return end;
}
