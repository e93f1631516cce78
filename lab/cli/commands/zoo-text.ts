/** Cards of the zoo for people. */
import { wrap } from '../../narrator/render.ts';
import { type DefectCard, scenarioText, unifiedDiff } from '../../zoo/index.ts';
import type { OutOfScope } from '../../zoo/out-of-scope.ts';

const WIDTH = 100;

/** All cards, one line each, and what is not among them. */
export function listText(cards: readonly DefectCard[], outOfScope: readonly OutOfScope[]): string {
  const rows = cards.map(({ id, kind, profile, machine, property, title }) => [
    id,
    kind,
    profile,
    machine,
    property,
    title,
  ]);
  const head = ['defect', 'kind', 'profile', 'machine', 'property', 'what'];
  const widths = head.map((name, i) => Math.max(name.length, ...rows.map((row) => row[i]!.length)));
  const line = (row: readonly string[]): string =>
    row
      .map((text, i) => (i === row.length - 1 ? text : text.padEnd(widths[i]!)))
      .join('  ')
      .trimEnd();
  const outside = outOfScope.map(({ id, title, reason }) => `${id}  ${title}. ${reason}`);
  return `${[head, ...rows].map(line).join('\n')}\n\nNot in the zoo:\n${outside.join('\n')}\n`;
}

/** A card in full, and its parts. */
export interface CardText {
  readonly whole: string;
  readonly diff: string;
  readonly scenario: string;
}

const KINDS: Readonly<Record<DefectCard['kind'], string>> = {
  CVE: 'a published vulnerability',
  FIX: 'repaired by a published commit',
  DIFF: 'wrong in one published version, right in a later one',
  SRC: 'read in one published version',
  CLS: 'of a class that is known to happen',
};

export function showText(card: DefectCard): CardText {
  const diff = unifiedDiff(card);
  const scenario = scenarioText(card.id);
  const { upstream, profile, cpus, machine, property } = card;
  const origin = [KINDS[card.kind], ...(upstream.cve === undefined ? [] : [upstream.cve]), ...upstream.commits];
  const fields: readonly (readonly [string, string])[] = [
    ['Origin', origin.join(', ')],
    ['Upstream', upstream.reference],
    ['Breaks', card.breaks],
    ['Attack', card.attack],
    ['Shows on', `profile ${profile}, machine ${machine}, ${cpus} CPU${cpus === 1 ? '' : 's'}`],
    ['Reported by', `property ${property}`],
  ];
  const whole = [
    `${card.id}: ${card.title}`,
    '',
    ...fields.map(([name, text]) => field(name, text)),
    '',
    'The change of the source:',
    '',
    diff.trimEnd(),
    '',
    'The scenario:',
    '',
    scenario.trimEnd(),
    '',
  ].join('\n');
  return { whole, diff, scenario };
}

function field(name: string, text: string): string {
  const indent = ' '.repeat(13);
  const told = wrap(text, WIDTH - indent.length, '', indent).trimEnd();
  return `${name}:`.padEnd(indent.length) + told;
}
