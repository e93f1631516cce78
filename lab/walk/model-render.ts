/** An access over the model as text for a terminal, and as a JSON document. */
import type { HeldEntry, ModelWalk, PossibleOutcome } from './model.ts';
import { PLAIN, renderWalk, type WalkStyle, walkDocument } from './render.ts';

/** The walk, then what caches may make of the access instead, in lines; ends with a line break. */
export function renderModelWalk(model: ModelWalk, columns = 100, style: WalkStyle = PLAIN): string {
  let text = renderWalk(model.walk, columns, style);
  const [now, ...others] = model.outcomes;
  if (now?.place != null) text += `   that is ${now.place}\n`;
  text += `\n${style.bold('What caches may still hold')}\n`;
  if (others.length === 0) text += `   nothing that leads this access elsewhere\n`;
  for (const outcome of others) text += `${style.bad(`   the access may also ${outcomeSentence(outcome)}`)}\n`;
  for (const entry of model.held) text += heldLines(entry, style);
  if (model.elsewhere > 0) {
    const [entries, are] = model.elsewhere === 1 ? ['entry', 'is'] : ['entries', 'are'];
    text += `${style.dim(`   ${model.elsewhere} other ${entries} ${are} held that this access cannot use`)}\n`;
  }
  return text;
}

/** What may happen, as the end of a sentence that begins with "the access may". */
export function outcomeSentence({ pa, place, fault, via }: PossibleOutcome): string {
  const how = via === '' ? '' : `, through ${via.replaceAll(':', ' ').replaceAll(/ (?=[a-z])/g, ' and ')}`;
  if (pa !== null) return `reach ${hex(pa)}, ${place}${how}`;
  return fault === null ? `end without a report${how}` : `end with ${fault}${how}`;
}

function heldLines({ id, kind, text, missing, pending, decides }: HeldEntry, style: WalkStyle): string {
  const line = `   ${kind} ${id}: ${text}`;
  const wait = pending ? 'its invalidation is queued; missing' : 'missing';
  return `${decides ? style.bad(line) : line}\n${style.dim(`      ${wait}: ${missing.join(', then ')}`)}\n`;
}

/** The document of `walk --json` over a model. */
export function modelWalkDocument({ device, walk, outcomes, held, elsewhere }: ModelWalk): Record<string, unknown> {
  return {
    device,
    walk: walkDocument(walk),
    outcomes: outcomes.map((outcome) => ({ ...outcome, pa: outcome.pa === null ? null : hex(outcome.pa) })),
    held,
    elsewhere,
  };
}

function hex(value: number): string {
  return `0x${value.toString(16)}`;
}
