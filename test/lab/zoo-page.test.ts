import { readFileSync, writeFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { cards } from '#lab/zoo/index';
import { outOfScope } from '#lab/zoo/out-of-scope';
import { renderZooPage } from '#lab/zoo/page';

const page = new URL('../../docs/zoo.md', import.meta.url);
if (process.env.UPDATE === '1') writeFileSync(page, renderZooPage());

test('docs/zoo.md is up to date (UPDATE=1 npx vitest run test/lab/zoo-page.test.ts)', () => {
  expect(readFileSync(page, 'utf8')).toBe(renderZooPage());
});

test('the page has every card, and why others are missing', () => {
  const text = renderZooPage();
  for (const { id, title } of cards) expect(text).toContain(`### ${id}: ${title}\n`);
  for (const { reason } of outOfScope) expect(text).toContain(reason);
  expect(text).not.toMatch(/undefined|NaN|: null/);
});
