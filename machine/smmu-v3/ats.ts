/**
 * PCIe address translation services: a device asks for translations ahead of its accesses, keeps the answers in its own
 * cache (ATC), and sends accesses that count as translated. The ATC is the device's: what it was told it may use until a
 * covering CMD_ATC_INV and its SYNC, and the SMMU's own invalidations do not reach it.
 *
 * Left out: answers from stale TLB entries; those are what {@link possibleOutcomes} tells.
 */

import { type PhysicalMemory, StateClass } from '../memory/index.ts';
import { POW2 } from '../pow2.ts';
import { RecordFile } from '../record-file.ts';
import { hiOf, joinSigned, loOf } from '../word64.ts';
import { EventClass, EventType } from './events.ts';
import { CR0_ATSCHK, CR0_SMMUEN, CR2_REC_CFG_ATS, Register } from './registers.ts';
import { Eats, SteKind } from './ste.ts';
import { steOf, translate } from './translate.ts';
import type { AtcEntry, AtsAnswer } from './types.ts';
import type { TranslationUnit } from './unit.ts';

const PAGE = 4096;

/**
 * Answers a translation request. What is to be recorded of it is in the unit's fault.
 * @param write the device asks for write permission too
 */
export function translationRequest(
  u: TranslationUnit,
  sid: number,
  iova: number,
  write: boolean,
  ssid: number,
): AtsAnswer {
  const { fault, registers, ste } = u;
  const page = iova - (((iova % PAGE) + PAGE) % PAGE);
  u.splitStage = true;
  translate(u, sid, page, false, null, ssid);
  u.splitStage = false;
  if ((registers.get(Register.CR0) & CR0_SMMUEN) === 0) return refused(u);
  if (u.steAt < 0 || ste.kind === SteKind.illegal) return aborted(u);
  if (ste.kind === SteKind.abort) return { status: 'unsupported', recorded: false };
  if (ste.kind === SteKind.bypass || ste.ats === Eats.off) return refused(u);
  const readable = u.pa >= 0;
  if (!readable && fault.type < EventType.F_TRANSLATION) return aborted(u);
  const read = readable ? answerOf(u) : null;
  if (!readable && fault.type !== EventType.F_PERMISSION) return nothing();
  let written: { pa: number; size: number } | null = null;
  if (write) {
    u.splitStage = true;
    translate(u, sid, page, true, null, ssid);
    u.splitStage = false;
    if (u.pa >= 0) written = answerOf(u);
  }
  const found = read ?? written;
  fault.type = 0;
  if (found === null) return nothing();
  return { status: 'success', read: read !== null, write: written !== null, recorded: false, ...found };
}

function answerOf(u: TranslationUnit): { pa: number; size: number } {
  // Untranslated (stage 1 bypassed): a page at a time.
  let log2 = u.stage === 0 ? 12 : u.walk.leafLog2;
  if (u.stage === 1 && u.ste.kind === SteKind.nested && u.ste.ats === Eats.full) {
    log2 = Math.min(log2, u.second.walk.leafLog2);
  }
  return { pa: u.pa, size: POW2[log2]! };
}

/** Unsupported request, with F_BAD_ATS_TREQ. */
function refused(u: TranslationUnit): AtsAnswer {
  u.fault.type = EventType.F_BAD_ATS_TREQ;
  u.fault.recorded = true;
  return { status: 'unsupported', recorded: true };
}

/** Completer abort: a configuration error, recorded only if CR2.REC_CFG_ATS asks for it. */
function aborted(u: TranslationUnit): AtsAnswer {
  const recorded = u.fault.recorded && (u.registers.get(Register.CR2) & CR2_REC_CFG_ATS) !== 0;
  u.fault.recorded = recorded;
  return { status: 'aborted', recorded };
}

/** A translation, address-size or access fault: success without permissions, and no event. */
function nothing(): AtsAnswer {
  return { status: 'success', read: false, write: false, pa: -1, size: PAGE, recorded: false };
}

/** Why {@link steOf} found no STE to go on with: an event number, or 0 for one that aborts its stream. */
export function configurationError(u: TranslationUnit): number {
  if (u.steAt < 0) return u.place.fault;
  return u.ste.kind === SteKind.illegal ? EventType.C_BAD_STE : 0;
}

/** Carries out an access that the device calls translated: leaves its result in the unit. */
export function translatedAccess(u: TranslationUnit, sid: number, address: number, write: boolean): void {
  const { registers, ste, fault } = u;
  const cr0 = registers.get(Register.CR0);
  const legal = steOf(u, sid, address, write);
  if ((cr0 & CR0_SMMUEN) === 0 || !u.smmu.ats) {
    fault.type = EventType.F_TRANSL_FORBIDDEN;
    fault.recorded = true;
    return;
  }
  if ((cr0 & CR0_ATSCHK) === 0) {
    u.pa = address;
    return;
  }
  if (!legal) {
    fault.type = configurationError(u);
    fault.recorded = (registers.get(Register.CR2) & CR2_REC_CFG_ATS) !== 0;
    return;
  }
  if (ste.kind === SteKind.bypass || ste.ats === Eats.off) {
    fault.type = EventType.F_TRANSL_FORBIDDEN;
    return;
  }
  u.pa = ste.ats === Eats.splitStage ? u.second.through(address, write, EventClass.IN) : address;
}

const F = { used: 0, sid: 1, ssid: 2, pageLo: 3, pageHi: 4, size: 5, paLo: 6, paHi: 7 } as const;
const USED = 1;
const READ = 2;
const WRITE = 4;
const COVERED = 8;
/** What the invalidations since the last SYNC come to; 0 when there were none. */
const WAITING = 1;
const TIMED_OUT = 2;

/** What devices have been told and may still use. */
export class Atc {
  private readonly memory: PhysicalMemory;
  private readonly records: RecordFile;
  private readonly header: number;

  constructor(memory: PhysicalMemory) {
    this.memory = memory;
    this.records = new RecordFile(memory, 8, StateClass.state, 16);
    this.header = memory.allocFile(2);
  }

  private get size(): number {
    return this.memory.words[this.header]!;
  }

  /** Keeps an answer. */
  add(sid: number, ssid: number, iova: number, answer: AtsAnswer): void {
    if (answer.status !== 'success' || (!answer.read && !answer.write)) return;
    const { records } = this;
    let n = 0;
    while (n < this.size && records.get(n, F.used) !== 0) n++;
    if (n === this.size) this.memory.put(this.header, n + 1);
    const offset = ((iova % answer.size) + answer.size) % answer.size;
    const page = iova - offset;
    const pa = answer.pa - (answer.pa % answer.size);
    records.put(n, F.used, USED | (answer.read ? READ : 0) | (answer.write ? WRITE : 0));
    records.put(n, F.sid, sid | 0);
    records.put(n, F.ssid, ssid);
    records.put(n, F.pageLo, loOf(page));
    records.put(n, F.pageHi, hiOf(page));
    records.put(n, F.size, Math.log2(answer.size));
    records.put(n, F.paLo, loOf(pa));
    records.put(n, F.paHi, hiOf(pa));
  }

  /**
   * CMD_ATC_INV was consumed.
   * @param ssid -1 for entries without a SubstreamID; `global` means all of them
   * @param size log2 of the pages from the aligned address; 52 is everything
   */
  invalidate(sid: number, ssid: number, global: boolean, iova: number, size: number): void {
    const { records } = this;
    if (this.memory.words[this.header + 1] === 0) this.memory.put(this.header + 1, WAITING);
    const bytes = PAGE * POW2[Math.min(size, 52)]!;
    const first = iova - (((iova % bytes) + bytes) % bytes);
    for (let n = 0; n < this.size; n++) {
      const entry = this.entry(n);
      if (entry === null || entry.sid !== sid || (!global && entry.ssid !== ssid)) continue;
      const hit = size >= 52 || (entry.iova < first + bytes && first < entry.iova + entry.size);
      if (hit) records.put(n, F.used, records.get(n, F.used) | COVERED);
    }
  }

  /**
   * The devices do not answer the invalidations that wait for a SYNC: it will fail, and they keep their entries. Without
   * such an invalidation nothing happens.
   */
  timeOut(): void {
    if (this.memory.words[this.header + 1] === WAITING) this.memory.put(this.header + 1, TIMED_OUT);
  }

  /** A SYNC: covered entries are gone. @returns false when a device did not answer; then none of them is */
  sync(): boolean {
    const { memory, records } = this;
    const before = memory.words[this.header + 1]!;
    if (before === 0) return true;
    memory.put(this.header + 1, 0);
    for (let n = 0; n < this.size; n++) {
      const used = records.get(n, F.used);
      if ((used & COVERED) === 0) continue;
      if (before === TIMED_OUT) records.put(n, F.used, used & ~COVERED);
      else records.clear(n);
    }
    return before !== TIMED_OUT;
  }

  list(): AtcEntry[] {
    const found: AtcEntry[] = [];
    for (let n = 0; n < this.size; n++) {
      const entry = this.entry(n);
      if (entry !== null) found.push(entry);
    }
    return found;
  }

  private entry(n: number): AtcEntry | null {
    const { records } = this;
    const used = records.get(n, F.used);
    if (used === 0) return null;
    return {
      sid: records.get(n, F.sid) >>> 0,
      ssid: records.get(n, F.ssid),
      iova: joinSigned(records.get(n, F.pageHi), records.get(n, F.pageLo)),
      size: POW2[records.get(n, F.size)]!,
      pa: joinSigned(records.get(n, F.paHi), records.get(n, F.paLo)),
      read: (used & READ) !== 0,
      write: (used & WRITE) !== 0,
      pending: (used & COVERED) !== 0,
    };
  }
}
