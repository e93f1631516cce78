/** Every card is well typed: one program holds each edited source beside the others, under a name of its own. */
import { join } from 'node:path';
import ts from 'typescript';
import { expect, test } from 'vitest';
import { applyEdits, cards, type EditSet } from '#lab/zoo/index';
import { sources } from '#sources';

const root = join(import.meta.dirname, '../..');

/** An edited source as a file of its own: beside the one that it stands for, so that its imports mean the same. */
interface Variant {
  readonly card: string;
  readonly original: string;
  readonly path: string;
  readonly text: string;
}

function variantsOf(sets: readonly EditSet[]): Variant[] {
  return sets.flatMap((set) => {
    const edited = applyEdits(sources, [set]);
    return Object.keys(sources)
      .filter((name) => edited[name] !== sources[name])
      .map((original) => {
        const path = original.replace(/\.ts$/, `.${set.id}.ts`);
        // Who imports the original must be able to import this one instead.
        const fits = `const fits: typeof import('./${original.split('/').at(-1)}') = {} as typeof import('./${path.split('/').at(-1)}');`;
        return { card: set.id, original, path, text: `${edited[original]}\n${fits}\nvoid fits;\n` };
      });
  });
}

/** Errors in the sources with each set's edits, as `set, file: message`. */
function typeErrors(sets: readonly EditSet[]): string[] {
  const { config } = ts.readConfigFile(join(root, 'tsconfig.json'), ts.sys.readFile);
  const { options } = ts.parseJsonConfigFileContent({ ...config, files: [], include: [] }, ts.sys, root);
  const variants = variantsOf(sets);
  const texts = new Map(variants.map(({ path, text }) => [join(root, path), text]));
  const host = ts.createCompilerHost({ ...options, types: [] });
  const { fileExists, getSourceFile, readFile } = host;
  host.fileExists = (path) => texts.has(path) || fileExists.call(host, path);
  host.readFile = (path) => texts.get(path) ?? readFile.call(host, path);
  host.getSourceFile = (path, language, onError, create) => {
    const text = texts.get(path);
    return text === undefined
      ? getSourceFile.call(host, path, language, onError, create)
      : ts.createSourceFile(path, text, language, true);
  };
  const program = ts.createProgram({ rootNames: [...texts.keys()], options: { ...options, types: [] }, host });
  return variants.flatMap(({ card, original, path }) => {
    const file = program.getSourceFile(join(root, path))!;
    return [...program.getSyntacticDiagnostics(file), ...program.getSemanticDiagnostics(file)].map(
      ({ messageText }) => `${card}, ${original}: ${ts.flattenDiagnosticMessageText(messageText, '\n')}`,
    );
  });
}

test('the sources with a defect are still well typed', () => {
  const line = { file: 'hyp/lock.ts', function: 'unlock', before: '  const mine = h.cpu + 1;' };
  const wrong: EditSet = { id: 'T1', edits: [{ ...line, after: "  const mine: number = '';" }] };
  const shape = { file: 'hyp/power.ts', function: 'switchPower' };
  const before = 'export function* switchPower(h: Hyp, device: number, on: boolean): Steps<number> {';
  const unfit: EditSet = { id: 'T2', edits: [{ ...shape, before, after: before.replace('boolean', 'number') }] };
  const errors = typeErrors([...cards, wrong, unfit]);
  expect(errors.filter((text) => !text.startsWith('T'))).toEqual([]);
  expect(errors[0]).toBe("T1, hyp/lock.ts: Type 'string' is not assignable to type 'number'.");
  expect(errors.some((text) => text.startsWith('T2, hyp/power.ts: Type '))).toBe(true);
});
