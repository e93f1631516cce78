import { join } from 'node:path';
import ts from 'typescript';
import { expect, test } from 'vitest';
import { applyEdits, cards } from '#lab/zoo/index';
import { sources } from '#sources';

const root = join(import.meta.dirname, '../..');

/** Type errors of the sources that an edit of a card touches, as `file:line message`. */
function typeErrors(edited: Readonly<Record<string, string>>, parsed: Map<string, ts.SourceFile>): string[] {
  const { config } = ts.readConfigFile(join(root, 'tsconfig.json'), ts.sys.readFile);
  const { options } = ts.parseJsonConfigFileContent({ ...config, files: [], include: [] }, ts.sys, root);
  const host = ts.createCompilerHost(options);
  const read = host.getSourceFile;
  host.getSourceFile = (path, language) => {
    const name = path.slice(root.length + 1).replaceAll('\\', '/');
    const text = edited[name];
    if (text !== undefined && text !== sources[name]) return ts.createSourceFile(path, text, language, true);
    const known = parsed.get(path) ?? read.call(host, path, language);
    if (known !== undefined) parsed.set(path, known);
    return known;
  };
  const touched = Object.keys(sources).filter((name) => edited[name] !== sources[name]);
  const program = ts.createProgram({
    rootNames: touched.map((name) => join(root, name)),
    options: { ...options, types: [] },
    host,
  });
  return touched.flatMap((name) => {
    const file = program.getSourceFile(join(root, name))!;
    return [...program.getSyntacticDiagnostics(file), ...program.getSemanticDiagnostics(file)].map(
      ({ messageText }) => `${name}: ${ts.flattenDiagnosticMessageText(messageText, '\n')}`,
    );
  });
}

test('the sources with a defect are still well typed', () => {
  const parsed = new Map<string, ts.SourceFile>();
  for (const card of cards) expect(typeErrors(applyEdits(sources, [card]), parsed)).toEqual([]);
  const bad = { ...sources, 'hyp/lock.ts': `${sources['hyp/lock.ts']}\nexport const bad: number = '';\n` };
  expect(typeErrors(bad, parsed)).toEqual(["hyp/lock.ts: Type 'string' is not assignable to type 'number'."]);
});
