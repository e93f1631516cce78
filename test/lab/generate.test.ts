import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { generate } from '#lab/build/generate';

function project(files: Record<string, string>): string {
  const root = mkdtempSync(join(tmpdir(), 'postern-'));
  onTestFinished(() => rmSync(root, { recursive: true }));
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(join(root, path, '..'), { recursive: true });
    writeFileSync(join(root, path), text);
  }
  return root;
}

test('writes the plain twins and the table of sources', () => {
  const source = 'export function* f(): Steps<void> {\n  yield x;\n}\n';
  const root = project({ 'hyp/a/b.ts': source, 'io-pgtable/c.ts': 'export {};\n', 'hyp/readme.md': '' });
  expect(generate(root)).toEqual({ written: 3, removed: 0, unchanged: 0 });
  expect(readFileSync(join(root, '.plain/hyp/a/b.ts'), 'utf8')).toMatch(
    /^export function f\(\): Plain<void> \{\n {2}\n\}\n/,
  );
  const table = readFileSync(join(root, '.plain/sources.ts'), 'utf8');
  expect(table).toContain(`"hyp/a/b.ts": ${JSON.stringify(source)}`);
  expect(table).toContain('"io-pgtable/c.ts"');
});

test('writes the scenarios of the zoo, by defect', () => {
  const root = project({ 'lab/zoo/scenarios/Z9.txt': 'postern scenario v1\n', 'lab/zoo/scenarios/notes.md': 'no\n' });
  expect(generate(root)).toEqual({ written: 2, removed: 0, unchanged: 0 });
  const table = readFileSync(join(root, '.plain/scenarios.ts'), 'utf8');
  expect(table).toContain('"Z9": "postern scenario v1\\n"');
  expect(table).not.toContain('no');
});

test('leaves alone what is up to date, and removes what lost its original', () => {
  const root = project({ 'hyp/a.ts': 'export {};\n', 'hyp/b.ts': 'export {};\n' });
  generate(root);
  const { ino } = statSync(join(root, '.plain/hyp/a.ts'));
  rmSync(join(root, 'hyp/b.ts'));
  expect(generate(root)).toEqual({ written: 1, removed: 1, unchanged: 1 });
  expect(statSync(join(root, '.plain/hyp/a.ts')).ino).toBe(ino);
});

test('makes an empty table while there are no sources', () => {
  const root = project({});
  expect(generate(root)).toEqual({ written: 1, removed: 0, unchanged: 0 });
  expect(readFileSync(join(root, '.plain/sources.ts'), 'utf8')).toContain('= {};');
});

test('names the file and the line of what it cannot erase', () => {
  const root = project({ 'hyp/a.ts': '\nconst x = yield y;\n' });
  expect(() => generate(root)).toThrow('hyp/a.ts, line 2: a yield must be a statement of its own');
});
