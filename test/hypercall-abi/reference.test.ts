import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { calls, functionId, lifeCycleDiagram, lifeCycles, renderReference } from '#hypercall-abi';
import { argumentText, errorText, moreResults } from '../../hypercall-abi/reference-text.ts';

const page = new URL('../../docs/hypercalls.md', import.meta.url);
if (process.env.UPDATE === '1') writeFileSync(page, renderReference());

test('docs/hypercalls.md is up to date (UPDATE=1 npx vitest run test/hypercall-abi/reference.test.ts)', () => {
  expect(existsSync(page)).toBe(true);
  expect(readFileSync(page, 'utf8')).toBe(renderReference());
});

test('every error of every call is explained, and nothing else', () => {
  for (const { name, errors } of calls)
    expect(Object.keys(errorText[name]).toSorted(), name).toEqual(errors.toSorted());
  expect(Object.keys(errorText).length).toBe(calls.length);
});

test('a text for one argument names an argument that there is', () => {
  const known = calls.flatMap(({ name, args }) => args.map((arg) => `${name}.${arg.name}`));
  for (const key of Object.keys(argumentText)) expect(known).toContain(key);
  for (const name of Object.keys(moreResults)) expect(calls.map((spec) => spec.name)).toContain(name);
});

test('the page has each call with its id and arguments, each diagram, and whole tables', () => {
  const text = renderReference();
  for (const spec of calls) {
    const section = text.split(`### ${spec.name}\n`)[1]?.split('\n#')[0];
    expect(section).toContain(`0x${functionId(spec).toString(16)}`);
    spec.args.forEach(({ name, type }, i) => {
      expect(section).toContain(`| x${i + 1} | \`${name}\` | ${type} |`);
    });
    for (const error of spec.errors) expect(section).toContain(`\`-${error}\``);
  }
  for (const lifeCycle of Object.values(lifeCycles)) expect(text).toContain(lifeCycleDiagram(lifeCycle));
  const bars = (line: string) => line.split('|').length;
  const lines = text.split('\n');
  lines.forEach((line, i) => {
    if (line.startsWith('|') && lines[i - 1]?.startsWith('|'))
      expect(bars(line), line).toBe(bars(lines[i - 1] as string));
  });
  expect(text).not.toMatch(/undefined|\| +\|/);
});

test('links within the page lead somewhere', () => {
  const text = renderReference();
  const headings = [...text.matchAll(/^#+ (.+)$/gm)].map(([, title]) => title?.toLowerCase().replaceAll(' ', '-'));
  const links = [...text.matchAll(/\]\(#([^)]+)\)/g)].map(([, target]) => target);
  expect(links.length).toBeGreaterThan(calls.length);
  for (const link of links) expect(headings).toContain(link);
});
