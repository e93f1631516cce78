/**
 * Builds a hypervisor from its sources at run time, with edits: apply them, erase the pauses for the plain build, strip
 * the types, and link the modules in memory. Works wherever code may be made from text, in Node and in a browser (where
 * a content security policy can forbid it).
 *
 * `hyp` and `io-pgtable` come from the sources, so that an edit may touch either; what they import of hypercall-abi and
 * machine are the modules that run already, so that both sides mean the same memory.
 */

import { transform } from 'sucrase';
import type { Hypervisor, Profile, SteppedHypervisor } from '#hypercall-abi';
import * as hypercallAbi from '#hypercall-abi';
import type { Machine, Touch } from '#machine';
import * as machine from '#machine';
import * as memory from '#machine/memory';
import { sources } from '#sources';
import { countEdges, EDGES_NAME, ENDLESS_NAME, TURNS_NAME } from '../transform/count-edges.ts';
import { erase } from '../transform/erase.ts';
import { applyEdits, EditError, type Sources } from './apply.ts';
import type { EditSet } from './card.ts';

/** A hypervisor that was built here. */
export interface BuiltHypervisor<T> {
  /** `postern`, then a `+` and the id of each set of edits, in the order of the ids: `postern+Z14+Z23`. */
  readonly identity: string;
  /** Puts it on a machine. */
  readonly createHypervisor: (machine: Machine, profile?: Profile) => T;
  /** How often each edge of its code was taken, modulo 256, since somebody last cleared them; empty unless counted. */
  readonly edges: Uint8Array;
}

/** Which build: the plain one, or the one that pauses wherever another CPU could step in; and whether it counts edges. */
export interface BuildOptions {
  readonly plain: boolean;
  readonly counted?: boolean;
}

type Exports = Record<string, unknown>;
type Create = (machine: Machine, profile?: Profile) => { readonly identity: string };

/** The hypervisor without edits. */
export const BASE_IDENTITY = 'postern';
const ENTRY = 'hyp/index.ts';
const PAGE_TABLES = 'io-pgtable/index.ts';
/** Turns of loops in one call: no right one takes more on any machine that there is memory for here. */
const TURNS_MAX = 2 ** 24;
/** Builds that are kept: enough for a zoo, and a bound for a campaign that makes thousands. */
const KEPT_BUILDS = 256;

const builds = new Map<string, BuiltHypervisor<unknown>>();
/** JavaScript of the unedited sources, by build and path. */
const unedited = new Map<string, string>();
/** The same with a number of turns for their loops. */
const withTurns = new Map<string, string>();

/** Copies: a plain object is quicker to read from than whatever a bundler makes of a namespace. */
const live: Readonly<Record<string, Exports>> = {
  '#hypercall-abi': { ...hypercallAbi },
  '#machine': { ...machine },
  '#machine/memory': { ...memory },
};

/** The name of the hypervisor with these edits. */
export function identityOf(sets: readonly EditSet[]): string {
  return [BASE_IDENTITY, ...inOrder(sets).map(({ id }) => id)].join('+');
}

/**
 * Builds the hypervisor with these edits; the same edits again give the same build. None at all is the correct
 * hypervisor, from its sources.
 * @throws EditError when an edit does not match exactly once, two of them touch the same lines, or what comes out
 *   cannot be parsed or linked
 */
export function buildHypervisor(
  sets: readonly EditSet[],
  options: BuildOptions & { readonly plain: false },
): BuiltHypervisor<SteppedHypervisor<Touch>>;
export function buildHypervisor(
  sets: readonly EditSet[],
  options?: BuildOptions & { readonly plain: true },
): BuiltHypervisor<Hypervisor>;
export function buildHypervisor(
  sets: readonly EditSet[],
  { plain, counted = false }: BuildOptions = { plain: true },
): BuiltHypervisor<unknown> {
  const ordered = inOrder(sets);
  const key = JSON.stringify([plain, counted, ordered.map(({ id, edits }) => [id, edits])]);
  const known = builds.get(key);
  if (known !== undefined) return known;

  const built = buildTree(applyEdits(sources, ordered), identityOf(ordered), { plain, counted });
  if (builds.size === KEPT_BUILDS) builds.delete(builds.keys().next().value!);
  builds.set(key, built);
  return built;
}

/**
 * Builds a hypervisor from sources, by path, as they are; those that are not edited should be the very strings of the
 * project, which are compiled once. Nothing is kept of it.
 * @param identity its name in reports and stack traces
 * @throws EditError when it cannot be parsed or linked
 */
export function buildSources(tree: Sources, identity: string): BuiltHypervisor<Hypervisor> {
  return buildTree(tree, identity, { plain: true }) as BuiltHypervisor<Hypervisor>;
}

function buildTree(
  tree: Sources,
  identity: string,
  { plain, counted = false }: BuildOptions,
): BuiltHypervisor<unknown> {
  const { entry, edges, turns } = link(tree, plain, counted, identity);
  const create = entry.createHypervisor as Create;
  return {
    identity,
    edges,
    createHypervisor: (on: Machine, profile?: Profile) => {
      const made = { ...create(on, profile), identity };
      return plain ? bounded(made as Hypervisor, turns) : made;
    },
  };
}

/** The same hypervisor with a number of turns for the loops of each call: an edit may make them endless. */
function bounded(inner: Hypervisor, turns: Float64Array): Hypervisor {
  const { guestHvc } = inner;
  return {
    ...inner,
    boot: (parameters) => {
      turns[0] = Number.POSITIVE_INFINITY;
      return inner.boot(parameters);
    },
    hvc: (cpu, x) => {
      turns[0] = TURNS_MAX;
      inner.hvc(cpu, x);
    },
    abort: (cpu, ipa, write, width, value) => {
      turns[0] = TURNS_MAX;
      return inner.abort(cpu, ipa, write, width, value);
    },
    ...(guestHvc !== undefined && {
      guestHvc: (cpu: number, x: Int32Array) => {
        turns[0] = TURNS_MAX;
        return guestHvc(cpu, x);
      },
    }),
  };
}

function endless(): never {
  throw new Error(`a call does not end: its loops have turned ${TURNS_MAX} times`);
}

/** By id, `Z9` before `Z14`: the order in which sets are named must not make two hypervisors of one. */
function inOrder(sets: readonly EditSet[]): EditSet[] {
  return sets.toSorted((a, b) => a.id.localeCompare(b.id, 'en', { numeric: true }));
}

/** Runs the entry module of a tree of sources, and every module that it imports. @returns what it exports */
function link(
  tree: Sources,
  plain: boolean,
  counted: boolean,
  identity: string,
): { readonly entry: Exports; readonly edges: Uint8Array; readonly turns: Float64Array } {
  const loaded = new Map<string, Exports>();
  const scripts = new Map<string, string>();
  let edges = 0;
  if (counted) {
    // All of them first: their counters are one array.
    for (const path of Object.keys(tree)) {
      const script = countEdges(javaScript(tree, path, plain, identity), edges, { edges: true, turns: plain });
      scripts.set(path, script.code);
      edges += script.edges;
    }
  }
  const counters = new Uint8Array(edges);
  const turns = Float64Array.of(Number.POSITIVE_INFINITY);
  const load = (path: string): Exports => {
    const known = loaded.get(path);
    if (known !== undefined) return known;
    const exports: Exports = {};
    loaded.set(path, exports);
    const code = scripts.get(path) ?? scriptOf(tree, path, plain, identity);
    // The name makes stack traces and profiles of different builds tell which one they are of.
    const name = `${identity}${plain ? '' : '.stepped'}/${path}`;
    const names = ['require', 'exports', EDGES_NAME, TURNS_NAME, ENDLESS_NAME];
    const module = new Function(...names, `${code}\n//# sourceURL=${name}`);
    const require = (specifier: string): Exports => live[specifier] ?? load(pathOf(tree, specifier, path, identity));
    module(require, exports, counters, turns, endless);
    return exports;
  };
  return { entry: load(ENTRY), edges: counters, turns };
}

/** Path of the module that `importer` means by a specifier. */
function pathOf(tree: Sources, specifier: string, importer: string, identity: string): string {
  const path =
    specifier === '#io-pgtable' || specifier === '#io-pgtable/plain'
      ? PAGE_TABLES
      : new URL(specifier, `http://postern/${importer}`).pathname.slice(1);
  if (!Object.hasOwn(tree, path))
    throw new EditError(`${identity}: ${importer} imports ${specifier}, which is not there`);
  return path;
}

/** The JavaScript of a source, its loops with a number of turns if `plain`. */
function scriptOf(tree: Sources, path: string, plain: boolean, identity: string): string {
  const code = javaScript(tree, path, plain, identity);
  if (!plain) return code;
  const known = withTurns.get(code);
  if (known !== undefined) return known;
  const made = countEdges(code, 0, { edges: false, turns: true }).code;
  if (tree[path] === sources[path]) withTurns.set(code, made);
  return made;
}

/** The JavaScript of a source, without types, and without pauses if `plain`; lines keep their numbers. */
function javaScript(tree: Sources, path: string, plain: boolean, identity: string): string {
  const source = tree[path]!;
  const key = source === sources[path] ? `${plain} ${path}` : null;
  const known = key === null ? undefined : unedited.get(key);
  if (known !== undefined) return known;
  try {
    const { code } = transform(plain ? erase(source) : source, {
      transforms: ['typescript', 'imports'],
      disableESTransforms: true,
    });
    if (key !== null) unedited.set(key, code);
    return code;
  } catch (error) {
    throw new EditError(`${identity}: ${path}: ${error instanceof Error ? error.message : error}`);
  }
}
