/**
 * Replays page-table vectors against this project's engine: configurations, results, warnings, events in order, digests,
 * final tables and leaves, order of frees. One check is one operation with all that it may show.
 */
import {
  allocPageTable,
  configurePageTable,
  freePageTable,
  iovaToPhys,
  mapPages,
  type PageTable,
  type Profile,
  readAndClearDirty,
  unmapPages,
  walkDescriptors,
} from '#io-pgtable/plain';
import type { Tally } from '../tally.ts';
import { Arena, configFrom, configOut } from './lpae-arena.ts';
import { addressIn, condensed, digestOf, expanded, leavesOf, tablesOf } from './lpae-tables.ts';
import type { ConfigCase, Sequence, Table, VectorOp } from './lpae-types.ts';
import { address, hex, word64 } from './words.ts';

/** Where the configuration files say that the first table is. */
const CONFIG_ROOT = '80000000';

/** Compares one configuration. */
export function checkConfig({ out, ...config }: ConfigCase, i: number, profile: Profile, tally: Tally): void {
  const layout = configurePageTable(configFrom(config, profile));
  const got = typeof layout === 'number' ? null : configOut(layout, CONFIG_ROOT);
  tally.begin(out === null ? 'configurations refused' : 'configurations accepted', () => `cases[${i}]`);
  tally.same(() => JSON.stringify(config), out, got);
  tally.end();
}

/** Replays a sequence. */
export function checkSequence(sequence: Sequence, profile: Profile, tally: Tally): void {
  const { id } = sequence;
  try {
    replay(sequence, profile, tally);
  } catch (error) {
    if (!(error instanceof RangeError || (error instanceof Error && error.name === 'BusError'))) throw error;
    tally.check(
      'sequences that stay inside a machine',
      id,
      'an address or a size beyond what a machine has',
      'none',
      error.message,
    );
  }
}

function replay(sequence: Sequence, profile: Profile, tally: Tally): void {
  const { id } = sequence;
  const arena = new Arena(address(sequence.cfg.arena));
  const pt = allocPageTable(arena.ops, configFrom(sequence.cfg, profile));
  tally.begin('tables allocated', id);
  if (typeof pt === 'number') {
    tally.differs('allocation', 'accepted', `refused with ${pt}`);
    tally.end();
    return;
  }
  tally.same('configuration', sequence.cfg_out, configOut(pt.layout, hex(pt.root)));
  tally.same('events', sequence.alloc_ev, arena.events);
  tally.end();
  sequence.ops.forEach((op, i) => {
    arena.events = [];
    arena.warnings = 0;
    if (op.o === 'failalloc') {
      arena.armFailures(op.skip, op.count);
      return;
    }
    tally.begin(GROUPS[op.o], () => `${id}, ops[${i}]`);
    const what = (result: string) => () => `${result} of ${JSON.stringify(op)}`;
    tally.same(what('result'), expectedOf(op), perform(arena, pt, op));
    tally.same(what('warnings'), op.w ?? 0, arena.warnings);
    if (arena.events.length > 0 || op.ev !== undefined) tally.same(what('events'), op.ev, arena.events);
    if (op.ck !== undefined) tally.same(what('digest after it'), op.ck, digestOf(leavesOf(arena, pt)));
    tally.end();
  });
  finalState(sequence, arena, pt, tally);
  tally.begin('tables freed', id);
  arena.events = [];
  freePageTable(pt);
  tally.same('events', sequence.free_ev, arena.events);
  tally.end();
}

/** An operation that has results: all but the arming of allocation failures. */
type Call = Exclude<VectorOp, { o: 'failalloc' }>;

const GROUPS: Readonly<Record<Call['o'], string>> = {
  map: 'map',
  unmap: 'unmap',
  i2p: 'iova_to_phys',
  walk: 'walk',
  hwdirty: 'writes by a device',
  dirty: 'read_and_clear_dirty',
};

function finalState({ id, final }: Sequence, arena: Arena, pt: PageTable, tally: Tally): void {
  const tables = tablesOf(arena, pt);
  const leaves = leavesOf(arena, pt);
  tally.begin('final leaves', id);
  tally.same('leaves', final.leaves, leaves);
  tally.same('digest', final.digest, digestOf(leaves));
  tally.end();
  const byAddress = (list: readonly Table[]): Table[] => list.toSorted((a, b) => address(a.pa) - address(b.pa));
  tally.begin('final tables', id);
  tally.same('tables', byAddress(final.tables.map(expanded).map(condensed)), byAddress(tables.map(condensed)));
  tally.same('addresses of live tables', tables.map((table) => hex(table.pa)).sort(), [...arena.live].map(hex).sort());
  tally.end();
}

function perform(arena: Arena, pt: PageTable, op: Call): unknown {
  switch (op.o) {
    case 'map': {
      const ret = mapPages(pt, address(op.iova), address(op.pa), address(op.sz), op.n, op.prot);
      return ret < 0 ? [ret, '0'] : [0, hex(ret)];
    }
    case 'unmap':
      return hex(unmapPages(pt, address(op.iova), address(op.sz), op.n));
    case 'i2p':
      return hex(iovaToPhys(pt, address(op.iova)));
    case 'walk': {
      const out = new Int32Array(8);
      const ret = walkDescriptors(pt, address(op.iova), out);
      return [ret, [0, 1, 2, 3].map((level) => word64(out[2 * level + 1]!, out[2 * level]!))];
    }
    case 'hwdirty':
      return writeByDevice(arena, pt, address(op.iova));
    case 'dirty': {
      const ranges: [number, number][] = [];
      const ret = readAndClearDirty(pt, address(op.iova), address(op.sz), op.flags !== 1, (iova, size) => {
        const last = ranges.at(-1);
        if (last !== undefined && last[0] + last[1] === iova) last[1] += size;
        else ranges.push([iova, size]);
      });
      return [ret, ranges.map((range) => range.map(hex))];
    }
  }
}

/** What a walker with hardware update of the dirty state does: DBM (bit 51) set and AP[2] (bit 7) set, it clears AP[2]. */
function writeByDevice(arena: Arena, pt: PageTable, iova: number): number {
  const { startLevel, bitsPerLevel, granuleShift } = pt.layout;
  const ptes = new Int32Array(8);
  if (walkDescriptors(pt, iova, ptes) !== 0) return 0;
  let table = BigInt(pt.root);
  for (let level = startLevel; ; level++) {
    const bits = BigInt(level === startLevel ? pt.layout.pgdBits : bitsPerLevel);
    const shift = BigInt(granuleShift + bitsPerLevel * (3 - level));
    const at = Number(table + 8n * BigInt.asUintN(Number(bits), BigInt(iova) >> shift));
    const [hi, lo] = [arena.memory.read32(at + 4), arena.memory.read32(at)];
    const descriptor = (BigInt(hi >>> 0) << 32n) | BigInt(lo >>> 0);
    if (level === 3 || (descriptor & 2n) === 0n) {
      if ((descriptor & (1n << 51n)) === 0n || (descriptor & (1n << 7n)) === 0n) return 0;
      arena.memory.write64(at, hi, lo & ~(1 << 7));
      return 1;
    }
    table = addressIn(descriptor, granuleShift);
  }
}

function expectedOf(op: Call): unknown {
  if (op.o === 'map') return [op.ret, op.mapped];
  if (op.o === 'walk') return [op.ret, op.ptes];
  if (op.o === 'dirty') return [op.ret, op.dirty];
  if (op.o === 'hwdirty') return op.hit;
  return op.ret;
}
