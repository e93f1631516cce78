import { readFileSync, writeFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { renderHowItWorks } from '#lab/demo/how-it-works';

const page = new URL('../../docs/how-it-works.md', import.meta.url);
if (process.env.UPDATE === '1') writeFileSync(page, renderHowItWorks());

test('docs/how-it-works.md is up to date (UPDATE=1 npx vitest run test/lab/how-it-works.test.ts)', () => {
  expect(readFileSync(page, 'utf8')).toBe(renderHowItWorks());
});

test('the page shows the order that matters', () => {
  const [map, unmap] = renderHowItWorks().split('## unmap_pages');
  const places = (text: string, ...parts: readonly string[]): number[] => parts.map((part) => text.indexOf(part));
  const inOrder = (found: readonly number[]): void => {
    expect(found).not.toContain(-1);
    expect(found).toEqual(found.toSorted((a, b) => a - b));
  };
  inOrder(
    places(map!, 'domain 1.refs', 'write            hyp_page', 'writeDescriptor', 'barrier', 'unlock           domain'),
  );
  inOrder(places(unmap!, 'writeDescriptor', 'queue', 'barrier', 'CMDQ_PROD', 'CMDQ_CONS', 'write            hyp_page'));
  expect(renderHowItWorks()).not.toMatch(/undefined|NaN/);
});
