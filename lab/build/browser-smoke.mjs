/**
 * Proves that everything outside lab/cli, lab/io, lab/build and lab/bench runs in a browser: bundles all of it, opens the
 * bundle in headless Chromium, and runs the demo's attack there, on our hypervisor and on one with a defect edited in.
 */
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { build } from 'esbuild';
import { chromium } from 'playwright-core';

const ROOMS = ['hypercall-abi', 'machine', 'io-pgtable', 'hyp', 'host', 'lab', '.plain'];
const NODE_ONLY = /^lab\/(cli|io|build|bench)\//;
const TIMEOUT_MS = 60_000;

function sources(folder) {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const path = `${folder}/${entry.name}`;
    if (entry.isDirectory()) return sources(path);
    return /\.ts$/.test(entry.name) && !/\.(test|d)\.ts$/.test(entry.name) ? [path] : [];
  });
}

const files = ROOMS.flatMap(sources).filter((path) => !NODE_ONLY.test(path));
const entry = `
${files.map((path) => `import './${path}';`).join('\n')}
import { attackScenario } from './lab/demo/attack.ts';
import { parseScenario } from './lab/scenario/index.ts';
import { tell } from './lab/narrator/index.ts';
import { hypervisorByIdentity } from './lab/zoo/index.ts';

globalThis.runSmoke = () => {
  const scenario = parseScenario(attackScenario, 'attack');
  const correct = tell(scenario, hypervisorByIdentity('postern'));
  const broken = tell({ ...scenario, hypervisor: 'postern+Z14' }, hypervisorByIdentity('postern+Z14'));
  return {
    steps: correct.steps.length,
    violations: correct.violations.length,
    found: [...new Set(broken.violations.map(({ property }) => property))],
    last: correct.steps.at(-1).sentence,
  };
};
`;

const folder = mkdtempSync(join(tmpdir(), 'postern-browser-'));
let failed = true;
try {
  await build({
    stdin: { contents: entry, resolveDir: process.cwd(), sourcefile: 'browser-smoke.ts', loader: 'ts' },
    bundle: true,
    platform: 'browser',
    format: 'iife',
    target: 'es2023',
    outfile: join(folder, 'bundle.js'),
    logLevel: 'error',
  });
  writeFileSync(
    join(folder, 'index.html'),
    '<!doctype html><meta charset="utf-8"><link rel="icon" href="data:,"><title>smoke</title><script src="bundle.js"></script>',
  );
  const browser = await chromium.launch({
    executablePath: process.env.CHROME_PATH || '/usr/bin/chromium',
    args: [
      '--no-sandbox',
      '--disable-gpu',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
    ],
  });
  try {
    const page = await browser.newPage();
    const errors = [];
    page.on('pageerror', (error) => errors.push(String(error)));
    await page.goto(`file://${join(folder, 'index.html')}`, { timeout: TIMEOUT_MS });
    const result = await page.evaluate(() => globalThis.runSmoke());
    console.log(`${files.length} modules bundled; in Chromium ${browser.version()}:`, JSON.stringify(result));
    failed =
      errors.length > 0 || result.steps < 10 || result.violations !== 0 || !result.found.includes('invalidation');
    for (const error of errors) console.error(error);
    if (failed)
      console.error('expected: no page errors, no violation on postern, an invalidation violation on postern+Z14');
  } finally {
    await browser.close();
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
}
process.exitCode = failed ? 1 : 0;
