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
import { coalesce, RegionIndex, violationsOf } from './ranges.ts';
import { steeringRegions } from './regions.ts';
import { ALL_RIGHTS, rightsOf } from './rights.ts';
import { Stage2Map } from './stage2-map.ts';
import type { AuditedContext, AuditReport, Entry, Leaf, Region } from './types.ts';
import { visitTables } from './visit.ts';

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
}

/** A root, walked once however many streams share it. */
interface Walked {
  readonly first: Context;
  readonly contexts: Context[];
  readonly leaves: Leaf[];
}

/** Audits a frozen machine. */
export function audit(source: WalkSource, options: AuditOptions): AuditReport {
  const regions: Region[] = (options.protect ?? []).map((range) => ({ kind: 'protected', ...range }));
  const steering = steeringRegions(source, options.registers, options.smmuBase ?? null);
  regions.push(...steering.regions);
  const gaps = new Set<string>(steering.gaps);
  const walked: Walked[] = [];
  const enabled = (source.cr0 & 1) !== 0;
  const second = stage2Maps(source, regions, gaps);
  const found = enabled
    ? findContexts(source, (tables) => second(tables).reader((pa) => source.memory.read64(pa)))
    : { contexts: [], denied: [], regions: [], gaps: [] };
  regions.push(...found.regions);
  for (const gap of found.gaps) gaps.add(gap);
  const roots = new Map<string, Walked>();
  for (const context of found.contexts) {
    const { halves, second: below, privCfg, ssid, sid } = context;
    // What passes untranslated does so by its own STE.
    const key = JSON.stringify([halves, below, privCfg, ssid, halves.length === 0 ? sid : -1]);
    const known = roots.get(key);
    if (known !== undefined) {
      known.contexts.push(context);
      continue;
    }
    const fresh = { first: context, contexts: [context], leaves: leavesOf(source, context, second, regions, gaps) };
    roots.set(key, fresh);
    walked.push(fresh);
  }
  const index = new RegionIndex(unique(regions));
  const off = enabled ? [] : disabledReach(source, options.registers);
  const violations = walked.flatMap(({ contexts, first, leaves }) =>
    violationsOf(leaves, index, sidsOf(contexts), first.ssid),
  );
  violations.push(...violationsOf(off, index, [], null));
  const contexts = walked.map(summary);
  if (off.length > 0) {
    contexts.push({
      streams: [],
      ssid: null,
      translation: 'none',
      table: null,
      ranges: coalesce(off),
      leaves: 1,
      bytes: off[0]!.size,
    });
  }
  return {
    subject: options.subject,
    enabled,
    contexts,
    denied: found.denied,
    regions: unique(regions),
    violations,
    gaps: [...gaps],
    names: options.names ?? new Map(),
  };
}

function leavesOf(
  source: WalkSource,
  context: Context,
  second: (tables: StageTables) => Stage2Map,
  regions: Region[],
  gaps: Set<string>,
): Leaf[] {
  const { halves, second: below, ste, privCfg, sid } = context;
  const leaves: Leaf[] = [];
  if (halves.length === 0 && below === null) return context.cd === null ? everything(source, ste) : [];
  const lower = below === null ? null : second(below);
  if (lower !== null && halves.length === 0) {
    if (context.cd !== null) return [];
    for (const { ipa, pa, size, access, entry } of lower.all()) {
      const rights = rightsOf(access, privCfg);
      if (rights !== null) leaves.push({ iova: ipa, pa, size, rights, entry, beneath: null });
    }
    return leaves;
  }
  const owner = `stream 0x${sid.toString(16)}`;
  const reader = lower?.reader((pa) => source.memory.read64(pa));
  for (const { tables, start } of halves) {
    visitTables(tables, (address) => (reader === undefined ? source.memory.read64(address) : read(address)), {
      table: (address, bytes, level) => {
        const name = `stage 1 level ${level} table of ${owner}`;
        const places = lower === null ? [{ pa: address, size: bytes }] : lower.within(address, bytes);
        for (const { pa, size } of places) regions.push(tableRegion(name, level, pa, size));
      },
      gap: (text) => gaps.add(`${owner}: ${text}`),
      leaf: (input, output, size, access, address, value) => {
        const at = { iova: start + input, entry: { address, value } };
        if (lower === null) add(at.iova, output, size, access, at.entry, null);
        else
          for (const piece of lower.within(output, size)) {
            const iova = at.iova + (piece.ipa - output);
            add(iova, piece.pa, piece.size, access & piece.access, at.entry, piece.entry);
          }
      },
    });
  }
  return leaves;

  function read(address: number): Word64 | null {
    return reader!(address)?.word ?? null;
  }

  function add(iova: number, pa: number, size: number, access: number, entry: Entry, beneath: Entry | null): void {
    const rights = rightsOf(access, privCfg);
    if (rights !== null) leaves.push({ iova, pa, size, rights, entry, beneath });
  }
}

function tableRegion(name: string, level: number, start: number, bytes: number): Region {
  return { kind: 'table', structure: 'translation table', level, name, start, end: start + bytes };
}

/** What passes untranslated reaches every address the SMMU can put out. */
function everything(source: WalkSource, entry: Entry): Leaf[] {
  return [{ iova: 0, pa: 0, size: 2 ** source.capabilities.oasBits, rights: ALL_RIGHTS, entry, beneath: null }];
}

/** With the SMMU off, GBPA decides for every stream. */
function disabledReach(source: WalkSource, registers: ReadonlyMap<string, Word64>): Leaf[] {
  if ((source.gbpa & 0x100000) !== 0) return [];
  return everything(source, { address: 0x44, value: registers.get('GBPA') ?? { hi: 0, lo: source.gbpa } });
}

/** Reads each stage 2 once, and notes where its tables lie. */
function stage2Maps(source: WalkSource, regions: Region[], gaps: Set<string>): (tables: StageTables) => Stage2Map {
  const maps = new Map<string, Stage2Map>();
  return (tables) => {
    const key = JSON.stringify(tables);
    let map = maps.get(key);
    if (map === undefined) {
      map = new Stage2Map(tables, (address) => source.memory.read64(address), {
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

function summary({ first, contexts, leaves }: Walked): AuditedContext {
  const one = first.halves.length > 0;
  const two = first.second !== null;
  const root = first.halves[0]?.tables ?? first.second;
  return {
    streams: contexts.map(({ sid, ste, cd }) => ({ sid, ste, cd })),
    ssid: first.ssid,
    translation: one ? (two ? 'nested' : 'stage 1') : two ? 'stage 2' : 'none',
    table: root?.base ?? null,
    ranges: coalesce(leaves),
    leaves: leaves.length,
    bytes: leaves.reduce((sum, { size }) => sum + size, 0),
  };
}

/** A descriptor for people: its address and its value. */
export function entryText({ address, value }: Entry): string {
  return `0x${address.toString(16)}: ${hex64(value.hi, value.lo)}`;
}
