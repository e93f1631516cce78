/**
 * What is mapped at the end of a replay, read back from the model's own bytes: the leaves that each domain's streams
 * reach, by the literal decoder, and their comparison with what a fixture of the real kernel expects.
 */
import type { Machine } from '#machine';
import type { ExpectedMapping, Fixture } from '../fixture/fixture.ts';
import { decodeCapabilities } from '../oracle/decode/idr.ts';
import { type LeafMapping, leavesOf } from '../walk/leaves.ts';
import type { WalkSource } from '../walk/source.ts';
import type { ReplayedRoot } from './replay.ts';

const Register = {
  IDR0: 0,
  IDR1: 4,
  IDR3: 0xc,
  IDR5: 0x14,
  CR0: 0x20,
  CR2: 0x2c,
  GBPA: 0x44,
  STRTAB_BASE: 0x80,
  CFG: 0x88,
};

/** The model's SMMU and memory as the source of walks. */
export function machineSource(machine: Machine, index = 0): WalkSource {
  const { memory, bus } = machine;
  const base = machine.description.smmus[index]!.base;
  const read = (offset: number): number => bus.read32(base + offset);
  const lo = bus.read64(base + Register.STRTAB_BASE);
  return {
    memory: {
      read64(pa) {
        if (!memory.isRam(pa)) return null;
        const at = memory.indexOf(pa);
        return { hi: memory.words[at + 1]!, lo: memory.words[at]! };
      },
    },
    capabilities: decodeCapabilities(
      read(Register.IDR0),
      read(Register.IDR1),
      read(Register.IDR3),
      read(Register.IDR5),
    ),
    cr0: read(Register.CR0),
    cr2: read(Register.CR2),
    gbpa: read(Register.GBPA),
    strtabBase: { hi: bus.hi, lo },
    strtabBaseCfg: read(Register.CFG),
  };
}

/** How the live mappings compare with the fixture's. */
export interface LiveComparison {
  /**
   * `descriptors`: mapping by mapping, bit for bit. `counts`: the log names no domains, so only how many roots map each
   * IOVA can be compared.
   */
  readonly compared: 'descriptors' | 'counts';
  readonly expected: number;
  readonly equal: number;
  /** The first differences, as sentences. */
  readonly differences: readonly string[];
}

/** Leaves that the streams of each root reach, root by root. */
export function liveLeaves(machine: Machine, roots: readonly ReplayedRoot[]): ReadonlyMap<number, LeafMapping[]> {
  const source = machineSource(machine);
  return new Map(roots.map(({ root, streams }) => [root, streams.length === 0 ? [] : leavesOf(source, streams[0]!)]));
}

const SHOWN_MAX = 10;

/** The comparison that the log allows: `probed` tells whether it names the domains. */
export function compareLive(
  machine: Machine,
  roots: readonly ReplayedRoot[],
  fixture: Fixture,
  probed: boolean,
): LiveComparison {
  return probed ? compareDescriptors(machine, roots, fixture) : compareCounts(machine, roots, fixture);
}

/** Compare how many roots map each IOVA: streams that share a root of the real kernel count once. */
function compareCounts(machine: Machine, roots: readonly ReplayedRoot[], fixture: Fixture): LiveComparison {
  const tables = new Map(fixture.streams.map(({ sid, table }) => [sid, table]));
  const expected = new Map<number, Set<number | null>>();
  for (const { sid, iova } of fixture.expected) {
    const users = expected.get(iova) ?? new Set();
    expected.set(iova, users.add(tables.get(sid) ?? null));
  }
  const live = new Map<number, number>();
  for (const leaves of liveLeaves(machine, roots).values()) {
    for (const { iova } of leaves) live.set(iova, (live.get(iova) ?? 0) + 1);
  }
  const differences: string[] = [];
  let total = 0;
  let equal = 0;
  for (const iova of new Set([...expected.keys(), ...live.keys()])) {
    const wanted = expected.get(iova)?.size ?? 0;
    const found = live.get(iova) ?? 0;
    total += wanted;
    equal += Math.min(wanted, found);
    if (wanted !== found) differences.push(`IOVA 0x${iova.toString(16)}: mapped ${found} times instead of ${wanted}`);
  }
  return { compared: 'counts', expected: total, equal, differences: differences.slice(0, SHOWN_MAX) };
}

/**
 * Compare, stream by stream, what the model's tables map with what the fixture expects: IOVA, PA, size, and, where the
 * log tells the protection, the descriptor bit for bit.
 */
function compareDescriptors(machine: Machine, roots: readonly ReplayedRoot[], fixture: Fixture): LiveComparison {
  const source = machineSource(machine);
  const attached = new Set(roots.flatMap(({ streams }) => [...streams]));
  const bySid = new Map<number, ExpectedMapping[]>();
  for (const mapping of fixture.expected) {
    const list = bySid.get(mapping.sid);
    if (list === undefined) bySid.set(mapping.sid, [mapping]);
    else list.push(mapping);
  }
  const differences: string[] = [];
  let equal = 0;
  for (const sid of new Set([...bySid.keys(), ...attached])) {
    const leaves = new Map(leavesOf(source, sid).map((leaf) => [leaf.iova, leaf]));
    for (const mapping of bySid.get(sid) ?? []) {
      const leaf = leaves.get(mapping.iova);
      leaves.delete(mapping.iova);
      const difference = differenceOf(mapping, leaf);
      if (difference === null) equal++;
      else differences.push(`stream 0x${sid.toString(16)}, IOVA 0x${mapping.iova.toString(16)}: ${difference}`);
    }
    for (const iova of leaves.keys())
      differences.push(`stream 0x${sid.toString(16)}, IOVA 0x${iova.toString(16)}: not expected`);
  }
  return {
    compared: 'descriptors',
    expected: fixture.expected.length,
    equal,
    differences: differences.slice(0, SHOWN_MAX),
  };
}

function differenceOf(mapping: ExpectedMapping, leaf: LeafMapping | undefined): string | null {
  if (leaf === undefined) return 'not mapped';
  if (leaf.pa !== mapping.pa) return `PA 0x${leaf.pa.toString(16)} instead of 0x${mapping.pa.toString(16)}`;
  if (leaf.size !== mapping.size) return `size ${leaf.size} instead of ${mapping.size}`;
  const { pte, prot } = mapping;
  if (prot === null || pte === null) return null;
  const { hi, lo } = leaf.descriptor;
  return hi === pte.hi && lo === pte.lo ? null : `descriptor ${hex(hi, lo)} instead of ${hex(pte.hi, pte.lo)}`;
}

function hex(hi: number, lo: number): string {
  return `0x${(hi >>> 0).toString(16)}${(lo >>> 0).toString(16).padStart(8, '0')}`;
}
