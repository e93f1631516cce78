/**
 * Makes the guest's initramfs, a cpio archive in "newc" format: busybox, the init script, and kernel modules with all
 * that they depend on, in the order in which they must be loaded. Neither cpio nor kmod is needed.
 */
import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync, realpathSync, statSync } from 'node:fs';
import { basename, join } from 'node:path';
import { gzipSync } from 'node:zlib';

/** Every kernel module below a folder, by name; `-` and `_` are the same. */
function modulesBelow(folder) {
  const found = new Map();
  for (const entry of readdirSync(folder, { recursive: true })) {
    const name = /([^/]+)\.ko(\.xz|\.zst)?$/.exec(entry)?.[1];
    if (name !== undefined) found.set(name.replaceAll('-', '_'), join(folder, entry));
  }
  return found;
}

function unpacked(file) {
  if (file.endsWith('.xz')) return execFileSync('xz', ['-dc', file], { maxBuffer: 2 ** 28 });
  if (file.endsWith('.zst')) return execFileSync('zstd', ['-dcq', file], { maxBuffer: 2 ** 28 });
  return readFileSync(file);
}

/** The modules and what they need, dependencies first. What is built into the kernel is no file. */
function withDependencies(names, modules) {
  const order = new Map();
  const add = (name) => {
    const file = modules.get(name);
    if (file === undefined || order.has(name)) return;
    const bytes = unpacked(file);
    // The section .modinfo is a list of strings that end with a zero byte.
    const needs = /\0depends=([^\0]*)\0/.exec(bytes.toString('latin1'))?.[1] ?? '';
    for (const need of needs.split(',').filter(Boolean)) add(need.replaceAll('-', '_'));
    order.set(name, bytes);
  };
  for (const name of names) add(name);
  return order;
}

function archive(entries) {
  const parts = [];
  const pad = (length) => Buffer.alloc((4 - (length % 4)) % 4);
  const number = (value) => value.toString(16).padStart(8, '0');
  for (const [i, { path, mode, bytes = Buffer.alloc(0) }] of [...entries, { path: 'TRAILER!!!', mode: 0 }].entries()) {
    const name = Buffer.from(`${path}\0`);
    const fields = [i + 1, mode, 0, 0, 1, 0, bytes.length, 0, 0, 0, 0, name.length, 0];
    const head = Buffer.concat([Buffer.from(`070701${fields.map(number).join('')}`), name]);
    parts.push(head, pad(head.length), bytes, pad(bytes.length));
  }
  return Buffer.concat(parts);
}

/** The kernel's image and a packed initramfs, out of a tree of unpacked packages. */
export function guestFiles(root, init, moduleNames) {
  const kernel = readdirSync(join(root, 'boot')).find((name) => name.startsWith('vmlinuz-'));
  const version = kernel.slice('vmlinuz-'.length);
  const folder = [`lib/modules/${version}`, `usr/lib/modules/${version}`].map((path) => join(root, path));
  const tree = folder.find((path) => statSync(path, { throwIfNoEntry: false }) !== undefined);
  const modules = withDependencies(moduleNames, modulesBelow(tree));
  const busybox = ['bin/busybox', 'usr/bin/busybox'].map((path) => join(root, path));
  const program = busybox.find((path) => statSync(path, { throwIfNoEntry: false }) !== undefined);
  const [directory, executable, plain] = [0o40755, 0o100755, 0o100644];
  const files = [
    { path: 'bin', mode: directory },
    { path: 'ko', mode: directory },
    { path: 'bin/busybox', mode: executable, bytes: readFileSync(realpathSync(program)) },
    { path: 'init', mode: executable, bytes: readFileSync(init) },
    ...[...modules].map(([name, bytes]) => ({ path: `ko/${name}.ko`, mode: plain, bytes })),
    {
      path: 'modules',
      mode: plain,
      bytes: Buffer.from([...modules.keys()].map((name) => `/ko/${name}.ko\n`).join('')),
    },
  ];
  return { kernel: join(root, 'boot', basename(kernel)), version, initramfs: gzipSync(archive(files), { level: 1 }) };
}
