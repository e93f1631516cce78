/**
 * The audit of a machine that stands still: for every stream, what it can reach in memory, with which rights, and
 * through which descriptor; then whether any of that is protected memory, or memory of tables that a device can write.
 * Reads with the literal decoder of `lab/oracle/decode` and shares no code with the model of the SMMU.
 *
 * It judges what the tables say, not what a TLB may still hold. Whatever cannot be read is reported as a gap.
 */
import type { Word64 } from '../oracle/decode/fields.ts';
import { hex64 } from '../oracle/decode/fields.ts';
import type { WalkSource } from '../walk/source.ts';
import type { StageTables } from '../walk/tables.ts';
import { type Context, findContexts } from './contexts.ts';
import { coalesce, type Entries, RegionIndex, violationsOf } from './ranges.ts';
import { steeringRegions } from './regions.ts';
import { ALL_RIGHTS, rightsOf } from './rights.ts';
import { type Run, RunList } from './runs.ts';
import { Stage2Map } from './stage2-map.ts';
import type { AuditedContext, AuditReport, Entry, Region, Rights } from './types.ts';
import { RUN_LIMIT, visitTables } from './visit.ts';

/** The register that decides while the SMMU is off: its offset and its bit that aborts everything. */
const GBPA = 0x44;
const GBPA_ABORT = 0x100000;

/** What an audit looks at, beside the frozen SMMU. */
export interface AuditOptions {
  /** The file or machine, for the report. */
  readonly subject: string;
  readonly registers: ReadonlyMap<string, Word64>;
  /** Memory that no device may reach. */
  readonly protect?: readonly { readonly name: string; readonly start: number; readonly end: number }[];
  /** Address of the SMMU's registers, which are memory of tables too; null when unknown. */
  readonly smmuBase?: number | null;
  readonly names?: ReadonlyMap<number, string>;
  /** How many runs of leaves a root may have before it is cut; {@link RUN_LIMIT} unless told. */
  readonly runLimit?: number;
}

/** A root, walked once however many streams share it. */
interface Walked {
  /** Null with the SMMU off: then there are no streams. */
  readonly first: Context | null;
  readonly contexts: Context[];
  readonly runs: readonly Run<Rights>[];
  readonly entries: Entries;
}

/** Audits a frozen machine. */
export function audit(source: WalkSource, options: AuditOptions): AuditReport {
  const regions: Region[] = (options.protect ?? []).map((range) => ({ kind: 'protected', ...range }));
  const steering = steeringRegions(source, options.registers, options.smmuBase ?? null);
  regions.push(...steering.regions);
  const gaps = new Set<string>(steering.gaps);
  const walked: Walked[] = [];
  const enabled = (source.cr0 & 1) !== 0;
  const limit = options.runLimit ?? RUN_LIMIT;
  const second = stage2Maps(source, regions, gaps, limit);
  const found = enabled
    ? findContexts(source, (tables) => second(tables).reader((pa) => source.memory.read64(pa)))
    : { contexts: [], denied: [], regions: [], gaps: [] };
  regions.push(...found.regions);
  for (const gap of found.gaps) gaps.add(gap);
  const roots = new Map<string, Walked>();
  for (const context of found.contexts) {
    const { halves, second: below, privCfg, ssid, sid, cd } = context;
    // What passes untranslated does so by its own STE.
    const own = halves.length === 0 && below === null ? sid : null;
    const key = JSON.stringify([halves, below, privCfg, ssid, cd === null, own]);
    const known = roots.get(key);
    if (known !== undefined) {
      known.contexts.push(context);
      continue;
    }
    const fresh = { first: context, contexts: [context], ...reachOf(source, context, second, regions, gaps, limit) };
    roots.set(key, fresh);
    walked.push(fresh);
  }
  const index = new RegionIndex(unique(regions));
  if (!enabled && (source.gbpa & GBPA_ABORT) === 0) walked.push(disabled(source, options.registers));
  const judged = walked.map(({ contexts, first, runs, entries }) =>
    violationsOf(runs, index, sidsOf(contexts), first?.ssid ?? null, entries),
  );
  return {
    subject: options.subject,
    enabled,
    contexts: walked.map(summary),
    denied: found.denied,
    regions: unique(regions),
    violations: judged.flatMap(({ found }) => found),
    omitted: judged.reduce((sum, { omitted }) => sum + omitted, 0),
    gaps: [...gaps],
    names: options.names ?? new Map(),
  };
}

/** What a context reaches, and how its descriptors are read. */
function reachOf(
  source: WalkSource,
  context: Context,
  second: (tables: StageTables) => Stage2Map,
  regions: Region[],
  gaps: Set<string>,
  limit: number,
): Pick<Walked, 'runs' | 'entries'> {
  const { halves, second: below, privCfg, sid } = context;
  const direct = (address: number): Word64 | null => source.memory.read64(address);
  const list = new RunList<Rights>();
  const lower = below === null ? null : second(below);
  const reader = lower?.reader(direct);
  const read = reader === undefined ? direct : (address: number) => reader(address)?.word ?? null;
  const entries: Entries = {
    entry: (address) => ({ address, value: (halves.length === 0 ? direct : read)(address)! }),
    beneath: (address) => ({ address, value: direct(address)! }),
  };
  const done = { runs: list.runs, entries };
  if (halves.length === 0) {
    // A context descriptor whose halves are both off lets nothing through.
    if (context.cd !== null) return done;
    if (lower === null) return everything(source, context.ste);
    for (const { ipa, pa, size, unit, access, entry, entryStep } of lower.all()) {
      const rights = rightsOf(access, privCfg);
      if (rights !== null) list.add(ipa, pa, unit, size / unit, rights, entry, entryStep, null, 0);
    }
    return done;
  }
  const owner = `stream 0x${sid.toString(16)}`;
  for (const { tables, start } of halves) {
    visitTables(tables, read, {
      table: (address, bytes, level) => {
        const name = `stage 1 level ${level} table of ${owner}`;
        const places = lower === null ? [{ pa: address, size: bytes }] : lower.within(address, bytes);
        for (const { pa, size } of places) regions.push(tableRegion(name, level, pa, size));
      },
      gap: (text) => gaps.add(`${owner}: ${text}`),
      leaf: (input, output, size, access, entry) => {
        const iova = start + input;
        if (lower === null) {
          const rights = rightsOf(access, privCfg);
          if (rights !== null) list.add(iova, output, size, 1, rights, entry, 0, null, 0);
        } else {
          for (const piece of lower.within(output, size)) {
            const rights = rightsOf(access & piece.access, privCfg);
            if (rights === null) continue;
            const unit = Math.min(size, piece.unit);
            const at = iova + (piece.ipa - output);
            list.add(at, piece.pa, unit, piece.size / unit, rights, entry, 0, piece.entry, piece.entryStep);
          }
        }
        return list.runs.length < limit;
      },
    });
  }
  return done;
}

/** What passes untranslated reaches every address the SMMU can put out. */
function everything(source: WalkSource, entry: Entry): Pick<Walked, 'runs' | 'entries'> {
  const unit = 2 ** source.capabilities.oasBits;
  const whole = { iova: 0, pa: 0, unit, count: 1, rights: ALL_RIGHTS, beneath: null, beneathStep: 0 };
  return {
    runs: [{ ...whole, entry: entry.address, entryStep: 0 }],
    entries: { entry: () => entry, beneath: () => entry },
  };
}

/** With the SMMU off, GBPA decides for every stream. */
function disabled(source: WalkSource, registers: ReadonlyMap<string, Word64>): Walked {
  const value = registers.get('GBPA') ?? { hi: 0, lo: source.gbpa };
  return { first: null, contexts: [], ...everything(source, { address: GBPA, value }) };
}

function tableRegion(name: string, level: number, start: number, bytes: number): Region {
  return { kind: 'table', structure: 'translation table', level, name, start, end: start + bytes };
}

/** Reads each stage 2 once, and notes where its tables lie. */
function stage2Maps(
  source: WalkSource,
  regions: Region[],
  gaps: Set<string>,
  limit: number,
): (tables: StageTables) => Stage2Map {
  const maps = new Map<string, Stage2Map>();
  return (tables) => {
    const key = JSON.stringify(tables);
    let map = maps.get(key);
    if (map === undefined) {
      map = new Stage2Map(tables, (address) => source.memory.read64(address), limit, {
        table: (start, bytes, level) => regions.push(tableRegion(`stage 2 level ${level} table`, level, start, bytes)),
        gap: (text) => gaps.add(text),
      });
      maps.set(key, map);
    }
    return map;
  };
}

/** Tables that several roots share are listed once, under the first name. */
function unique(regions: readonly Region[]): Region[] {
  const seen = new Map<string, Region>();
  for (const region of regions) {
    const key =
      region.kind === 'table' ? `${region.start}:${region.end}` : `${region.start}:${region.end}:${region.name}`;
    if (!seen.has(key)) seen.set(key, region);
  }
  return [...seen.values()];
}

function sidsOf(contexts: readonly Context[]): number[] {
  return contexts.map(({ sid }) => sid);
}

function summary({ first, contexts, runs, entries }: Walked): AuditedContext {
  const one = first !== null && first.halves.length > 0;
  const two = first !== null && first.second !== null;
  const root = first?.halves[0]?.tables ?? first?.second ?? null;
  return {
    streams: contexts.map(({ sid, ste, cd }) => ({ sid, ste, cd })),
    ssid: first?.ssid ?? null,
    translation: one ? (two ? 'nested' : 'stage 1') : two ? 'stage 2' : 'none',
    table: root?.base ?? null,
    ranges: coalesce(runs, entries),
    leaves: runs.reduce((sum, { count }) => sum + count, 0),
    bytes: runs.reduce((sum, { unit, count }) => sum + unit * count, 0),
  };
}

/** A descriptor for people: its address and its value. */
export function entryText({ address, value }: Entry): string {
  return `0x${address.toString(16)}: ${hex64(value.hi, value.lo)}`;
}
