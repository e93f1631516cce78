/**
 * An SMMUv3: its registers, its command and event queues, and the translation of device transactions. Register state
 * and caches live in journaled memory. Register effects are immediate: acknowledgements follow in the same access,
 * commands are consumed when PROD is written.
 *
 * Left out: the EL2 world, the Secure and Realm interfaces.
 */

import type { MmioDevice } from '../bus.ts';
import { featuresOf, type SmmuDescription, type SmmuFeatures } from '../description.ts';
import type { PhysicalMemory } from '../memory/index.ts';
import { Atc, configurationError, translatedAccess, translationRequest } from './ats.ts';
import { Caches } from './caches.ts';
import { consumeCommands } from './command-queue.ts';
import type { CommandTargets } from './commands.ts';
import { eventRecord, type RegisterFile, writeEvent } from './events.ts';
import { type Explanation, explain } from './explain.ts';
import { idRegisters } from './id-registers.ts';
import { type Doorbell, Interrupts } from './interrupts.ts';
import { PageRequests, type Receipt } from './page-requests.ts';
import { possibleOutcomes } from './possible.ts';
import { writableFields } from './register-access.ts';
import * as R from './registers.ts';
import { Register } from './registers.ts';
import { type StalledTransaction, type StallState, Stalls } from './stalls.ts';
import { PPAR } from './ste.ts';
import { currentStreamTable, steOf, translate } from './translate.ts';
import type {
  AtcEntry,
  AtsAnswer,
  EventRecord,
  Outcome,
  PageGroup,
  PageRequest,
  SmmuObserver,
  StaleEntry,
  Translation,
} from './types.ts';
import { TranslationUnit } from './unit.ts';

/** Words of the register file: page 0 up to 0x100, then page 1 from the event queue's to the PRI queue's indexes. */
const PAGE0_BYTES = 0x100;
const FILE_WORDS = (PAGE0_BYTES + Register.PRIQ_CONS + 4 - Register.EVENTQ_PROD) / 4;

export class Smmu implements MmioDevice, RegisterFile {
  readonly description: SmmuDescription;
  readonly memory: PhysicalMemory;
  /** Told of register writes, commands and events when set. */
  observer: SmmuObserver | null = null;
  /** High word of the last {@link read64}. */
  hi = 0;
  private readonly features: SmmuFeatures;
  private readonly file: number;
  /** Word: 1 while it consumes no commands. */
  private readonly stopped: number;
  private readonly ids: Int32Array;
  private readonly caches: Caches;
  private readonly interrupts: Interrupts;
  private readonly stallFile: Stalls;
  private readonly atcFile: Atc;
  private readonly pages: PageRequests;
  private readonly targets: CommandTargets;
  private readonly gerrorFields: number;
  private readonly cr0Fields: number;
  private readonly irqFields: number;
  private readonly unit: TranslationUnit;
  private readonly result: Translation = { ok: false, pa: -1, fault: 0 };

  /** @param doorbell where MSIs go; without it, to RAM */
  constructor(memory: PhysicalMemory, description: SmmuDescription, doorbell?: Doorbell) {
    this.memory = memory;
    this.description = description;
    this.features = featuresOf(description);
    this.ids = idRegisters(this.features);
    this.file = memory.allocFile(FILE_WORDS);
    this.stopped = memory.allocFile(1);
    this.put(Register.GBPA, R.GBPA_RESET);
    this.caches = new Caches(memory, this.features);
    this.unit = new TranslationUnit(memory, this.features, this);
    const { ats, pri, msi } = this.features;
    this.interrupts = new Interrupts(this, msi ? (doorbell ?? ((pa, data) => writeRam(memory, pa, data))) : null);
    this.stallFile = new Stalls(memory);
    this.atcFile = new Atc(memory);
    this.pages = new PageRequests(memory, this.features, this, this.interrupts);
    this.targets = {
      caches: this.caches,
      stalls: this.stallFile,
      atc: this.atcFile,
      pages: this.pages,
      registers: this,
    };
    this.gerrorFields = R.GERROR_FIELDS | (msi ? R.GERROR_MSI_FIELDS : 0);
    if (pri) this.gerrorFields |= R.GERROR_PRIQ_ABT | (msi ? R.GERROR_MSI_PRIQ : 0);
    this.irqFields = R.IRQ_FIELDS | (pri ? R.IRQ_PRIQ : 0);
    this.cr0Fields = R.CR0_FIELDS | (ats ? R.CR0_ATSCHK : 0) | (pri ? R.CR0_PRIQEN : 0);
  }

  // ---- transactions

  /** What the tables say now about an access, without side effects. The result object is reused. */
  translate(sid: number, iova: number, write: boolean, ssid = -1): Translation {
    const { unit, result } = this;
    translate(unit, sid, iova, write, null, ssid);
    result.ok = unit.pa >= 0;
    result.pa = unit.pa;
    result.fault = unit.fault.type;
    return result;
  }

  /**
   * What an SMMU that caches translations says about an access: what it holds, else what the tables say, which it then
   * keeps if a cache may. Always one of {@link possible}; as long as nothing is stale, the same as {@link translate},
   * which never uses what is held here. The result object is reused.
   */
  translateCached(sid: number, iova: number, write: boolean, ssid = -1): Translation {
    const { translations } = this.caches;
    const held = translations.find(sid, ssid, iova, write);
    if (held < 0) {
      const found = this.translate(sid, iova, write, ssid);
      translations.keep(this.unit);
      return found;
    }
    const { result } = this;
    result.ok = true;
    result.pa = held;
    result.fault = 0;
    return result;
  }

  /**
   * Every distinct outcome that hardware could produce for an access now, given what it may still hold in its caches.
   * The first is what the tables say. Without side effects.
   */
  possible(sid: number, iova: number, write: boolean, ssid = -1): Outcome[] {
    return possibleOutcomes(this.unit, this.caches, sid, iova, write, ssid);
  }

  /**
   * Performs the translation of a real access: like `possible()[outcome]`, and a fault records its event, or stalls.
   * Hardware's updates of descriptors are made for outcome 0; what comes from caches makes none.
   */
  transact(sid: number, iova: number, write: boolean, outcome = 0, ssid = -1): Outcome {
    let chosen: Outcome;
    const { unit } = this;
    if (outcome === 0) {
      translate(unit, sid, iova, write, null, ssid);
      if (unit.updates !== 0) this.applyUpdates();
      const ok = unit.pa >= 0;
      const event = ok || unit.fault.type === 0 ? null : eventRecord(unit.fault);
      if (event !== null && unit.fault.stalls) return this.stall(event);
      chosen = { ok, pa: unit.pa, event, via: '' };
      if (event !== null && unit.fault.ignored) chosen = { ...chosen, ignored: true };
    } else {
      const all = this.possible(sid, iova, write, ssid);
      chosen = all[Math.min(outcome, all.length - 1)]!;
      if (chosen.event !== null && chosen.stalls === true) return this.stall(chosen.event);
    }
    if (chosen.event !== null) this.record(chosen.event);
    return chosen;
  }

  /** Writes what hardware updates in descriptors for the access that was translated last. */
  private applyUpdates(): void {
    const { unit, caches, memory } = this;
    caches.updating = true;
    for (let i = 0; i < unit.updates; i++) {
      const at = unit.updateAt[i]!;
      memory.write32(at, (memory.read32(at) | unit.updateSet[i]!) & ~unit.updateClear[i]!);
    }
    caches.updating = false;
  }

  private record(event: EventRecord): void {
    const written = event.recorded && this.writeRecord(event.words, false);
    if (this.observer?.event !== undefined) this.observer.event(event, written);
  }

  private writeRecord(words: Int32Array, stalled: boolean): boolean {
    this.interrupts.observer = this.observer;
    return writeEvent(this.memory, this, this.interrupts, this.features.evtqLog2, words, stalled);
  }

  // ---- stalls

  /** Lets a transaction wait; without a free STAG it waits unrecorded, and its device has to come again. */
  private stall(event: EventRecord): Outcome {
    const held = this.stallFile.hold(event);
    if (held === null) return { ok: false, pa: -1, event: null, via: '', stag: -1 };
    this.recordStalls();
    const stag = held.words[2]! & 0xffff;
    if (this.observer?.event !== undefined) {
      this.observer.event(
        held,
        this.stalled().some((entry) => entry.stag === stag && entry.recorded),
      );
    }
    return { ok: false, pa: -1, event: held, via: '', stag };
  }

  private recordStalls(): void {
    this.stallFile.record((words) => this.writeRecord(words, true));
  }

  /** Transactions that wait for CMD_RESUME, or whose answer their device has not yet collected. */
  stalled(): StalledTransaction[] {
    return this.stallFile.list();
  }

  /**
   * What has become of a stalled transaction: `retry` means that the device is to do it again, as a new one. An answer
   * is given once. Null when there is no such transaction.
   */
  collectStall(sid: number, stag: number): StallState | null {
    return this.stallFile.collect(sid, stag);
  }

  // ---- ATS

  /** A device asks for a translation ahead; it keeps what it is told until CMD_ATC_INV and its SYNC. */
  translationRequest(sid: number, iova: number, write: boolean, ssid = -1): AtsAnswer {
    const { unit } = this;
    const answer = translationRequest(unit, sid, iova, write, ssid);
    if (unit.updates !== 0 && answer.status === 'success') this.applyUpdates();
    if (answer.recorded) this.record(eventRecord(unit.fault));
    else this.atcFile.add(sid, ssid, iova, answer);
    return answer;
  }

  /** An access that a device calls translated: `address` is what it claims to have been told. */
  translatedAccess(sid: number, address: number, write: boolean): Outcome {
    const { unit } = this;
    translatedAccess(unit, sid, address, write);
    if (unit.updates !== 0) this.applyUpdates();
    const ok = unit.pa >= 0;
    const event = ok || unit.fault.type === 0 ? null : eventRecord(unit.fault);
    if (event !== null) this.record(event);
    return { ok, pa: unit.pa, event, via: '' };
  }

  /** What devices keep of answers to their translation requests. */
  atc(): AtcEntry[] {
    return this.atcFile.list();
  }

  /**
   * From now to the next CMD_SYNC no device answers a CMD_ATC_INV that was consumed since the last one: that CMD_SYNC ends
   * in CERROR_ATC_INV_SYNC, and the devices keep what they were told.
   */
  timeOutAtcInvalidations(): void {
    this.atcFile.timeOut();
  }

  // ---- PRI

  /** A device asks for a page (PRI). Answers come to {@link collectPageResponse}, the SMMU's own ones too. */
  pageRequest(sid: number, request: PageRequest): Receipt {
    this.interrupts.observer = this.observer;
    return this.pages.receive(sid, request, (stream, ssid) => this.responseHasPasid(stream, ssid));
  }

  /** What became of a group of page requests; an answer is given once. Null when its device asked for nothing. */
  collectPageResponse(sid: number, group: number): PageGroup | null {
    return this.pages.collect(sid, group);
  }

  /** Groups of page requests that wait for a response, or whose response has not been collected. */
  pageGroups(): PageGroup[] {
    return this.pages.list();
  }

  /** STE.PPAR of a stream; null, and by CR2.REC_CFG_ATS an event, when it has no legal STE. */
  private responseHasPasid(sid: number, ssid: number): boolean | null {
    const { unit } = this;
    const { ste, fault } = unit;
    steOf(unit, sid, 0, false);
    fault.type = configurationError(unit);
    if (fault.type === 0) return (ste.words[2]! & PPAR) !== 0;
    fault.ssid = ssid;
    fault.recorded &&= (this.get(Register.CR2) & R.CR2_REC_CFG_ATS) !== 0;
    this.record(eventRecord(fault));
    return null;
  }

  /** How the tables lead to the present outcome of an access: each structure and descriptor on the way. */
  explain(sid: number, iova: number, write: boolean, ssid = -1): Explanation {
    return explain(this.unit, sid, iova, write, ssid);
  }

  /** Everything that may still be cached although memory has changed. */
  stale(): StaleEntry[] {
    const { stale } = this.caches;
    return Array.from({ length: stale.size }, (_, i) => stale.describe(i));
  }

  /** How many reachable pieces of memory are not tracked, because a page is reached too often (a self-map). */
  get untracked(): number {
    return this.caches.store.lost;
  }

  // ---- a broken SMMU

  /** Whether it consumes commands as it should. */
  get answers(): boolean {
    return this.memory.words[this.stopped] === 0;
  }

  /** From now on it leaves commands in the queue, as hardware that hangs does; or, with `true`, goes on with them. */
  setAnswers(answers: boolean): void {
    this.memory.put(this.stopped, answers ? 0 : 1);
    if (answers) this.consume();
  }

  // ---- registers

  /** Word of the register at a byte offset, by what it holds: no access rules. */
  get(offset: number): number {
    return this.memory.words[this.file + indexOf(offset)]!;
  }

  /** Sets the word of the register at a byte offset: no access rules. */
  put(offset: number, value: number): void {
    this.memory.put(this.file + indexOf(offset), value | 0);
  }

  /** A 32-bit read at a byte offset from the SMMU's base. What is not a register reads zero. */
  read32(offset: number): number {
    if (offset >= Register.IDR0 && offset <= Register.AIDR) return this.ids[offset >>> 2]!;
    return isRegister(offset) ? this.get(offset) : 0;
  }

  /** A 64-bit read: returns the low word, leaves the high word in {@link hi}. Only 64-bit registers read non-zero. */
  read64(offset: number): number {
    if (!R.WIDE_REGISTERS.has(offset)) {
      this.hi = 0;
      return 0;
    }
    this.hi = this.get(offset + 4);
    return this.get(offset);
  }

  /** A 32-bit write at a byte offset. Writes to what is not writable now are ignored. */
  write32(offset: number, value: number): void {
    if (this.observer?.registerWrite !== undefined) this.observer.registerWrite(offset, 0, value, 4);
    // Far more often than any other register.
    if (offset === Register.CMDQ_PROD) this.writeProducer(value);
    else this.write(offset, value | 0);
  }

  /** A 64-bit write. Ignored unless `offset` is a 64-bit register. */
  write64(offset: number, hi: number, lo: number): void {
    if (this.observer?.registerWrite !== undefined) this.observer.registerWrite(offset, hi, lo, 8);
    if (!R.WIDE_REGISTERS.has(offset)) return;
    this.write(offset, lo | 0);
    this.write(offset + 4, hi | 0);
  }

  private write(offset: number, value: number): void {
    const cr0 = this.get(Register.CR0);
    switch (offset) {
      case Register.CR0:
        this.writeCr0(cr0, value & this.cr0Fields);
        break;
      case Register.GBPA:
        // The update is done at once, so Update reads 0 again. A write without it is not one.
        if ((value & R.GBPA_UPDATE) !== 0) this.put(offset, value & R.GBPA_FIELDS);
        break;
      case Register.IRQ_CTRL:
        this.put(offset, value & this.irqFields);
        this.put(Register.IRQ_CTRLACK, value & this.irqFields);
        break;
      case Register.GERRORN:
        this.put(offset, value & this.gerrorFields);
        this.consume();
        this.recordStalls();
        break;
      default: {
        const fields = writableFields(offset, cr0, this.get(Register.IRQ_CTRL), this.features);
        if (fields !== 0) this.put(offset, (this.get(offset) & ~fields) | (value & fields));
        if (offset === Register.EVENTQ_CONS) this.recordStalls();
        break;
      }
    }
  }

  private writeProducer(value: number): void {
    this.put(Register.CMDQ_PROD, value & R.QUEUE_INDEX);
    this.consume();
  }

  private writeCr0(before: number, after: number): void {
    this.put(Register.CR0, after);
    this.put(Register.CR0ACK, after);
    const changed = before ^ after;
    if ((changed & R.CR0_SMMUEN) !== 0) {
      currentStreamTable(this.unit);
      if ((after & R.CR0_SMMUEN) !== 0) this.caches.enable(this.unit.table);
      else {
        this.caches.disable(this.unit.table);
        this.stallFile.terminate(-1);
      }
    }
    if ((changed & after & R.CR0_EVENTQEN) !== 0) this.recordStalls();
    if ((changed & after & R.CR0_CMDQEN) !== 0) this.consume();
  }

  private consume(): void {
    if (!this.answers) return;
    this.interrupts.observer = this.observer;
    consumeCommands(this.memory, this.features, this, this.targets, this.interrupts, this.observer);
  }
}

function writeRam(memory: PhysicalMemory, pa: number, data: number): boolean {
  if (!memory.isRam(pa)) return false;
  memory.write32(pa, data);
  return true;
}

/** Whether there is a word in the register file for a byte offset. */
function isRegister(offset: number): boolean {
  return offset < PAGE0_BYTES || (offset >= Register.EVENTQ_PROD && offset <= Register.PRIQ_CONS);
}

/** Index in the register file of the word of a register. */
function indexOf(offset: number): number {
  return (offset < PAGE0_BYTES ? offset : offset - Register.EVENTQ_PROD + PAGE0_BYTES) >>> 2;
}
