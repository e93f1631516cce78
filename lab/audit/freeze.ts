/**
 * A fixture out of a whole machine's memory: only the pages that hold tables, so that what takes a fixture takes a
 * machine. Which pages those are is what an audit reads.
 */
import type { ExpectedMapping, Fixture, FixturePage, FixtureStream } from '../fixture/fixture.ts';
import { InputError } from '../input-error.ts';
import { COMMAND_BYTES } from '../oracle/decode/command.ts';
import { EVENT_BYTES } from '../oracle/decode/event.ts';
import { bitsInPlace, type Word64 } from '../oracle/decode/fields.ts';
import { leavesOf, streamTables } from '../walk/leaves.ts';
import type { MemorySource, WalkSource } from '../walk/source.ts';
import { audit } from './audit.ts';
import { RegionIndex } from './ranges.ts';
import type { AuditReport } from './types.ts';

const PAGE = 4096;

/** What memory belongs to, beside {@link WalkSource}. */
export interface Frozen {
  /** For messages. */
  readonly file: string;
  readonly source: WalkSource;
  readonly registers: ReadonlyMap<string, Word64>;
  readonly ramBase: number;
  readonly ramSize: number;
}

/**
 * The fixture. No log says what is mapped, so `expected` is what a reading of all tables finds; streams with two stages
 * or with substreams have none there. @throws InputError when tables lie outside RAM
 */
export function freeze({ file, source, registers, ramBase, ramSize }: Frozen): Fixture {
  const touched = new Set<number>();
  const memory: MemorySource = {
    read64: (pa) => {
      const word = source.memory.read64(pa);
      if (word !== null) touched.add(pa - (pa % PAGE));
      return word;
    },
  };
  const report = audit({ ...source, memory }, { subject: file, registers });
  const regions = new RegionIndex(report.regions);
  const pages = new Map<number, FixturePage>();
  for (const pa of [...touched].sort((a, b) => a - b)) {
    if (pa < ramBase || pa >= ramBase + ramSize) {
      const expected = `all tables in the RAM from 0x${ramBase.toString(16)} to 0x${(ramBase + ramSize).toString(16)}`;
      throw new InputError({ file, expected, got: `one at 0x${pa.toString(16)}` });
    }
    pages.set(pa, { kind: kindOf(pa, regions), words: pageAt(source.memory, pa) });
  }
  return {
    file,
    run: /[^/]+(?=\/*$)/.exec(file)?.[0] ?? file,
    cmdline: null,
    ramBase,
    ramSize,
    registers,
    pages,
    streams: streamsOf(report, source),
    expected: expectedOf(report, source),
    events: eventsOf(source.memory, registers),
    pci: [],
  };
}

/** The kinds that fixtures know. A page with more than translation tables in it counts as what else it holds. */
function kindOf(page: number, regions: RegionIndex): string {
  let kind = 'unknown';
  for (const { structure, level } of regions.touched(page, page + PAGE)) {
    if (structure === 'stream table') return 'strtab';
    if (structure === 'context descriptors') return 'cd';
    if (structure === 'translation table') kind = `pt-l${level}`;
  }
  return kind;
}

function pageAt(memory: MemorySource, pa: number): Int32Array {
  const words = new Int32Array(PAGE / 4);
  for (let i = 0; i < words.length; i += 2) {
    const word = memory.read64(pa + 4 * i)!;
    words[i] = word.lo;
    words[i + 1] = word.hi;
  }
  return words;
}

function streamsOf({ contexts }: AuditReport, source: WalkSource): FixtureStream[] {
  const streams = contexts
    .filter(({ ssid }) => ssid === null)
    .flatMap(({ streams }) =>
      streams.map(({ sid, ste }) => {
        const table = streamTables(source, sid)?.base ?? null;
        return { sid, config: (ste.value.lo >>> 1) & 7, table };
      }),
    );
  return streams.sort((a, b) => a.sid - b.sid);
}

function expectedOf({ contexts }: AuditReport, source: WalkSource): ExpectedMapping[] {
  return contexts
    .filter(({ ssid, translation }) => ssid === null && (translation === 'stage 1' || translation === 'stage 2'))
    .flatMap(({ streams }) => streams)
    .flatMap(({ sid }) =>
      leavesOf(source, sid).map(({ iova, pa, size, descriptor }) => ({
        sid,
        iova,
        pa,
        size,
        prot: null,
        pte: descriptor,
      })),
    );
}

/** A queue in memory: where it is, how many entries it has, and where the next one goes. */
interface Queue {
  readonly base: number;
  readonly entries: number;
  readonly next: number;
  readonly wrapped: boolean;
}

function queueOf(registers: ReadonlyMap<string, Word64>, name: 'CMDQ' | 'EVENTQ', bytes: number): Queue | null {
  const base = registers.get(`${name}_BASE`);
  const prod = registers.get(`${name}_PROD`);
  if (base === undefined || prod === undefined) return null;
  const entries = 2 ** (base.lo & 31);
  const address = bitsInPlace(base.hi, base.lo, 51, 5);
  const next = prod.lo & (entries - 1);
  return {
    base: address - (address % Math.max(32, bytes * entries)),
    entries,
    next,
    wrapped: (prod.lo & entries) !== 0,
  };
}

function wordsAt(memory: MemorySource, from: number, bytes: number): Int32Array | null {
  const words = new Int32Array(bytes / 4);
  for (let i = 0; i < words.length; i += 2) {
    const word = memory.read64(from + 4 * i);
    if (word === null) return null;
    words[i] = word.lo;
    words[i + 1] = word.hi;
  }
  return words;
}

/** The records up to PROD, in their order. */
function eventsOf(memory: MemorySource, registers: ReadonlyMap<string, Word64>): Int32Array[] {
  const queue = queueOf(registers, 'EVENTQ', EVENT_BYTES);
  if (queue === null) return [];
  const records: Int32Array[] = [];
  for (let i = queue.wrapped ? queue.next - queue.entries : 0; i < queue.next; i++) {
    const at = queue.base + EVENT_BYTES * ((i + queue.entries) % queue.entries);
    const record = wordsAt(memory, at, EVENT_BYTES);
    if (record !== null) records.push(record);
  }
  return records;
}

/**
 * The commands since the queue was set up, as they lie in memory; null when that is no longer all of them, because the
 * queue went round, or when where it is is not known.
 */
export function commandHistory({ source, registers }: Pick<Frozen, 'source' | 'registers'>): Int32Array | null {
  const queue = queueOf(registers, 'CMDQ', COMMAND_BYTES);
  if (queue === null || queue.wrapped) return null;
  // A queue that went round twice has its wrap bit clear, but also a command where the next one goes.
  const next = wordsAt(source.memory, queue.base + COMMAND_BYTES * queue.next, COMMAND_BYTES);
  if (next === null || next[0] !== 0) return null;
  return wordsAt(source.memory, queue.base, COMMAND_BYTES * queue.next);
}
