/**
 * Who may import whom: the rules of .dependency-cruiser.cjs are applied here to imports that nobody has written, so that
 * a rule whose pattern misses its room is found although the tree obeys it. CI runs the real check on the real tree.
 */
import { createRequire } from 'node:module';
import { expect, test } from 'vitest';

type Pattern = string | readonly string[] | undefined;
interface Side {
  readonly path?: Pattern;
  readonly pathNot?: Pattern;
  readonly dependencyTypes?: readonly string[];
  readonly dependencyTypesNot?: readonly string[];
  readonly circular?: boolean;
  readonly couldNotResolve?: boolean;
}
interface Rule {
  readonly name: string;
  readonly severity: string;
  readonly from: Side;
  readonly to: Side;
}

const config: { readonly forbidden: readonly Rule[] } = createRequire(import.meta.url)('../../.dependency-cruiser.cjs');

const matches = (pattern: Pattern, path: string) =>
  pattern !== undefined && [pattern].flat().some((source) => new RegExp(source as string).test(path));

/** Names of the rules that forbid `from` to import `to`; `types` are dependency-cruiser's words for the import. */
function broken(from: string, to: string, types: readonly string[] = ['local']): string[] {
  return config.forbidden
    .filter(({ from: source, to: target }) => {
      if (target.circular || target.couldNotResolve) return false;
      if (source.path !== undefined && !matches(source.path, from)) return false;
      if (matches(source.pathNot, from)) return false;
      if (target.path !== undefined && !matches(target.path, to)) return false;
      if (matches(target.pathNot, to)) return false;
      if (target.dependencyTypes && !target.dependencyTypes.some((type) => types.includes(type))) return false;
      return !target.dependencyTypesNot?.some((type) => types.includes(type));
    })
    .map(({ name }) => name);
}

test.each([
  ['host/driver.ts', 'hyp/index.ts', 'host-never-sees-hyp'],
  ['host/driver.ts', '.plain/hyp/index.ts', 'host-never-sees-hyp'],
  ['host/driver.ts', 'hyp/layout.ts', 'host-never-sees-hyp'],
  ['host/driver.ts', '.plain/hyp/layout.ts', 'host-never-sees-hyp'],
  ['host/attackers/probe.ts', 'hyp/index.ts', 'host-never-sees-hyp'],
  ['host/driver.ts', 'machine/memory/index.ts', 'host-imports'],
  ['host/driver.ts', 'machine/index.ts', 'host-imports'],
  ['host/driver.ts', 'lab/session/session.ts', 'host-imports'],
  ['host/driver.ts', '.plain/sources.ts', 'host-imports'],
  ['hyp/map.ts', 'host/driver.ts', 'hyp-imports'],
  ['.plain/hyp/map.ts', 'host/driver.ts', 'hyp-imports'],
  ['hyp/map.ts', 'lab/session/session.ts', 'hyp-imports'],
  ['hypercall-abi/boundary.ts', 'hyp/index.ts', 'hypercall-abi-is-a-leaf'],
  ['hypercall-abi/boundary.ts', 'machine/index.ts', 'hypercall-abi-is-a-leaf'],
  ['machine/bus.ts', 'hypercall-abi/index.ts', 'machine-is-a-leaf'],
  ['io-pgtable/map.ts', 'hypercall-abi/index.ts', 'io-pgtable-imports-machine-only'],
  ['io-pgtable/map.ts', 'machine/index.ts', 'io-pgtable-imports-types-only'],
  ['lab/oracle/ghost.ts', 'hyp/pool.ts', 'oracle-trusts-no-code-under-test'],
  ['lab/oracle/ghost.ts', '.plain/hyp/layout.ts', 'oracle-trusts-no-code-under-test'],
  ['lab/oracle/ghost.ts', 'io-pgtable/walk.ts', 'oracle-trusts-no-code-under-test'],
  ['lab/oracle/ghost.ts', 'machine/smmu-v3/smmu.ts', 'oracle-trusts-no-code-under-test'],
  ['lab/oracle/decode/ste.ts', 'machine/table-walk.ts', 'oracle-trusts-no-code-under-test'],
  ['lab/oracle/ghost.ts', 'lab/session/session.ts', 'oracle-trusts-no-code-under-test'],
  ['hyp/map.ts', 'test/hyp/session.ts', 'nobody-imports-tests'],
  ['lab/session/session.ts', 'lab/io/fixture.ts', 'no-node-behind-a-back-door'],
])('%s must not import %s', (from, to, rule) => {
  expect(broken(from, to)).toContain(rule);
});

test.each([
  ['host/driver.ts', 'hypercall-abi/index.ts'],
  ['host/driver.ts', 'io-pgtable/index.ts'],
  ['host/driver.ts', '.plain/io-pgtable/index.ts'],
  ['host/driver.ts', 'machine/host-view.ts'],
  ['host/driver.ts', 'machine/device.ts'],
  ['hyp/map.ts', 'hypercall-abi/index.ts'],
  ['hyp/map.ts', 'io-pgtable/index.ts'],
  ['.plain/hyp/map.ts', '.plain/io-pgtable/index.ts'],
  ['hyp/map.ts', 'machine/memory/index.ts'],
  ['lab/oracle/ghost.ts', 'hyp/layout.ts'],
  ['lab/oracle/ghost.ts', 'hypercall-abi/index.ts'],
  ['lab/oracle/ghost.ts', 'machine/memory/index.ts'],
  ['lab/oracle/spec/map.ts', 'lab/oracle/decode/ste.ts'],
  ['lab/session/session.ts', 'lab/oracle/index.ts'],
  ['lab/session/session.ts', '.plain/hyp/index.ts'],
  ['lab/cli/main.ts', 'lab/io/fixture.ts'],
  ['test/hypercall-abi/outcome.ts', 'hyp/index.ts'],
])('%s may import %s', (from, to) => {
  expect(broken(from, to)).toEqual([]);
});

test('types may be imported where values may not', () => {
  expect(broken('io-pgtable/map.ts', 'machine/index.ts', ['local', 'type-only'])).toEqual([]);
});

test('the contract may use XState and no other package, and the core none', () => {
  expect(broken('hypercall-abi/life-cycles/page.ts', 'node_modules/xstate/dist/index.js', ['npm'])).toEqual([]);
  expect(broken('hypercall-abi/codec.ts', 'node_modules/cac/dist/index.js', ['npm'])).toEqual([
    'hypercall-abi-has-only-xstate',
  ]);
  expect(broken('hyp/map.ts', 'node_modules/xstate/dist/index.js', ['npm'])).toEqual(['core-has-no-packages']);
});

test('only what is Node’s uses Node', () => {
  expect(broken('hyp/map.ts', 'fs', ['core'])).toEqual(['runs-in-a-browser']);
  expect(broken('lab/session/session.ts', 'fs', ['core'])).toEqual(['runs-in-a-browser']);
  expect(broken('lab/io/fixture.ts', 'fs', ['core'])).toEqual([]);
});

test('a broken rule fails the build', () => {
  for (const { name, severity } of config.forbidden) expect(severity, name).toBe('error');
});
