/**
 * From registers to contexts: each stream of the stream table, with each of its substreams, and the tables that its
 * accesses go through. Entries that the SMMU would reject, and those that abort, come out as denied streams.
 * Architecture: Stream table lookup, STE, CD, L1CD. Left out: secure streams, ATS translated traffic (a device that may
 * send it is not bound by any table: see STE.EATS), and everything that `lab/oracle/decode/legal.ts` leaves out.
 */
import { cdFlag, cdGranuleBits1 } from '../oracle/decode/cd.ts';
import type { Word64 } from '../oracle/decode/fields.ts';
import { l1cdL2Ptr, l1cdValid } from '../oracle/decode/l1std.ts';
import { cdIllegal, steIllegal } from '../oracle/decode/legal.ts';
import { steConfig, stePrivCfg, steS1CdMax, steS1ContextPtr, steS1Dss, steS1Fmt } from '../oracle/decode/ste.ts';
import { fetchWords } from '../walk/fetch.ts';
import type { WalkSource } from '../walk/source.ts';
import { presentStreams, steAddress } from '../walk/stream.ts';
import { type StageTables, stage1Tables, stage2Tables } from '../walk/tables.ts';
import type { DeniedStream, Entry, Region } from './types.ts';

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
      regions.push(descriptors(`CD table of ${owner}`, start, 64 * count));
      return Array.from({ length: count }, (_, ssid) => ({ ssid, at: start + 64 * ssid }));
    }
    const per = format === 1 ? 64 : 1024;
    const places: { ssid: number; at: number }[] = [];
    const level1 = Math.ceil(count / per);
    regions.push(descriptors(`level-1 CD table of ${owner}`, pointer, 8 * level1));
    for (let i = 0; i < level1; i++) {
      const found = reader(pointer + 8 * i);
      if (found === null) {
        gaps.push(`the level-1 CD table of ${owner} cannot be read at 0x${(pointer + 8 * i).toString(16)}`);
        break;
      }
      if (!l1cdValid(found.word.lo)) continue;
      const table = l1cdL2Ptr(found.word.hi, found.word.lo);
      for (let k = 0; k < Math.min(per, count); k++) places.push({ ssid: i * per + k, at: table + 64 * k });
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
    // In a table of CDs most are not in use.
    if (many && cd[0]! >= 0) return;
    regions.push(descriptors(`CD of stream 0x${base.sid.toString(16)}`, pa, 64));
    const illegal = cdIllegal(cd, 0, ste, 0, source.capabilities);
    if (illegal !== null) {
      denied.push({ sid: base.sid, ssid, reason: `its CD is illegal: ${illegal}` });
      return;
    }
    contexts.push({ ...base, ssid, cd: pa, halves: halvesOf(cd, source) });
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
