import fc from 'fast-check';
import { expect, test } from 'vitest';
import { erase } from '#lab/transform/erase';

test.each([
  ['a declared generator', 'function* f() {}', 'function f() {}'],
  ['a star beside the name', 'function *f() {}', 'function f() {}'],
  ['a star between spaces', 'function * f() {}', 'function f() {}'],
  ['a star between words', 'function*f() {}', 'function f() {}'],
  ['a generator without a name', 'const f = function* () {};', 'const f = function () {};'],
  ['an exported generator', 'export function* f(): Steps<void> {}', 'export function f(): Plain<void> {}'],
  ['a method', 'class A { *f() {} static *g<T>() {} *[x]() {} }', 'class A { f() {} static g<T>() {} [x]() {} }'],
  ['methods of an object', 'const a = { *f() {}, *g() {} };', 'const a = { f() {}, g() {} };'],
  ['a delegation', 'yield* f(x);', 'f(x);'],
  ['a delegation for its value', 'const x = yield* f(yield* g());', 'const x = f(g());'],
  ['a delegation in an expression', 'if ((yield* f(x)) === 1) return yield* g();', 'if ((f(x)) === 1) return g();'],
  ['a delegation in a template', '`a${yield* f(`${yield* g()}`)}b`;', '`a${f(`${g()}`)}b`;'],
  ['a pause', 'a(); yield x; b();', 'a();  b();'],
  ['a pause at the start', 'yield x;', ''],
  ['a bare pause', '{ yield; }', '{  }'],
  ['a pause with an object', "{ yield { kind: 'write', at: f(1, [2]) }; }", '{  }'],
  ['a pause with a semicolon in a string', "yield read(';)', `;${a(';')};`, /;/);b();", 'b();'],
  ['a pause with a cast', 'yield x as unknown as Touch;b();', 'b();'],
  ['a pause on several lines', 'a();\nyield {\n  at, // the ; place\n};\nb();', 'a();\n\n\n\nb();'],
  ['a pause as the body of an if', 'if (a) yield x; else yield y;', 'if (a) ; else ;'],
  [
    'a pause in a case',
    'switch (a) { case 1: yield x; break; default: yield y; }',
    'switch (a) { case 1:  break; default:  }',
  ],
  ['a type', 'type A = Steps<Steps<number>[]>;', 'type A = Plain<Plain<number>[]>;'],
  ['an import of the type', "import type { Steps } from '#machine';", "import type { Plain } from '#machine';"],
  [
    'an import under another name',
    "import { type Steps as S } from '#machine';",
    "import { type Plain as S } from '#machine';",
  ],
  ['an import of the other room', "import { map } from '#io-pgtable';", "import { map } from '#io-pgtable/plain';"],
  ['an import of a type in place', "type A = import('#io-pgtable').A;", "type A = import('#io-pgtable/plain').A;"],
])('erases %s', (_, source, expected) => {
  expect(erase(source)).toBe(expected);
});

test.each([
  ["const a = 'function* f() { yield x; }';"],
  ['const a = "yield* f(); \\" yield x;";'],
  ['const a = `Steps yield x; ${b} function* f() {} ${`${c} yield x;`} yield y;`;'],
  ['// function* f() { yield x; }\n/* yield x;\nSteps */'],
  ["const a = /yield x;'/g.test(b); const c = a / b / c;"],
  ["const a = /[/'] yield x;/;"],
  ['const a = b * c; export * from "./a.ts"; import d, * as e from "./b.ts";'],
  ['const a = { yield: 1, b: c.yield, d: c?.yield, e: c.Steps };'],
  ["import { a } from '../io-pgtable/a.ts'; import { b } from '#io-pgtable/plain'; f('#io-pgtable');"],
  ['const a = b?.[c] ?? (d ? .5 : 1_000n) + 0x1f;'],
])('leaves alone %s', (source) => {
  expect(erase(source)).toBe(source);
});

test.each([
  ['const x = yield y;', 'line 1: a yield must be a statement of its own'],
  ['\n\nf(yield y);', 'line 3: a yield must be a statement of its own'],
  ['a;\nconst x = a ? b : yield c;', 'line 2: a yield must be a statement of its own'],
  ['`\n\n${yield x}`', 'line 3: a yield must be a statement of its own'],
  ['yield read(yield* f());', 'line 1: a yield inside the operand of a yield'],
  ['yield x\nf();', 'line 1: no semicolon after this yield'],
  ['/*\n*/ { yield x }', 'line 2: no semicolon after this yield'],
  ['return yield*\n  f();', 'line 1: the operand of this yield* must start on its line'],
  ["const a = 'b", 'line 1: this string has no end'],
])('refuses %j', (source, message) => {
  expect(() => erase(source)).toThrow(message);
});

test('keeps the number of every line, and erases nothing more a second time', () => {
  const statement = fc.constantFrom(
    'yield x;',
    'yield {\n  a,\n};',
    'const a = yield* f(\n  b,\n);',
    'function*\ng(): Steps<\nvoid> {}',
    '`\n${yield* f()}\n`;',
    "'yield x;';",
    '// yield x;',
    'if (a) {\n  yield b;\n}',
  );
  fc.assert(
    fc.property(fc.array(statement), (statements) => {
      const source = statements.join('\n');
      const erased = erase(source);
      expect(erased.split('\n').length).toBe(source.split('\n').length);
      expect(erase(erased)).toBe(erased);
    }),
  );
});
