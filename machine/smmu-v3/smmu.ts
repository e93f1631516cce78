/**
 * An SMMUv3: its registers, its command and event queues, and the translation of device transactions. Register state
 * and caches live in journaled memory. Register effects are immediate: acknowledgements follow in the same access,
 * commands are consumed when PROD is written.
 *
 * Left out: interrupts and MSIs (nothing waits for them here), PRI, ATS, stalls, the Secure and Realm interfaces.
 */

import type { MmioDevice } from '../bus.ts';
import { featuresOf, type SmmuDescription, type SmmuFeatures } from '../description.ts';
import type { PhysicalMemory } from '../memory/index.ts';
import { Caches } from './caches.ts';
import { consumeCommands } from './command-queue.ts';
import { eventRecord, type RegisterFile, writeEvent } from './events.ts';
import { type Explanation, explain } from './explain.ts';
import { possibleOutcomes } from './possible.ts';
import * as R from './registers.ts';
import { Register } from './registers.ts';
import { currentStreamTable, translate } from './translate.ts';
import type { Outcome, SmmuObserver, StaleEntry, Translation } from './types.ts';
import { TranslationUnit } from './unit.ts';

/** Words of the register file: page 0 up to 0x100, then the two event-queue indexes of page 1. */
const PAGE0_BYTES = 0x100;
const FILE_WORDS = PAGE0_BYTES / 4 + 2;

export class Smmu implements MmioDevice, RegisterFile {
  readonly description: SmmuDescription;
  readonly memory: PhysicalMemory;
  /** Told of register writes, commands and events when set. */
  observer: SmmuObserver | null = null;
  /** High word of the last {@link read64}. */
  hi = 0;
  private readonly features: SmmuFeatures;
  private readonly file: number;
  private readonly ids: Int32Array;
  private readonly caches: Caches;
  private readonly unit: TranslationUnit;
  private readonly result: Translation = { ok: false, pa: -1, fault: 0 };

  constructor(memory: PhysicalMemory, description: SmmuDescription) {
    this.memory = memory;
    this.description = description;
    this.features = featuresOf(description);
    this.ids = R.idRegisters(this.features);
    this.file = memory.allocFile(FILE_WORDS);
    this.put(Register.GBPA, R.GBPA_RESET);
    this.caches = new Caches(memory, this.features);
    this.unit = new TranslationUnit(memory, this.features, this);
  }

  // ---- transactions

  /** What the tables say now about an access, without side effects. The result object is reused. */
  translate(sid: number, iova: number, write: boolean): Translation {
    const { unit, result } = this;
    translate(unit, sid, iova, write, null);
    result.ok = unit.pa >= 0;
    result.pa = unit.pa;
    result.fault = unit.fault.type;
    return result;
  }

  /**
   * Every distinct outcome that hardware could produce for an access now, given what it may still hold in its caches.
   * The first is what the tables say. Without side effects.
   */
  possible(sid: number, iova: number, write: boolean): Outcome[] {
    return possibleOutcomes(this.unit, this.caches, sid, iova, write);
  }

  /** Performs the translation of a real access: like `possible()[outcome]`, and a fault records its event. */
  transact(sid: number, iova: number, write: boolean, outcome = 0): Outcome {
    let chosen: Outcome;
    if (outcome === 0) {
      const { unit } = this;
      translate(unit, sid, iova, write, null);
      const ok = unit.pa >= 0;
      const event = ok || unit.fault.type === 0 ? null : eventRecord(unit.fault);
      chosen = { ok, pa: unit.pa, event, via: '' };
    } else {
      const all = this.possible(sid, iova, write);
      chosen = all[Math.min(outcome, all.length - 1)]!;
    }
    const { event } = chosen;
    if (event !== null) {
      const enabled = event.recorded && (this.get(Register.CR0) & R.CR0_EVENTQEN) !== 0;
      const written = writeEvent(this.memory, this, enabled, this.description.evtqLog2, event);
      if (this.observer?.event !== undefined) this.observer.event(event, written);
    }
    return chosen;
  }

  /** How the tables lead to the present outcome of an access: each structure and descriptor on the way. */
  explain(sid: number, iova: number, write: boolean): Explanation {
    translate(this.unit, sid, iova, write, null);
    return explain(this.unit);
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
        this.writeCr0(cr0, value & R.CR0_FIELDS);
        break;
      case Register.CR1: {
        let writable = 0;
        if ((cr0 & R.CR0_SMMUEN) === 0) writable |= R.CR1_TABLE_FIELDS;
        if ((cr0 & (R.CR0_CMDQEN | R.CR0_EVENTQEN)) === 0) writable |= R.CR1_QUEUE_FIELDS;
        this.put(offset, (this.get(offset) & ~writable) | (value & writable));
        break;
      }
      case Register.CR2:
        if ((cr0 & R.CR0_SMMUEN) === 0) this.put(offset, value & R.CR2_FIELDS);
        break;
      case Register.GBPA:
        // The update is done at once, so Update reads 0 again. A write without it is not one.
        if ((value & R.GBPA_UPDATE) !== 0) this.put(offset, value & R.GBPA_FIELDS);
        break;
      case Register.IRQ_CTRL:
        this.put(offset, value & R.IRQ_FIELDS);
        this.put(Register.IRQ_CTRLACK, value & R.IRQ_FIELDS);
        break;
      case Register.GERRORN:
        this.put(offset, value & R.GERROR_FIELDS);
        this.consume();
        break;
      case Register.STRTAB_BASE:
        if ((cr0 & R.CR0_SMMUEN) === 0) this.put(offset, value & R.STRTAB_BASE_LO);
        break;
      case Register.STRTAB_BASE + 4:
        if ((cr0 & R.CR0_SMMUEN) === 0) this.put(offset, value & R.STRTAB_BASE_HI);
        break;
      case Register.STRTAB_BASE_CFG:
        if ((cr0 & R.CR0_SMMUEN) === 0) this.put(offset, value & R.STRTAB_BASE_CFG_FIELDS);
        break;
      case Register.CMDQ_BASE:
        if ((cr0 & R.CR0_CMDQEN) === 0) this.put(offset, value);
        break;
      case Register.CMDQ_BASE + 4:
        if ((cr0 & R.CR0_CMDQEN) === 0) this.put(offset, value & R.QUEUE_BASE_HI);
        break;
      case Register.CMDQ_CONS:
        if ((cr0 & R.CR0_CMDQEN) === 0) this.put(offset, value & (R.QUEUE_INDEX | R.CONS_ERR));
        break;
      case Register.EVENTQ_BASE:
        if ((cr0 & R.CR0_EVENTQEN) === 0) this.put(offset, value);
        break;
      case Register.EVENTQ_BASE + 4:
        if ((cr0 & R.CR0_EVENTQEN) === 0) this.put(offset, value & R.QUEUE_BASE_HI);
        break;
      case Register.EVENTQ_PROD:
        if ((cr0 & R.CR0_EVENTQEN) === 0) this.put(offset, value & (R.QUEUE_INDEX | R.OVERFLOW_FLAG));
        break;
      case Register.EVENTQ_CONS:
        this.put(offset, value & (R.QUEUE_INDEX | R.OVERFLOW_FLAG));
        break;
      default:
        break;
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
      if ((after & R.CR0_SMMUEN) !== 0) this.caches.config.acquireStreamTable(this.unit.table);
      else this.caches.config.releaseStreamTable(this.unit.table);
    }
    if ((changed & after & R.CR0_CMDQEN) !== 0) this.consume();
  }

  private consume(): void {
    consumeCommands(this.memory, this.features, this, this.caches, this.observer);
  }
}

/** Whether there is a word in the register file for a byte offset. */
function isRegister(offset: number): boolean {
  return offset < PAGE0_BYTES || offset === Register.EVENTQ_PROD || offset === Register.EVENTQ_CONS;
}

/** Index in the register file of the word of a register. */
function indexOf(offset: number): number {
  return (offset < PAGE0_BYTES ? offset : offset - Register.EVENTQ_PROD + PAGE0_BYTES) >>> 2;
}
