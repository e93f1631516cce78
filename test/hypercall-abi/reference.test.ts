import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import {
  calls,
  functionId,
  lifeCycleDiagram,
  lifeCycles,
  profiles,
  referenceFile,
  renderReference,
} from '#hypercall-abi';
import { argumentText, errorText, errorTextOf, moreResults } from '../../hypercall-abi/reference-text.ts';

for (const profile of profiles) {
  const page = new URL(`../../docs/${referenceFile(profile)}`, import.meta.url);
  if (process.env.UPDATE === '1') writeFileSync(page, renderReference(profile));

  test(`docs/${referenceFile(profile)} is up to date (UPDATE=1 npx vitest run test/hypercall-abi/reference.test.ts)`, () => {
    expect(existsSync(page)).toBe(true);
    expect(readFileSync(page, 'utf8')).toBe(renderReference(profile));
  });

  test(`${profile.name}: every error of every call is explained`, () => {
    for (const { name, errors } of profile.calls) {
      for (const error of errors) expect(errorTextOf(profile, name, error), `${name} ${error}`).toBeTypeOf('string');
    }
  });

  test(`${profile.name}: the page has each call with its id and arguments, and whole tables`, () => {
    const text = renderReference(profile);
    for (const spec of profile.calls) {
      const section = text.split(`### ${spec.name}\n`)[1]?.split('\n#')[0];
      expect(section).toContain(`0x${functionId(spec).toString(16)}`);
      spec.args.forEach(({ name, type }, i) => {
        expect(section).toContain(`| x${i + 1} | \`${name}\` | ${type} |`);
      });
      for (const error of spec.errors) expect(section).toContain(`\`-${error}\``);
    }
    const bars = (line: string) => line.split('|').length;
    const lines = text.split('\n');
    lines.forEach((line, i) => {
      if (line.startsWith('|') && lines[i - 1]?.startsWith('|'))
        expect(bars(line), line).toBe(bars(lines[i - 1] as string));
    });
    expect(text).not.toMatch(/undefined|\| +\|/);
  });
}

test('the texts of the default profile are those of its errors, and nothing else', () => {
  for (const { name, errors } of calls)
    expect(Object.keys(errorText[name]).toSorted(), name).toEqual(errors.toSorted());
  const known = new Set(profiles.flatMap((profile) => profile.calls.map(({ name }) => name)));
  expect(Object.keys(errorText).toSorted()).toEqual([...known].toSorted());
});

test('a text for one argument names an argument that there is', () => {
  const known = calls.flatMap(({ name, args }) => args.map((arg) => `${name}.${arg.name}`));
  for (const key of Object.keys(argumentText)) expect(known).toContain(key);
  for (const name of Object.keys(moreResults)) expect(calls.map((spec) => spec.name)).toContain(name);
});

test('each life cycle has its diagram on the page of the default profile', () => {
  for (const lifeCycle of Object.values(lifeCycles)) expect(renderReference()).toContain(lifeCycleDiagram(lifeCycle));
});

test('links within the page lead somewhere', () => {
  const text = renderReference();
  const headings = [...text.matchAll(/^#+ (.+)$/gm)].map(([, title]) => title?.toLowerCase().replaceAll(' ', '-'));
  const links = [...text.matchAll(/\]\(#([^)]+)\)/g)].map(([, target]) => target);
  expect(links.length).toBeGreaterThan(calls.length);
  for (const link of links) expect(headings).toContain(link);
});
