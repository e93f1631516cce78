/**
 * What happens to one transaction: the checks in the order in which the architecture makes them, from SMMUEN to the
 * permission of the last descriptor. Unprivileged data accesses, with or without a SubstreamID.
 *
 * By default everything comes from memory as it is now. A {@link CachedChoice} puts cached things in its place: the
 * same function then says what hardware does with those.
 */

import { POW2 } from '../pow2.ts';
import { WalkFault } from '../table-walk.ts';
import { below } from '../word64.ts';
import { fetchContext } from './context-fetch.ts';
import { EventClass, EventType } from './events.ts';
import { type CachedChoice, endedBelow, FAULT_EVENTS, isUnfounded, readEntry, TlbUse, walkWith } from './lookup.ts';
import { CR0_SMMUEN, CR2_RECINVSID, GBPA_ABORT, Register } from './registers.ts';
import { decodeSte, Eats, S1DSS_BYPASS, S1DSS_SUBSTREAM0, SteKind, walksStage1 } from './ste.ts';
import { decodeStreamTable, locateSte } from './stream-table.ts';
import type { TranslationUnit } from './unit.ts';

const BIT55 = 2 ** 55;
const BIT56 = 2 ** 56;

/**
 * Translates an access of `sid` to `iova` and leaves the result in `u`. Changes nothing else.
 * @param iova the address on the bus; negative for one in the upper half of the 64-bit space
 * @param cached what hardware takes from its caches; null for nothing
 * @param ssid its SubstreamID; -1 for none
 */
export function translate(
  u: TranslationUnit,
  sid: number,
  iova: number,
  write: boolean,
  cached: CachedChoice | null,
  ssid = -1,
): void {
  const { memory, smmu, registers, ste, cd, fault } = u;
  begin(u, sid, ssid, iova, write, cached);

  // 1. SMMUEN: off means that GBPA decides, and no event.
  if ((registers.get(Register.CR0) & CR0_SMMUEN) === 0) {
    if ((registers.get(Register.GBPA) & GBPA_ABORT) === 0 && !tooWide(u, iova)) u.pa = iova;
    return;
  }

  // 2. and 3. Find the STE: C_BAD_STREAMID, F_STE_FETCH.
  if (!findSte(u, sid, cached)) return;

  // 4. C_BAD_STE. Then what ends silently.
  u.steAt = u.place.pa;
  const changed = readEntry(memory, u.steAt, ste.words, cached === null ? 0 : cached.steMask, cached?.steWords);
  if (changed || !ste.decoded) decodeSte(ste, smmu);
  if (ste.kind === SteKind.illegal) {
    fault.type = EventType.C_BAD_STE;
    fault.reason = ste.illegal;
    return;
  }
  if (ste.kind === SteKind.abort) return;

  // 5. C_BAD_SUBSTREAMID: there is one, but no CD for it. 6. F_STREAM_DISABLED: S1DSS decides without one.
  const stage1 = walksStage1(ste);
  if (ssid >= 0 && (!stage1 || ste.contextLog2 === 0 || ssid >= POW2[ste.contextLog2]!)) {
    fault.type = EventType.C_BAD_SUBSTREAMID;
    return;
  }
  let bypassStage1 = !stage1;
  if (stage1 && ste.contextLog2 !== 0) {
    const { substreamDefault } = ste;
    bypassStage1 = ssid < 0 && substreamDefault === S1DSS_BYPASS;
    if (ssid < 0 ? !bypassStage1 && substreamDefault !== S1DSS_SUBSTREAM0 : disabledZero(ssid, substreamDefault)) {
      fault.type = EventType.F_STREAM_DISABLED;
      return;
    }
  }
  if (bypassStage1) {
    if (tooWide(u, iova)) {
      fault.type = EventType.F_ADDR_SIZE;
      return;
    }
    if (ste.kind === SteKind.bypass || ste.kind === SteKind.stage1) {
      u.pa = iova;
      return;
    }
    // 10. One stage: stage 2.
    fault.recorded = ste.stage2Records || ste.stage2Stalls;
    fault.stalls = ste.stage2Stalls;
    fault.stage2 = true;
    fault.ipa = iova;
    u.regime = ste.stage2;
    if (u.adversary !== null && cached !== null) u.adversary.stage2(iova, EventClass.IN, cached);
    walkStage(u, 2, iova, write, cached);
    return;
  }

  // 7. Stage-2 faults on the way to the CD (CLASS = CD). 8. F_CD_FETCH. 9. C_BAD_CD.
  if (!fetchContext(u, ssid < 0 ? 0 : ssid)) return;

  // 10. Stage 1. VA[55] selects the half; the bits above the range must all equal it.
  fault.recorded = cd.records || cd.stalls;
  fault.stalls = cd.stalls;
  const upper = isUpperHalf(iova);
  const half = upper ? cd.half1 : cd.half0;
  const va = half.ignoresTopByte ? withoutTopByte(iova, upper) : iova;
  u.regime = half;
  if (u.adversary !== null && cached !== null) u.adversary.stage1(va, half, cached);
  // EPDx disables walks. What is cached is not walked for.
  if (!(upper ? cd.walks1 : cd.walks0) && (cached === null || cached.tlb === TlbUse.none)) {
    fault.type = EventType.F_TRANSLATION;
    return;
  }
  walkStage(u, 1, upper ? va + POW2[half.inputBits]! : va, write, cached);

  // Nested: stage 1 gave an IPA, and stage 2 has the last word.
  if (u.pa < 0 || ste.kind !== SteKind.nested || cached?.tlbFinal === true) return;
  if (u.splitStage && ste.ats === Eats.splitStage) return;
  u.pa = u.second.through(u.pa, write, EventClass.IN);
}

function begin(
  u: TranslationUnit,
  sid: number,
  ssid: number,
  iova: number,
  write: boolean,
  cached: CachedChoice | null,
): void {
  const { fault } = u;
  u.pa = -1;
  u.steAt = -1;
  u.cdAt = -1;
  u.stage = 0;
  u.regime = null;
  u.walk.fetches = 0;
  u.updates = 0;
  u.adversary = cached === null ? null : cached.adversary;
  fault.type = 0;
  fault.sid = sid;
  fault.ssid = ssid;
  fault.iova = iova;
  fault.write = write;
  fault.stage2 = false;
  fault.eventClass = EventClass.IN;
  fault.tableRead = false;
  fault.ipa = 0;
  fault.fetchAddress = 0;
  fault.recorded = true;
  fault.stalls = false;
  fault.reason = '';
}

/** Whether an address exceeds what passes through untranslated: OAS, which is also IAS without AArch32 tables. */
function tooWide(u: TranslationUnit, iova: number): boolean {
  return iova < 0 || iova >= POW2[u.smmu.oas]!;
}

/** SubstreamID 0 is not for use where CD 0 serves what has none. */
function disabledZero(ssid: number, substreamDefault: number): boolean {
  return ssid === 0 && substreamDefault === S1DSS_SUBSTREAM0;
}

/** Finds and decodes the STE of an access without translating it; false when it is none to go on with. */
export function steOf(u: TranslationUnit, sid: number, iova: number, write: boolean): boolean {
  begin(u, sid, -1, iova, write, null);
  const found = findSte(u, sid, null);
  u.fault.type = 0;
  if (!found) return false;
  u.steAt = u.place.pa;
  readEntry(u.memory, u.steAt, u.ste.words, 0, undefined);
  decodeSte(u.ste, u.smmu);
  return u.ste.kind !== SteKind.illegal && u.ste.kind !== SteKind.abort;
}

/** Leaves the place of the STE in `u.place`; false after a fault. */
function findSte(u: TranslationUnit, sid: number, cached: CachedChoice | null): boolean {
  const { fault, place } = u;
  if (cached !== null && cached.steAt >= 0) {
    place.pa = cached.steAt;
    return true;
  }
  let table = u.table;
  if (cached !== null && cached.streamTable !== null) table = cached.streamTable;
  else currentStreamTable(u);
  const l1At = cached === null ? -1 : cached.l1At;
  locateSte(u.memory, table, sid, l1At, cached?.l1Hi ?? 0, cached?.l1Lo ?? 0, place);
  if (place.fault === 0) return true;
  fault.type = place.fault;
  fault.fetchAddress = place.pa;
  if (fault.type === EventType.C_BAD_STREAMID) {
    fault.recorded = (u.registers.get(Register.CR2) & CR2_RECINVSID) !== 0;
  }
  return false;
}

/** The stream table as the registers describe it, in `u.table`. */
export function currentStreamTable(u: TranslationUnit): void {
  const { registers } = u;
  decodeStreamTable(
    u.table,
    u.smmu,
    registers.get(Register.STRTAB_BASE + 4),
    registers.get(Register.STRTAB_BASE),
    registers.get(Register.STRTAB_BASE_CFG),
  );
}

/** VA[55]: which half of the address space an address belongs to. */
export function isUpperHalf(iova: number): boolean {
  return iova < 0 || (iova >= BIT55 && Math.floor(iova / BIT55) % 2 === 1);
}

/** The input address with its top byte ignored: replaced by what the half of the address space has there. */
export function withoutTopByte(iova: number, upper: boolean): number {
  const rest = below(iova, BIT56);
  return upper ? rest - BIT56 : rest;
}

/** One stage's walk of `input`, an offset from the start of the unit's regime; its faults. */
function walkStage(u: TranslationUnit, stage: 1 | 2, input: number, write: boolean, cached: CachedChoice | null): void {
  const { fault, ste, adversary } = u;
  const out = u.walk;
  u.stage = stage;
  const regime = u.regime!;
  u.input = input;
  const under = stage === 1 && ste.kind === SteKind.nested && cached?.tlbFinal !== true ? u.second : null;
  walkWith(u.memory, regime, input, write, cached, out, under);
  if (adversary !== null && cached !== null && isUnfounded(cached, out)) adversary.refute();
  u.pa = out.pa;
  if (out.updateAt >= 0) u.noteUpdate(out.updateAt, out.lo, out.updateLo);
  if (out.fault === WalkFault.none || endedBelow(out)) return;
  fault.type = FAULT_EVENTS[out.fault]!;
  if (out.fault === WalkFault.external) {
    fault.eventClass = EventClass.TTD;
    fault.fetchAddress = out.fetchPa[out.fetches - 1]!;
    fault.recorded = true;
    fault.stalls = false;
  }
}
