import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { ID_FIELDS, structures } from '#machine';

const page = new URL('../../docs/smmuv3.md', import.meta.url);
if (process.env.UPDATE === '1') writeFileSync(page, structures.renderStructures());

test('docs/smmuv3.md is up to date (UPDATE=1 npx vitest run test/machine/structures-page.test.ts)', () => {
  expect(existsSync(page)).toBe(true);
  expect(readFileSync(page, 'utf8')).toBe(structures.renderStructures());
});

test('the page has every field of every structure, every command and every event, in whole tables', () => {
  const text = structures.renderStructures();
  const { CD, COMMAND_STRUCTURES, EVENT_STRUCTURES, L1CD, L1STD, PAGE_REQUEST, STE } = structures;
  for (const of of [STE, L1STD, CD, L1CD, PAGE_REQUEST]) {
    const section = text.split(`(${of.name})\n`)[1]?.split('\n## ')[0];
    for (const { name } of of.fields) expect(section, of.name).toContain(`| \`${name}\` |`);
  }
  for (const { name, opcode } of Object.values(COMMAND_STRUCTURES))
    expect(text).toContain(`| 0x${opcode.toString(16).padStart(2, '0')} | \`${name}\` |`);
  for (const { name, number } of Object.values(EVENT_STRUCTURES))
    expect(text).toContain(`| 0x${number.toString(16).padStart(2, '0')} | \`${name}\` |`);
  for (const { name } of ID_FIELDS)
    expect(text).toMatch(new RegExp(`^\\| (IDR\\d|AIDR)\\[[\\d:]+\\] \\| \`${name}\` \\|`, 'm'));
  const bars = (line: string) => line.split('|').length;
  const lines = text.split('\n');
  lines.forEach((line, i) => {
    if (line.startsWith('|') && lines[i - 1]?.startsWith('|')) expect(bars(line), line).toBe(bars(lines[i - 1]!));
  });
  expect(text).not.toMatch(/undefined|\| +\|/);
});
