/**
 * From registers to contexts: each stream of the stream table, with each of its substreams, and the tables that its
 * accesses go through. Entries that the SMMU would reject, and those that abort, come out as denied streams.
 * Architecture: Stream table lookup, STE, CD, L1CD. Left out: secure streams, and everything that
 * `lab/oracle/decode/legal.ts` leaves out.
 */
import { cdFlag, cdGranuleBits1 } from '../oracle/decode/cd.ts';
import type { Word64 } from '../oracle/decode/fields.ts';
import { l1cdL2Ptr, l1cdValid } from '../oracle/decode/l1std.ts';
import { cdIllegal, steIllegal } from '../oracle/decode/legal.ts';
import {
  steConfig,
  steEats,
  stePrivCfg,
  steS1CdMax,
  steS1ContextPtr,
  steS1Dss,
  steS1Fmt,
  steS2Flag,
} from '../oracle/decode/ste.ts';
import { fetchWords } from '../walk/fetch.ts';
import type { WalkSource } from '../walk/source.ts';
import { presentStreams, steAddress } from '../walk/stream.ts';
import { type StageTables, stage1Tables, stage2Tables } from '../walk/tables.ts';
import type { DeniedStream, Entry, Region } from './types.ts';

/** The smallest page that stage 2 maps. */
const PAGE = 4096;
/** ATS Translated traffic is checked against STEs. */
const CR0_ATSCHK = 1 << 4;

/** One half of the input space: its tables and where it starts. */
export interface Half {
  readonly tables: StageTables;
  readonly start: number;
}

/** One stream, or one substream of it. */
export interface Context {
  readonly sid: number;
  readonly ssid: number | null;
  readonly ste: Entry;
  readonly cd: number | null;
  readonly privCfg: number;
  /** Stage 1; empty where it does not translate. */
  readonly halves: readonly Half[];
  readonly second: StageTables | null;
}

export interface Contexts {
  readonly contexts: readonly Context[];
  readonly denied: readonly DeniedStream[];
  /** Memory of context descriptors. */
  readonly regions: readonly Region[];
  readonly gaps: readonly string[];
}

/** Memory through a stream's stage 2, or as it is. Null where stage 2 or memory does not let a walk read. */
export type TableReader = (address: number) => { readonly pa: number; readonly word: Word64 } | null;

/** Everything the stream table leads to. `through` gives the reader of what stage 1 of a nested stream refers to. */
export function findContexts(source: WalkSource, through: (second: StageTables) => TableReader): Contexts {
  const contexts: Context[] = [];
  const denied: DeniedStream[] = [];
  const regions: Region[] = [];
  const gaps: string[] = [];
  const plain: TableReader = (address) => {
    const word = source.memory.read64(address);
    return word === null ? null : { pa: address, word };
  };

  function ofStream(sid: number): void {
    const address = steAddress(source, sid)!;
    const ste = fetchWords(source.memory, address, 8);
    if (ste === null) {
      gaps.push(`the STE of stream 0x${sid.toString(16)} at 0x${address.toString(16)} cannot be read`);
      return;
    }
    const illegal = steIllegal(ste, 0, source.capabilities);
    if (illegal !== null) {
      denied.push({ sid, ssid: null, reason: `its STE is illegal: ${illegal}` });
      return;
    }
    const config = steConfig(ste[0]!);
    const eats = steEats(ste[2]!);
    if (source.capabilities.ats && config !== 4 && eats !== 0) {
      const bound = eats === 2 ? 'go through stage 2 only' : 'go through no table';
      gaps.push(`stream 0x${sid.toString(16)} has ATS: accesses that its device calls translated ${bound}`);
    }
    if ((config & 2) !== 0 && (!steS2Flag(ste[5]!, 51) || steS2Flag(ste[5]!, 52))) {
      gaps.push(`stage 2 of stream 0x${sid.toString(16)} has AArch32 or big-endian tables`);
      return;
    }
    const base = {
      sid,
      ssid: null,
      ste: { address, value: { hi: ste[1]!, lo: ste[0]! } },
      cd: null,
      privCfg: stePrivCfg(ste[3]!),
      halves: [],
      second: (config & 2) !== 0 ? stage2Tables(ste, source.capabilities) : null,
    };
    if ((config & 1) === 0) {
      contexts.push(base);
      return;
    }
    const substreams = source.capabilities.ssidBits === 0 ? 0 : steS1CdMax(ste[1]!);
    const dss = steS1Dss(ste[2]!);
    if (substreams !== 0 && dss === 1) contexts.push(base);
    else if (substreams !== 0 && dss !== 2)
      denied.push({ sid, ssid: null, reason: 'S1DSS terminates accesses without SSID' });
    const reader = base.second === null ? plain : through(base.second);
    for (const { ssid, at } of cdPlaces(ste, substreams, reader, sid)) {
      const named = substreams === 0 || (ssid === 0 && dss === 2) ? null : ssid;
      ofCd(base, ste, at, named, reader, substreams !== 0);
    }
  }

  /** The memory of [address, address + bytes), which `reader` finds page by page. */
  function add(name: string, address: number, bytes: number, reader: TableReader): void {
    if (reader === plain) {
      regions.push(descriptors(name, address, bytes));
      return;
    }
    for (let at = address; at < address + bytes; ) {
      const end = Math.min(address + bytes, at - (at % PAGE) + PAGE);
      const found = reader(at);
      if (found !== null) regions.push(descriptors(name, found.pa, end - at));
      at = end;
    }
  }

  /** Where the CDs of a stream lie. */
  function cdPlaces(
    ste: Int32Array,
    log2: number,
    reader: TableReader,
    sid: number,
  ): { readonly ssid: number; readonly at: number }[] {
    const pointer = steS1ContextPtr(ste[1]!, ste[0]!);
    const owner = `stream 0x${sid.toString(16)}`;
    if (log2 === 0) return [{ ssid: 0, at: pointer }];
    const format = steS1Fmt(ste[0]!);
    const count = 2 ** log2;
    if (format !== 1 && format !== 2) {
      const start = pointer - (pointer % (64 * count));
      add(`CD table of ${owner}`, start, 64 * count, reader);
      return Array.from({ length: count }, (_, ssid) => ({ ssid, at: start + 64 * ssid }));
    }
    const per = format === 1 ? 64 : 1024;
    const places: { ssid: number; at: number }[] = [];
    const level1 = Math.ceil(count / per);
    add(`level-1 CD table of ${owner}`, pointer, 8 * level1, reader);
    for (let i = 0; i < level1; i++) {
      const found = reader(pointer + 8 * i);
      if (found === null) {
        gaps.push(`the level-1 CD table of ${owner} cannot be read at 0x${(pointer + 8 * i).toString(16)}`);
        break;
      }
      if (!l1cdValid(found.word.lo)) continue;
      const table = l1cdL2Ptr(found.word.hi, found.word.lo);
      const used = Math.min(per, count);
      add(`level-2 CD table of ${owner}`, table, 64 * used, reader);
      for (let k = 0; k < used; k++) places.push({ ssid: i * per + k, at: table + 64 * k });
    }
    return places;
  }

  function ofCd(
    base: Context,
    ste: Int32Array,
    at: number,
    ssid: number | null,
    reader: TableReader,
    many: boolean,
  ): void {
    // In a table of CDs most are not in use.
    const head = many ? reader(at) : null;
    if (head !== null && head.word.lo >= 0) return;
    const cd = new Int32Array(16);
    let pa = at;
    for (let i = 0; i < 8; i++) {
      const found = reader(at + 8 * i);
      if (found === null) {
        gaps.push(`the CD of stream 0x${base.sid.toString(16)} at 0x${at.toString(16)} cannot be read`);
        return;
      }
      if (i === 0) pa = found.pa;
      cd[2 * i] = found.word.lo;
      cd[2 * i + 1] = found.word.hi;
    }
    regions.push(descriptors(`CD of stream 0x${base.sid.toString(16)}`, pa, 64));
    const illegal = cdIllegal(cd, 0, ste, 0, source.capabilities);
    if (illegal !== null) {
      denied.push({ sid: base.sid, ssid, reason: `its CD is illegal: ${illegal}` });
      return;
    }
    if (!cdFlag(cd[1]!, cd[0]!, 41) || cdFlag(cd[1]!, cd[0]!, 15)) {
      gaps.push(`stage 1 of stream 0x${base.sid.toString(16)} has AArch32 or big-endian tables`);
      return;
    }
    contexts.push({ ...base, ssid, cd: pa, halves: halvesOf(cd, source) });
  }

  if (source.capabilities.ats && (source.cr0 & CR0_ATSCHK) === 0) {
    gaps.push('CR0.ATSCHK is 0: accesses that a device calls translated (ATS) go through no table, of any stream');
  }
  for (const sid of presentStreams(source)) ofStream(sid);
  return { contexts, denied, regions, gaps };
}

function descriptors(name: string, start: number, bytes: number): Region {
  return { kind: 'table', structure: 'context descriptors', name, start, end: start + bytes };
}

function halvesOf(cd: Int32Array, source: WalkSource): Half[] {
  const halves: Half[] = [];
  const { capabilities } = source;
  if (!cdFlag(cd[1]!, cd[0]!, 14)) halves.push({ tables: stage1Tables(cd, capabilities), start: 0 });
  if (!cdFlag(cd[1]!, cd[0]!, 30)) {
    const tables = stage1Tables(upperAsLower(cd), capabilities);
    halves.push({ tables, start: 2 ** 64 - 2 ** tables.inputBits });
  }
  return halves;
}

/** The CD with what it says of TTB1 in the place of TTB0. */
function upperAsLower(cd: Int32Array): Int32Array {
  const copy = cd.slice();
  const granule = { 12: 0, 16: 1, 14: 2 }[cdGranuleBits1(cd[0]!)] ?? 3;
  copy[0] = (cd[0]! & ~0xff) | ((cd[0]! >>> 16) & 63) | (granule << 6);
  copy[2] = cd[4]!;
  copy[3] = cd[5]!;
  return copy;
}
