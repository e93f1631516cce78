/** The reference page of the structures, as Markdown, made from their tables. */

import { ID_FIELDS, ID_REGISTER_NAMES, type IdField } from '../id-fields.ts';
import { CD, L1CD } from './cd.ts';
import { COMMAND_STRUCTURES } from './commands.ts';
import { EVENT_STRUCTURES } from './events.ts';
import type { Field, Structure } from './field.ts';
import { PAGE_REQUEST } from './page-request.ts';
import { L1STD, STE } from './ste.ts';

type Row = readonly string[];

const code = (text: string) => `\`${text}\``;
const byte = (value: number) => `0x${value.toString(16).padStart(2, '0')}`;

function table(head: Row, rows: readonly Row[]): string {
  const line = (cells: Row) => `| ${cells.map((cell) => cell || '-').join(' | ')} |`;
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n');
}

const place = ({ word, high, low }: Field) => `q${word}[${high === low ? high : `${high}:${low}`}]`;

function meaning({ meaning, values }: Field): string {
  const known = Object.entries(values).map(([value, text]) => `${code(value)} ${text}`);
  return known.length === 0 ? meaning : `${meaning}: ${known.join(', ')}`;
}

function fields(of: Structure): string {
  const judged = of.fields.some(({ illegal }) => illegal !== '');
  return table(
    ['Bits', 'Field', 'Meaning', ...(judged ? ['ILLEGAL when'] : [])],
    of.fields.map((field) => [place(field), code(field.name), meaning(field), ...(judged ? [field.illegal] : [])]),
  );
}

function entry(of: Structure, text: string): string {
  return `## ${of.title} (${of.name})\n\n${of.size * 8} bytes. ${text}\n\n${fields(of)}`;
}

const shared = ['Opcode', 'SSec'];

function commands(): string {
  const all = Object.values(COMMAND_STRUCTURES);
  const rows = all.map((of: (typeof all)[number]) => {
    const own = (of.fields as readonly Field[]).filter(({ name }) => !shared.includes(name));
    return [
      byte(of.opcode),
      code(of.name),
      of.title,
      own.map((field) => `${code(field.name)} ${place(field)}`).join(', '),
      of.illegal,
    ];
  });
  return [
    '## Commands',
    '',
    '16 bytes. Every other opcode is ILLEGAL, except for 0x80 to 0x8f, which are implementation defined. `SSec` (q0[10])',
    'is ILLEGAL on a non-secure queue. An ILLEGAL command stops the queue; nothing is done.',
    '',
    table(['Opcode', 'Command', 'What it does', 'Fields', 'ILLEGAL when'], rows),
    '',
    '### Fields of commands',
    '',
    fieldTexts(all),
  ].join('\n');
}

function events(): string {
  const all = Object.values(EVENT_STRUCTURES);
  const rows = all.map((of: (typeof all)[number]) => {
    const own = (of.fields as readonly Field[]).filter(({ word }) => word > 0);
    return [
      byte(of.number),
      code(of.name),
      of.title,
      own.map((field) => `${code(field.name)} ${place(field)}`).join(', '),
    ];
  });
  return [
    '## Events',
    '',
    '32 bytes. `Event` q0[7:0] is the number; `SSV` q0[11], `SSID` q0[31:12] and `SID` q0[63:32] say which stream.',
    'Numbers 0xe0 to 0xef are implementation defined. A transaction leaves one record at most.',
    '',
    table(['Number', 'Event', 'When', 'Fields'], rows),
    '',
    '### Fields of events',
    '',
    fieldTexts(all),
  ].join('\n');
}

function identification(): string {
  const reported = ({ from, refused, value }: IdField): string => {
    if (from.length > 0) return from.map(code).join(', ');
    return refused === '' ? `always ${value({} as never)}` : `0: not modelled, refused as ${code(refused)}`;
  };
  const bits = ({ high, low }: IdField): string => (high === low ? `${high}` : `${high}:${low}`);
  const rows = ID_FIELDS.map((field) => {
    return [`${ID_REGISTER_NAMES[field.register]}[${bits(field)}]`, code(field.name), field.meaning, reported(field)];
  });
  return [
    '## ID registers',
    '',
    'What the model reports, and by which fields of the SMMU in a machine description. A description that asks for a feature',
    'that is not modelled is refused by name; [what is modelled, and how](smmuv3-model.md), says more.',
    '',
    table(['Bits', 'Field', 'Meaning', 'Reported'], rows),
  ].join('\n');
}

/** Each field once, with what it means and, if some is, when it is ILLEGAL; with its owners where a name has two meanings. */
function fieldTexts(all: readonly Structure[]): string {
  const rows = new Map<string, { readonly field: Field; readonly owners: string[] }>();
  for (const of of all)
    for (const field of of.fields) {
      const key = `${field.name}: ${meaning(field)}`;
      const row = rows.get(key);
      if (row === undefined) rows.set(key, { field, owners: [code(of.name)] });
      else row.owners.push(code(of.name));
    }
  const uses = [...rows.values()];
  const isShared = (field: Field) => uses.filter((use) => use.field.name === field.name).length > 1;
  const judged = uses.some(({ field }) => field.illegal !== '');
  return table(
    ['Field', 'Meaning', ...(judged ? ['ILLEGAL when'] : [])],
    uses.map(({ field, owners }) => [
      code(field.name),
      isShared(field) ? `${meaning(field)} (${owners.join(', ')})` : meaning(field),
      ...(judged ? [field.illegal] : []),
    ]),
  );
}

/** The whole page. */
export function renderStructures(): string {
  return `${[
    [
      '# SMMUv3 structures',
      '',
      '<!-- Generated from machine/smmu-v3/structures by `UPDATE=1 npx vitest run test/machine/structures-page.test.ts`. -->',
      '',
      'What hardware reads and writes, field by field. A structure is made of 64-bit little-endian words q0, q1 and so on.',
      'An address is held in place: its low bits, which the field does not have, are 0.',
    ].join('\n'),
    entry(
      STE,
      'An ILLEGAL entry aborts its stream with C_BAD_STE. `Config` 0 to 3 abort silently, whatever else the entry says.',
    ),
    entry(L1STD, 'An ILLEGAL descriptor gives C_BAD_STREAMID. Only the non-leaf form of CFGI_STE drops it.'),
    entry(
      CD,
      'An ILLEGAL descriptor aborts with C_BAD_CD. Fields of a half of the address space count while its EPD is 0.',
    ),
    entry(L1CD, 'An ILLEGAL descriptor gives C_BAD_SUBSTREAMID. Only the non-leaf form of CFGI_CD drops it.'),
    commands(),
    events(),
    entry(PAGE_REQUEST, 'An entry of the PRI queue. It is written as it comes: no stream table entry is looked at.'),
    identification(),
  ].join('\n\n')}\n`;
}
