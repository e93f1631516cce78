import { expect, test } from 'vitest';
import {
  applyEdits,
  buildHypervisor,
  cards,
  cardsOf,
  EditError,
  type EditSet,
  editedHypervisor,
  hypervisorByIdentity,
  identityOf,
  steppedHypervisorByIdentity,
  unifiedDiff,
} from '#lab/zoo/index';
import { createMachine, preset, tiny } from '#machine';
import { sources } from '#sources';

const one =
  'export function* f(): Steps<void> {\n  a();\n  b();\n  a();\n}\n\nconst g = {\n  f: function* () {},\n};\n';
const tree = { 'hyp/x.ts': `${one}\nfunction h(\n  x: number,\n): void {\n  a();\n  c(x);\n}\n`, 'hyp/y.ts': one };

function set(edit: Partial<EditSet['edits'][number]>, id = 'T1'): EditSet {
  return { id, edits: [{ file: 'hyp/x.ts', function: 'h', before: '  a();', after: '  d();', ...edit }] };
}

test.each(cards.map((card) => [card.id, card] as const))('%s: every edit matches exactly once', (_, card) => {
  const edited = applyEdits(sources, [card]);
  const touched = Object.keys(sources).filter((path) => edited[path] !== sources[path]);
  expect(touched).toEqual([...new Set(card.edits.map(({ file }) => file))].toSorted());
});

test('cards name machines that there are', () => {
  for (const card of cards) expect(preset(card.machine).cpus).toBeGreaterThanOrEqual(card.cpus);
});

test('ids are unique and in order', () => {
  const ids = cards.map(({ id }) => id);
  expect(ids.toSorted((a, b) => a.localeCompare(b, 'en', { numeric: true }))).toEqual(ids);
  expect(new Set(ids).size).toBe(ids.length);
});

test('an edit replaces lines inside its function only', () => {
  const edited = applyEdits(tree, [set({})]);
  expect(edited['hyp/x.ts']).toBe(tree['hyp/x.ts'].replace('void {\n  a();\n  c(x)', 'void {\n  d();\n  c(x)'));
  expect(edited['hyp/y.ts']).toBe(tree['hyp/y.ts']);
});

test('an edit may remove lines, and add some', () => {
  expect(applyEdits(tree, [set({ after: '' })])['hyp/x.ts']).toContain('void {\n  c(x);\n}\n');
  expect(applyEdits(tree, [set({ after: '  a();\n  b();' })])['hyp/x.ts']).toContain('  a();\n  b();\n  c(x);\n');
});

test.each([
  ['no such lines', set({ before: '  e();' }), /T1: hyp\/x\.ts, function h: .* occur 0 times/],
  ['half a line', set({ before: 'a();' }), /occur 0 times/],
  ['lines of another function', set({ before: '  b();' }), /function h: .* occur 0 times/],
  ['lines that occur twice', set({ file: 'hyp/y.ts', function: 'f' }), /the file has 2 functions of that name/],
  ['a function that is not there', set({ function: 'k' }), /function k: the file has 0 functions/],
  ['a file that is not there', set({ file: 'hyp/z.ts' }), /hyp\/z\.ts, function h: there is no such file/],
  ['no change', set({ after: '  a();' }), /changes nothing/],
])('an edit is refused for %s', (_, edit, message) => {
  expect(() => applyEdits(tree, [edit])).toThrow(message);
});

test('an edit is refused where its lines occur twice', () => {
  const twice = { 'hyp/x.ts': 'function f(): void {\n  a();\n  a();\n}\n' };
  expect(() => applyEdits(twice, [set({ function: 'f' })])).toThrow('occur 2 times instead of once');
});

test('two sets that edit the same lines are refused', () => {
  const other = set({ before: '  a();\n  c(x);' }, 'T2');
  expect(() => applyEdits(tree, [set({}), other])).toThrow('T1 and T2 both edit hyp/x.ts, line 14');
});

/** As many cards as can be had together: some edit the same lines. */
function together(): EditSet[] {
  const chosen: EditSet[] = [];
  for (const card of cards) {
    try {
      applyEdits(sources, [...chosen, card]);
      chosen.push(card);
    } catch (error) {
      if (!(error instanceof EditError)) throw error;
    }
  }
  return chosen;
}

test('the diff of a card leads from the sources to the edited ones', () => {
  const many = together();
  expect(many.length).toBeGreaterThan(40);
  for (const list of [...cards.map((card) => [card]), many]) {
    expect(patched(sources, unifiedDiff(list))).toEqual(applyEdits(sources, list));
  }
});

test('a diff shows three lines around the change, and counts them', () => {
  expect(unifiedDiff(set({ after: '  d();\n  a();' }), tree)).toBe(
    [
      '--- a/hyp/x.ts',
      '+++ b/hyp/x.ts',
      '@@ -11,6 +11,7 @@ const g = {',
      ' function h(',
      '   x: number,',
      ' ): void {',
      '+  d();',
      '   a();',
      '   c(x);',
      ' }',
      '',
    ].join('\n'),
  );
});

test('an identity names the hypervisor that it builds, in one spelling', () => {
  const machine = () => createMachine(tiny);
  expect(hypervisorByIdentity('postern')(machine()).identity).toBe('postern');
  expect(hypervisorByIdentity('postern+Z14')(machine()).identity).toBe('postern+Z14');
  expect(hypervisorByIdentity('postern+Z23+Z14')(machine()).identity).toBe('postern+Z14+Z23');
  expect(steppedHypervisorByIdentity('postern')(machine()).identity).toBe('postern');
  expect(steppedHypervisorByIdentity('postern+Z23')(machine()).identity).toBe('postern+Z23');
  expect(editedHypervisor(['Z23'])(machine()).identity).toBe('postern+Z23');
  expect(identityOf(cardsOf('postern+Z23+Z14'))).toBe('postern+Z14+Z23');
});

test.each([
  ['postern+Z99', 'hypervisor: expected a defect, one of IDS, got "Z99"'],
  ['postern+', 'hypervisor: expected a defect, one of IDS, got ""'],
  ['Z14', 'hypervisor: expected postern, or postern+ID with defects among IDS, got "Z14"'],
  ['postern+Z14+Z14', 'hypervisor: expected each defect once, not Z14 again, got "postern+Z14+Z14"'],
])('the identity %s is refused', (identity, message) => {
  const known = message.replace('IDS', cards.map(({ id }) => id).join(', '));
  expect(() => hypervisorByIdentity(identity)).toThrow(known);
  expect(() => steppedHypervisorByIdentity(identity)).toThrow(known);
});

test('sources that an edit has broken are refused with their place', () => {
  const broken = (after: string): EditSet => ({
    id: 'T1',
    edits: [{ file: 'hyp/lock.ts', function: 'unlock', before: "  yield { kind: 'unlock', at };", after }],
  });
  expect(() => buildHypervisor([broken('  if (')])).toThrow(/^postern\+T1: hyp\/lock\.ts: /);
  expect(() => buildHypervisor([broken('  const x = yield at;')])).toThrow(/hyp\/lock\.ts: line \d+: a yield must be/);
});

/** A reader of unified diffs: applies one, and checks its context and its counts. */
function patched(from: Readonly<Record<string, string>>, diff: string): Record<string, string> {
  const result: Record<string, string> = { ...from };
  for (const part of diff.split(/^--- a\//m).slice(1)) {
    const [file, target, ...rest] = part.replace(/\n$/, '').split('\n') as [string, string, ...string[]];
    expect(target).toBe(`+++ b/${file}`);
    const old = from[file]!.split('\n');
    const lines: string[] = [];
    let at = 0;
    for (let i = 0; i < rest.length; ) {
      const header = /^@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@/.exec(rest[i++]!)!;
      const [start, count, newStart, newCount] = header.slice(1).map((n) => Number(n ?? 1)) as [
        number,
        number,
        number,
        number,
      ];
      while (at < start - 1) lines.push(old[at++]!);
      expect(lines.length).toBe(newStart - 1);
      for (; i < rest.length && !rest[i]!.startsWith('@@'); i++) {
        const text = rest[i]!.slice(1);
        if (rest[i]![0] !== '+') expect(old[at++]).toBe(text);
        if (rest[i]![0] !== '-') lines.push(text);
      }
      expect([at - start + 1, lines.length - newStart + 1]).toEqual([count, newCount]);
    }
    result[file] = [...lines, ...old.slice(at)].join('\n');
  }
  return result;
}
