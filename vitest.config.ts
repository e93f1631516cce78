import { defineConfig } from 'vitest/config';
import { generate } from './lab/build/generate.ts';

const root = import.meta.dirname;
generate(root);

export default defineConfig({
  plugins: [
    {
      name: 'postern:generate',
      /** Keeps the plain twins fresh in watch mode. */
      configureServer(server) {
        server.watcher.on('all', (_, path) => {
          if (/[/\\](hyp|io-pgtable)[/\\]/.test(path) && !path.includes('.plain')) generate(root);
        });
      },
    },
  ],
  test: {
    include: ['test/**/*.test.ts'],
    pool: 'threads',
    reporters: ['default'],
    // No test waits for anything: a busy machine only makes them slower.
    testTimeout: 60_000,
  },
});
