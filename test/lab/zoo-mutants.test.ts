/** Generic mutants: how a change is made and told, what becomes of one, and the report. */
import { expect, test } from 'vitest';
import { changeText, huntMutant, isCandidate, type Mutant, mutantReport, mutated } from '#lab/zoo/mutants';
import { sources } from '#sources';

/** The change of the one place in a source where `before` stands. */
function change(file: string, before: string, replacement: string, mutator = 'EqualityOperator'): Mutant {
  const lines = sources[file]!.split('\n');
  const line = lines.findIndex((text) => text.includes(before));
  expect(lines.filter((text) => text.includes(before)).length).toBe(1);
  const column = lines[line]!.indexOf(before);
  const end = { line, column: column + before.length };
  return { id: '1', file, mutator, start: { line, column }, end, replacement };
}

/** A clock that goes on by a hundredth at each look. */
function clock(): () => number {
  let now = 0;
  return () => {
    now += 0.01;
    return now;
  };
}

test('a change replaces what stands between two places, over lines, too', () => {
  const mutant = { id: '1', file: 'a', mutator: 'BlockStatement', replacement: '{}' };
  const text = 'if (x) {\n  y();\n}\nz();\n';
  const block = { ...mutant, start: { line: 0, column: 7 }, end: { line: 2, column: 1 } };
  expect(mutated(text, block)).toBe('if (x) {}\nz();\n');
  expect(changeText(text, block)).toBe('{ y(); } -> {}');
});

test('pauses, and what the layout says, are no candidates', () => {
  const pause = change('hyp/lock.ts', "yield { kind: 'unlock', at };", '');
  expect(isCandidate(pause)).toBe(false);
  expect(isCandidate(change('hyp/layout.ts', 'globals + 128', 'globals - 128'))).toBe(false);
  expect(isCandidate(change('hyp/lock.ts', 'h.cpu + 1;', 'h.cpu - 1;'))).toBe(true);
});

test('a mutant that breaks something is found, one that changes nothing survives', () => {
  const unlocked = change('hyp/pool.ts', 'addCount(h, pool + TOTAL_PAGES, -1);', '', 'BlockStatement');
  expect(huntMutant(unlocked, { seed: 1, cpuSeconds: 8 }, clock())).toMatchObject({
    fate: 'found',
    by: expect.stringContaining('/'),
  });
  const same = change('hyp/tlb.ts', 'const WHOLE_TAG_LEAVES = 512;', 'const WHOLE_TAG_LEAVES = 512 ;');
  expect(huntMutant(same, { seed: 1, cpuSeconds: 0.2 }, clock())).toMatchObject({ fate: 'survived', by: '', on: '' });
});

test('a mutant that does not boot, or cannot be built, says so', () => {
  const boot = change('hyp/boot.ts', 'const GBPA_ABORT = 1 << 20;', 'const GBPA_ABORT = 1 << 21;');
  expect(huntMutant(boot, { seed: 1, cpuSeconds: 1 }, clock())).toMatchObject({
    fate: 'boot',
    by: expect.stringContaining('refuses to boot'),
  });
  const broken = change('hyp/lock.ts', 'const mine = h.cpu + 1;', 'const mine = ;');
  expect(huntMutant(broken, { seed: 1, cpuSeconds: 1 }, clock())).toMatchObject({ fate: 'invalid' });
});

test('the report counts by file, leaves out what could not be built, and lists what survived', () => {
  const mutant = change('hyp/lock.ts', 'h.cpu + 1;', 'h.cpu - 1;', 'ArithmeticOperator');
  const other = change('hyp/tlb.ts', 'const IDENTITY_VMID = 0;', 'const IDENTITY_VMID = 1;');
  const result = { mutant, by: '', on: '', cpuSeconds: 1 };
  const text = mutantReport([
    { ...result, fate: 'survived' },
    { ...result, fate: 'found' },
    { ...result, fate: 'hang' },
    { ...result, fate: 'invalid' },
    { ...result, mutant: other, fate: 'boot' },
  ]);
  expect(text).toContain('detected 3 of 4 (75 %): found 1, hang 1, boot 1; 1 more could not be built');
  expect(text).toContain('  hyp/lock.ts: 2 of 3 (67 %)');
  expect(text).toContain('  hyp/tlb.ts: 1 of 1 (100 %)');
  expect(text).toMatch(/hyp\/lock\.ts:\d+ ArithmeticOperator: h\.cpu \+ 1; -> h\.cpu - 1;/);
});
