/**
 * Checks that `npm ci` will accept package-lock.json wherever it runs:
 *
 * - no entry names the registry that it came from, which another machine may not reach;
 * - every entry of a package has a checksum;
 * - every optional dependency (the binaries for other platforms, mostly) has an entry: `npm ci` refuses a lock file
 *   without it, and npm writes one when a release is so young that not all of its packages are visible yet.
 */
import { readFileSync } from 'node:fs';

/** @type {{ packages: Record<string, Entry> }} */
const { packages } = JSON.parse(readFileSync('package-lock.json', 'utf8'));

/** @typedef {{ version?: string, resolved?: string, integrity?: string, link?: boolean, optionalDependencies?: Record<string, string> }} Entry */

const problems = Object.entries(packages).flatMap(([path, entry]) => {
  const found = [];
  if (entry.resolved !== undefined && !entry.link) found.push(`has an address: ${entry.resolved}`);
  if (path !== '' && !entry.link && entry.integrity === undefined) found.push('has no checksum');
  for (const name of Object.keys(entry.optionalDependencies ?? {})) {
    if (!isFound(path, name)) found.push(`lacks its optional dependency ${name}`);
  }
  return found.map((problem) => `${path || 'the project'} ${problem}`);
});

/**
 * Does a package at `path` find the package `name`, in its own node_modules or in one further up?
 *
 * @param {string} path
 * @param {string} name
 */
function isFound(path, name) {
  for (let at = path; ; at = at.slice(0, Math.max(0, at.lastIndexOf('/node_modules/')))) {
    if (`${at === '' ? '' : `${at}/`}node_modules/${name}` in packages) return true;
    if (at === '') return false;
  }
}

for (const problem of problems) console.error(`package-lock.json: ${problem}`);
if (problems.length > 0) process.exitCode = 1;
else console.log(`package-lock.json: ${Object.keys(packages).length - 1} packages, nothing missing`);
