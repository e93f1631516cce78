/**
 * What happens to one transaction: the checks in the order in which the architecture makes them, from SMMUEN to the
 * permission of the last descriptor. Data accesses without a SubstreamID, unprivileged, not ATS.
 *
 * By default everything comes from memory as it is now. A {@link CachedChoice} puts cached things in its place: the
 * same function then says what hardware does with those.
 */

import type { SmmuDescription } from '../description.ts';
import type { PhysicalMemory } from '../memory/index.ts';
import { POW2 } from '../pow2.ts';
import { descriptorAddress, judgeLeaf, type Regime, WalkFault, WalkResult, walk, walkFrom } from '../table-walk.ts';
import { below } from '../word64.ts';
import { CD_SIZE, Cd, decodeCd } from './cd.ts';
import { EventClass, EventType, Fault, type RegisterFile } from './events.ts';
import { CR0_SMMUEN, CR2_RECINVSID, GBPA_ABORT, Register } from './registers.ts';
import { decodeSte, S1DSS_BYPASS, S1DSS_SUBSTREAM0, STE_SIZE, Ste, SteKind } from './ste.ts';
import { decodeStreamTable, locateSte, StePlace, StreamTable } from './stream-table.ts';

const BIT55 = 2 ** 55;
const BIT56 = 2 ** 56;

/** What of the TLB a transaction uses in place of a walk from the root. */
export const TlbUse = { none: 0, leaf: 1, table: 2, root: 3 } as const;
export type TlbUse = (typeof TlbUse)[keyof typeof TlbUse];

/** Cached things that hardware uses in place of what memory holds now. */
export class CachedChoice {
  streamTable: StreamTable | null = null;
  /** A level-1 descriptor and its address; -1 for none. */
  l1At = -1;
  l1Hi = 0;
  l1Lo = 0;
  /** Address of an STE that is used without a look-up; -1 for none. */
  steAt = -1;
  /** 64-bit words of the STE (bit n: word n) that are taken from {@link steWords}. */
  steMask = 0;
  readonly steWords: Int32Array = new Int32Array(16);
  cdMask = 0;
  readonly cdWords: Int32Array = new Int32Array(16);
  tlb: TlbUse = TlbUse.none;
  /** Regime to read the TLB entry with, or to walk from (`root`). */
  tlbRegime: Regime | null = null;
  /** Input address at which the range of a `root` starts. */
  tlbStart = 0;
  /** Level of a leaf, or of the table that a table descriptor names; the descriptor. */
  tlbLevel = 0;
  tlbHi = 0;
  tlbLo = 0;
}

/** Scratch and result of translations of one SMMU. Everything in it is good until the next translation. */
export class TranslationUnit {
  readonly memory: PhysicalMemory;
  readonly smmu: SmmuDescription;
  readonly registers: RegisterFile;
  readonly table: StreamTable = new StreamTable();
  readonly place: StePlace = new StePlace();
  readonly ste: Ste = new Ste();
  readonly cd: Cd = new Cd();
  readonly walk: WalkResult = new WalkResult();
  readonly fault: Fault = new Fault();
  /** Physical address reached; -1 when the transaction does not go through. */
  pa = -1;
  /** Address of the STE and of the CD used; -1 when the transaction ended before. */
  steAt = -1;
  cdAt = -1;
  /** Stage that walked, 0 when none did; its regime, and the input address as an offset from the regime's start. */
  stage: 0 | 1 | 2 = 0;
  regime: Regime | null = null;
  input = 0;

  constructor(memory: PhysicalMemory, smmu: SmmuDescription, registers: RegisterFile) {
    this.memory = memory;
    this.smmu = smmu;
    this.registers = registers;
  }
}

/**
 * Translates an access of `sid` to `iova` and leaves the result in `u`. Changes nothing else.
 * @param iova the address on the bus; negative for one in the upper half of the 64-bit space
 * @param cached what hardware takes from its caches; null for nothing
 */
export function translate(
  u: TranslationUnit,
  sid: number,
  iova: number,
  write: boolean,
  cached: CachedChoice | null,
): void {
  const { memory, smmu, registers, ste, cd, fault } = u;
  u.pa = -1;
  u.steAt = -1;
  u.cdAt = -1;
  u.stage = 0;
  u.regime = null;
  u.walk.fetches = 0;
  fault.type = 0;
  fault.sid = sid;
  fault.iova = iova;
  fault.write = write;
  fault.stage2 = false;
  fault.eventClass = EventClass.IN;
  fault.ipa = 0;
  fault.fetchAddress = 0;
  fault.recorded = true;
  fault.reason = '';
  const tooWide = iova < 0 || iova >= POW2[smmu.oas]!;

  // 1. SMMUEN: off means that GBPA decides, and no event.
  if ((registers.get(Register.CR0) & CR0_SMMUEN) === 0) {
    if ((registers.get(Register.GBPA) & GBPA_ABORT) === 0 && !tooWide) u.pa = iova;
    return;
  }

  // 2. and 3. Find the STE: C_BAD_STREAMID, F_STE_FETCH.
  if (cached !== null && cached.steAt >= 0) {
    u.place.pa = cached.steAt;
  } else {
    let table = u.table;
    if (cached !== null && cached.streamTable !== null) table = cached.streamTable;
    else currentStreamTable(u);
    const l1At = cached === null ? -1 : cached.l1At;
    locateSte(memory, table, sid, l1At, cached?.l1Hi ?? 0, cached?.l1Lo ?? 0, u.place);
    if (u.place.fault !== 0) {
      fault.type = u.place.fault;
      fault.fetchAddress = u.place.pa;
      if (fault.type === EventType.C_BAD_STREAMID) {
        fault.recorded = (registers.get(Register.CR2) & CR2_RECINVSID) !== 0;
      }
      return;
    }
  }

  // 4. C_BAD_STE. Then what needs no CD: abort (silently) and bypass.
  u.steAt = u.place.pa;
  readEntry(memory, u.steAt, ste.words, cached === null ? 0 : cached.steMask, cached?.steWords);
  decodeSte(ste, smmu);
  if (ste.kind === SteKind.illegal) {
    fault.type = EventType.C_BAD_STE;
    fault.reason = ste.illegal;
    return;
  }
  if (ste.kind === SteKind.abort) return;

  // 5. C_BAD_SUBSTREAMID cannot happen without a SubstreamID. 6. F_STREAM_DISABLED.
  let bypassStage1 = ste.kind === SteKind.bypass;
  if (ste.kind === SteKind.stage1 && ste.contextLog2 !== 0) {
    bypassStage1 = ste.substreamDefault === S1DSS_BYPASS;
    if (!bypassStage1 && ste.substreamDefault !== S1DSS_SUBSTREAM0) {
      fault.type = EventType.F_STREAM_DISABLED;
      return;
    }
  }
  if (bypassStage1 || ste.kind === SteKind.stage2) {
    if (tooWide) {
      fault.type = EventType.F_ADDR_SIZE;
      return;
    }
    if (bypassStage1) {
      u.pa = iova;
      return;
    }
    // 10. One stage: stage 2.
    fault.recorded = ste.stage2Records;
    fault.stage2 = true;
    fault.ipa = iova;
    walkStage(u, 2, ste.stage2, iova, write, cached);
    return;
  }

  // 7. applies to nested translation. 8. F_CD_FETCH. 9. C_BAD_CD.
  u.cdAt = ste.contextPointer;
  if (!memory.isRamRange(u.cdAt, CD_SIZE)) {
    fault.type = EventType.F_CD_FETCH;
    fault.fetchAddress = u.cdAt;
    u.cdAt = -1;
    return;
  }
  readEntry(memory, u.cdAt, cd.words, cached === null ? 0 : cached.cdMask, cached?.cdWords);
  decodeCd(cd, smmu);
  if (cd.illegal !== '') {
    fault.type = EventType.C_BAD_CD;
    fault.reason = cd.illegal;
    return;
  }

  // 10. One stage: stage 1. VA[55] selects the half; the bits above the range must all equal it.
  fault.recorded = cd.records;
  const upper = iova < 0 || (iova >= BIT55 && Math.floor(iova / BIT55) % 2 === 1);
  let va = iova;
  if (upper ? cd.topByteIgnored1 : cd.topByteIgnored0) {
    va = below(iova, BIT56);
    if (upper) va -= BIT56;
  }
  const half = upper ? cd.half1 : cd.half0;
  if (!(upper ? cd.walks1 : cd.walks0)) {
    fault.type = EventType.F_TRANSLATION;
    return;
  }
  walkStage(u, 1, half, upper ? va + POW2[half.inputBits]! : va, write, cached);
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

/** Reads a 64-byte entry; 64-bit words in `mask` come from `cached`. */
function readEntry(
  memory: PhysicalMemory,
  pa: number,
  words: Int32Array,
  mask: number,
  cached: Int32Array | undefined,
): void {
  const from = memory.indexOf(pa);
  const source = memory.words;
  for (let i = 0; i < STE_SIZE / 4; i++) words[i] = source[from + i]!;
  if (mask === 0 || cached === undefined) return;
  for (let i = 0; i < 16; i++) if ((mask & (1 << (i >> 1))) !== 0) words[i] = cached[i]!;
}

const FAULT_EVENTS: readonly number[] = [
  0,
  EventType.F_TRANSLATION,
  EventType.F_ADDR_SIZE,
  EventType.F_ACCESS,
  EventType.F_PERMISSION,
  EventType.F_WALK_EABT,
];

function walkStage(
  u: TranslationUnit,
  stage: 1 | 2,
  regime: Regime,
  input: number,
  write: boolean,
  cached: CachedChoice | null,
): void {
  const { memory, fault } = u;
  const out = u.walk;
  u.stage = stage;
  u.regime = regime;
  u.input = input;
  if (cached === null || cached.tlb === TlbUse.none || cached.tlbRegime === null) {
    walk(memory, regime, input, write, out);
  } else if (cached.tlb === TlbUse.root) {
    walk(memory, cached.tlbRegime, fault.iova - cached.tlbStart, write, out);
  } else if (cached.tlb === TlbUse.table) {
    const { tlbRegime, tlbLevel, tlbHi, tlbLo } = cached;
    const table = descriptorAddress(tlbHi, tlbLo, tlbRegime.granule);
    walkFrom(memory, tlbRegime, tlbLevel, table, tlbHi, input, write, out);
  } else {
    judgeLeaf(cached.tlbRegime, cached.tlbLevel, cached.tlbHi, cached.tlbLo, input, write, out);
  }
  u.pa = out.pa;
  if (out.fault === WalkFault.none) return;
  fault.type = FAULT_EVENTS[out.fault]!;
  if (out.fault === WalkFault.external) {
    fault.eventClass = EventClass.TTD;
    fault.fetchAddress = out.fetchPa[out.fetches - 1]!;
    fault.recorded = true;
  }
}
