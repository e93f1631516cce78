import { existsSync } from 'node:fs';
import { defineConfig } from 'tsup';

/** What a user imports: the whole, and each room. */
const modules = {
  index: 'index.ts',
  'hypercall-abi': 'hypercall-abi/index.ts',
  machine: 'machine/index.ts',
  // The plain builds: without the points where another CPU could step in.
  'io-pgtable': '.plain/io-pgtable/index.ts',
  hyp: '.plain/hyp/index.ts',
  'hyp-stepped': 'hyp/index.ts',
  host: 'host/index.ts',
  lab: 'lab/index.ts',
  'fuzz-target': 'lab/fuzz/target.ts',
};

/** What a user runs. */
const programs = {
  cli: 'lab/cli/main.ts',
  bench: 'lab/bench/main.ts',
  // What threads run, beside the program that starts them.
  'zoo-thread': 'lab/io/zoo-thread.ts',
  'fuzz-thread': 'lab/io/fuzz-thread.ts',
};

/** `tsup` bundles the code; `tsup --env.TYPES only`, much slower, the declarations beside it. */
export default defineConfig(({ env }) => {
  const typesOnly = env?.TYPES === 'only';
  const entries = typesOnly ? modules : { ...modules, ...programs };
  return {
    entry: Object.fromEntries(Object.entries(entries).filter(([, path]) => existsSync(path))),
    format: 'esm',
    target: 'node20',
    platform: 'node',
    removeNodeProtocol: false,
    splitting: true,
    sourcemap: true,
    // Each pass clears its own files: npm builds the code once more after the declarations when it packs.
    clean: typesOnly || ['!**/*.d.ts'],
    // TypeScript 6 deprecates the `baseUrl` that tsup sets.
    dts: typesOnly && { only: true, compilerOptions: { ignoreDeprecations: '6.0' } },
  };
});
