/** A walk as text for a terminal, and as the JSON document of `walk --json`. */
import { type DecodedField, hex64 } from '../oracle/decode/fields.ts';
import type { Beneath, Outcome, Walk, WalkStep } from './result.ts';
import { sizeName } from './tables.ts';

/** Colours of a terminal; plain functions that return their text keep it plain. */
export interface WalkStyle {
  dim(text: string): string;
  bold(text: string): string;
  good(text: string): string;
  bad(text: string): string;
}

const same = (text: string): string => text;
/** No colours. */
export const PLAIN: WalkStyle = { dim: same, bold: same, good: same, bad: same };

/** The walk in lines of at most `columns` characters where that is possible; ends with a line break. */
export function renderWalk(walk: Walk, columns = 100, style: WalkStyle = PLAIN): string {
  const lines = [style.bold(`stream ${hex(walk.sid)}, ${walk.write ? 'write' : 'read'} at IOVA ${hex(walk.iova)}`), ''];
  let beneath: Beneath | null = null;
  for (const step of walk.steps) {
    if (step.beneath !== null && step.beneath !== beneath) lines.push(style.dim(renderBeneath(step.beneath)));
    beneath = step.beneath;
    lines.push(...renderStep(step, columns, style));
  }
  const mark = walk.outcome.kind === 'translated' ? style.good : style.bad;
  lines.push(...renderOutcome(walk.outcome).map((line, i) => (i === 0 ? mark(line) : line)));
  return `${lines.join('\n')}\n`;
}

/** What the stage-2 descriptors that follow are read for. */
function renderBeneath({ of, ipa }: Beneath): string {
  return of === 'access'
    ? `stage 1 gives IPA ${hex(ipa)}, which stage 2 translates:`
    : `the ${of === 'CD' || of === 'L1CD' ? of : `${of} descriptor`} is at IPA ${hex(ipa)}, which stage 2 translates:`;
}

function renderStep(step: WalkStep, columns: number, style: WalkStyle): string[] {
  if (step.beneath !== null) return renderInner(step, columns, style);
  const only = step.words.length === 1 ? ` = ${hex64(step.words[0]!.hi, step.words[0]!.lo)}` : '';
  const where = step.pa === null ? hex(step.address) : `IPA ${hex(step.address)} -> PA ${hex(step.pa)}`;
  const lines = [`${style.bold(step.title.padEnd(15))} ${where}${only}  ${step.note}`];
  if (step.words.length > 1) {
    const words = step.words.map(({ hi, lo }, i) => ({
      name: `q${i}`,
      text: hex64(hi, lo),
      zero: hi === 0 && lo === 0,
    }));
    lines.push(
      ...wrapped(
        words.filter(({ zero }) => !zero).map(({ name, text }) => `${name} ${text}`),
        columns,
      ).map(style.dim),
    );
  }
  const said = step.fields.filter(({ value }) => value !== 0);
  lines.push(
    ...wrapped(
      said.map(({ name, text }) => `${name} ${text}`),
      columns,
    ),
  );
  lines.push('');
  return lines;
}

/** A stage-2 descriptor that is read on the way to something of stage 1: set in, and its fields dimmed. */
function renderInner(step: WalkStep, columns: number, style: WalkStyle): string[] {
  const word = step.words.length === 0 ? '' : ` = ${hex64(step.words[0]!.hi, step.words[0]!.lo)}`;
  const said = step.fields.filter(({ value }) => value !== 0).map(({ name, text }) => `${name} ${text}`);
  const isLast = !step.note.startsWith('table');
  return [
    `    ${step.title.padEnd(15)} ${hex(step.address)}${word}  ${step.note}`,
    ...wrapped(said, columns, 20).map(style.dim),
    ...(isLast ? [''] : []),
  ];
}

function wrapped(items: readonly string[], columns: number, from = 16): string[] {
  const indent = ' '.repeat(from);
  const lines: string[] = [];
  for (const item of items) {
    const last = lines.at(-1);
    if (last !== undefined && last.length + item.length + 3 <= columns) lines[lines.length - 1] = `${last} · ${item}`;
    else lines.push(`${indent}${item}`);
  }
  return lines;
}

function renderOutcome(outcome: Outcome): string[] {
  switch (outcome.kind) {
    case 'translated': {
      const { read, write, execute } = outcome.permissions;
      const access = `${read ? 'r' : '-'}${write ? 'w' : '-'}${execute ? 'x' : '-'}`;
      const { address, value } = outcome.leaf;
      return [
        `=> PA ${hex(outcome.pa)}  ${access}  ${outcome.memoryType}`,
        `   from a mapping of ${sizeName(outcome.size)}; leaf descriptor ${hex64(value.hi, value.lo)} at ${hex(address)}`,
      ];
    }
    case 'bypassed':
      return [`=> PA ${hex(outcome.pa)}, untranslated: ${outcome.reason}`];
    case 'aborted':
      return [`=> aborted without an event: ${outcome.reason}`];
    case 'fault': {
      const stage = outcome.stage === null ? '' : ` stage ${outcome.stage}`;
      const level = outcome.level === null ? '' : ` level ${outcome.level}`;
      const kind = outcome.class === null ? '' : `, class ${outcome.class}`;
      const ipa = outcome.ipa === null ? '' : `, IPA ${hex(outcome.ipa)}`;
      return [
        `=> ${outcome.event} (0x${outcome.code.toString(16).padStart(2, '0')})${stage}${level}${kind}${ipa}`,
        `   decided by: ${outcome.check}`,
        `   ${outcome.recorded ? 'an event is recorded' : 'no event is recorded'}`,
      ];
    }
  }
}

/** The document of `walk --json`: addresses and words in hexadecimal, every field of every structure. */
export function walkDocument(walk: Walk): Record<string, unknown> {
  return {
    sid: walk.sid,
    iova: hex(walk.iova),
    access: walk.write ? 'write' : 'read',
    steps: walk.steps.map((step) => ({
      kind: step.kind,
      title: step.title,
      ...(step.stage === null ? {} : { stage: step.stage, level: step.level }),
      address: hex(step.address),
      ...(step.pa === null ? {} : { pa: hex(step.pa) }),
      ...(step.beneath === null ? {} : { beneath: { of: step.beneath.of, ipa: hex(step.beneath.ipa) } }),
      words: step.words.map(({ hi, lo }) => hex64(hi, lo)),
      fields: Object.fromEntries(step.fields.map((field) => [field.name, fieldDocument(field)])),
      note: step.note,
    })),
    outcome: outcomeDocument(walk.outcome),
  };
}

function fieldDocument({ value, text }: DecodedField): number | string {
  return text.startsWith('0x') ? text : value;
}

function outcomeDocument(outcome: Outcome): Record<string, unknown> {
  switch (outcome.kind) {
    case 'translated': {
      const { address, value } = outcome.leaf;
      return { ...outcome, pa: hex(outcome.pa), leaf: { address: hex(address), value: hex64(value.hi, value.lo) } };
    }
    case 'bypassed':
      return { ...outcome, pa: hex(outcome.pa) };
    case 'aborted':
      return { ...outcome };
    case 'fault':
      return { ...outcome, ipa: outcome.ipa === null ? null : hex(outcome.ipa) };
  }
}

function hex(value: number): string {
  return `0x${value.toString(16)}`;
}
