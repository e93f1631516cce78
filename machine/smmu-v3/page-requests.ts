/**
 * PCIe page requests (PRI): a device asks for pages in groups, the SMMU writes each request to the PRI queue, and software
 * answers a group with CMD_PRI_RESP. A request that cannot be written is answered by the SMMU itself, or lost. The groups
 * are the devices': each remembers which of its own wait for a response, and takes no notice of any other response.
 *
 * Arm IHI 0070, chapter 8. A write to a queue outside memory counts as a synchronous abort. What STE.PPAR says is looked up
 * in memory as it is now; where there are no SubstreamIDs no STE is looked up for it.
 */

import type { SmmuFeatures } from '../description.ts';
import { type PhysicalMemory, StateClass } from '../memory/index.ts';
import { RecordFile } from '../record-file.ts';
import { queueEntry, queueLog2, type RegisterFile } from './events.ts';
import type { Interrupts } from './interrupts.ts';
import { CR0_PRIQEN, CR0_SMMUEN, GERROR_PRIQ_ABT, OVERFLOW_FLAG, PRIQ_LAST_ONLY, Register } from './registers.ts';
import { encode } from './structures/field.ts';
import { PAGE_REQUEST } from './structures/page-request.ts';
import type { PageGroup, PageRequest, PageResponseCode } from './types.ts';

/** Bytes of an entry of the PRI queue. */
const ENTRY = 16;
const PAGE = 4096;

/** What became of a request: in the queue, lost without an answer, or answered at once. */
export type Receipt = 'queued' | 'discarded' | 'answered';

/** Whether automatic responses of a stream carry the PASID; null when its STE cannot be had. */
export type PasidPolicy = (sid: number, ssid: number) => boolean | null;

const F = { state: 0, sid: 1, group: 2, ssid: 3 } as const;
const STATES: readonly ('free' | PageGroup['state'])[] = ['free', 'waiting', 'success', 'invalid', 'failure'];
const WAITING = 1;

/** CMD_PRI_RESP.Resp. */
const RESPONSES: readonly PageResponseCode[] = ['failure', 'invalid', 'success'];

export class PageRequests {
  private readonly memory: PhysicalMemory;
  private readonly smmu: SmmuFeatures;
  private readonly registers: RegisterFile;
  private readonly interrupts: Interrupts;
  private readonly records: RecordFile;
  private readonly header: number;

  constructor(memory: PhysicalMemory, smmu: SmmuFeatures, registers: RegisterFile, interrupts: Interrupts) {
    this.memory = memory;
    this.smmu = smmu;
    this.registers = registers;
    this.interrupts = interrupts;
    this.records = new RecordFile(memory, 4, StateClass.state, 16);
    this.header = memory.allocFile(1);
  }

  /** A message of a device arrives. */
  receive(sid: number, request: PageRequest, pasidPolicy: PasidPolicy): Receipt {
    const { smmu, registers } = this;
    const ssid = smmu.ssidBits === 0 ? -1 : (request.ssid ?? -1);
    const marker = request.last && !request.read && !request.write && ssid >= 0;
    if (!marker) this.expect(sid, request.group);
    const cr0 = registers.get(Register.CR0);
    const enabled = smmu.pri && (cr0 & CR0_PRIQEN) !== 0 && (cr0 & CR0_SMMUEN) !== 0;
    if (!enabled || this.aborted()) return marker ? 'discarded' : this.answer(sid, request.group, 'failure', -1);
    if (this.full()) {
      if (request.last && this.lastOnly()) this.interrupts.pageRequests();
      if (marker || !request.last) return 'discarded';
      return this.answerOverflow(sid, request.group, ssid, pasidPolicy);
    }
    if (this.write(sid, ssid, request)) return 'queued';
    return marker ? 'discarded' : this.answer(sid, request.group, 'failure', -1);
  }

  /** CMD_PRI_RESP. @param code its field Resp, 0 to 2 */
  respond(sid: number, ssid: number, group: number, code: number): void {
    this.answer(sid, group, RESPONSES[code]!, this.smmu.ssidBits === 0 ? -1 : ssid);
  }

  /** What became of a group. Once it is answered, its device has the answer and the number is free. */
  collect(sid: number, group: number): PageGroup | null {
    const n = this.find(sid, group);
    if (n < 0) return null;
    const found = this.entry(n)!;
    if (found.state !== 'waiting') this.records.clear(n);
    return found;
  }

  list(): PageGroup[] {
    const found: PageGroup[] = [];
    for (let n = 0; n < this.size; n++) {
      const entry = this.entry(n);
      if (entry !== null) found.push(entry);
    }
    return found;
  }

  // ---- the queue

  private aborted(): boolean {
    const { registers } = this;
    return ((registers.get(Register.GERROR) ^ registers.get(Register.GERRORN)) & GERROR_PRIQ_ABT) !== 0;
  }

  private lastOnly(): boolean {
    return (this.registers.get(Register.PRIQ_IRQ_CFG2) & PRIQ_LAST_ONLY) !== 0;
  }

  /** Whether nothing is to be written: an overflow is not acknowledged yet, or happens now. */
  private full(): boolean {
    const { registers } = this;
    const prod = registers.get(Register.PRIQ_PROD);
    const cons = registers.get(Register.PRIQ_CONS);
    if (((prod ^ cons) & OVERFLOW_FLAG) !== 0) return true;
    const wrap = 1 << queueLog2(registers.get(Register.PRIQ_BASE), this.smmu.priqLog2);
    if (((prod ^ cons) & (2 * wrap - 1)) !== wrap) return false;
    registers.put(Register.PRIQ_PROD, prod ^ OVERFLOW_FLAG);
    return true;
  }

  /** Writes an entry; false, and PRIQ_ABT, when the queue is not in memory. */
  private write(sid: number, ssid: number, request: PageRequest): boolean {
    const { memory, registers } = this;
    const baseLo = registers.get(Register.PRIQ_BASE);
    const log2 = queueLog2(baseLo, this.smmu.priqLog2);
    const prod = registers.get(Register.PRIQ_PROD);
    const at = queueEntry(registers.get(Register.PRIQ_BASE + 4), baseLo, log2, prod, ENTRY);
    if (!memory.isRamRange(at, ENTRY)) {
      this.interrupts.raise(GERROR_PRIQ_ABT);
      return false;
    }
    const words = entryOf(sid, ssid, request);
    memory.write64(at, words[1]!, words[0]!);
    memory.write64(at + 8, words[3]!, words[2]!);
    const mask = (2 << log2) - 1;
    const empty = ((prod ^ registers.get(Register.PRIQ_CONS)) & mask) === 0;
    registers.put(Register.PRIQ_PROD, (prod & OVERFLOW_FLAG) | ((prod + 1) & mask));
    if (this.lastOnly() ? request.last : empty) this.interrupts.pageRequests();
    return true;
  }

  // ---- responses

  /** An overflow is answered with success, so that the device tries again; without an STE to tell how, with failure. */
  private answerOverflow(sid: number, group: number, ssid: number, pasidPolicy: PasidPolicy): Receipt {
    if (ssid < 0) return this.answer(sid, group, 'success', -1);
    const carries = pasidPolicy(sid, ssid);
    if (carries === null) return this.answer(sid, group, 'failure', -1);
    return this.answer(sid, group, 'success', carries ? ssid : -1);
  }

  private answer(sid: number, group: number, code: PageResponseCode, ssid: number): 'answered' {
    const n = this.find(sid, group);
    if (n >= 0 && this.records.get(n, F.state) === WAITING) {
      this.records.put(n, F.state, STATES.indexOf(code));
      this.records.put(n, F.ssid, ssid);
    }
    return 'answered';
  }

  // ---- the devices' groups

  private get size(): number {
    return this.memory.words[this.header]!;
  }

  /** The device waits for a response to the group from now on. */
  private expect(sid: number, group: number): void {
    const { records } = this;
    let n = this.find(sid, group);
    if (n < 0) {
      n = 0;
      while (n < this.size && records.get(n, F.state) !== 0) n++;
      if (n === this.size) this.memory.put(this.header, n + 1);
    }
    records.put(n, F.state, WAITING);
    records.put(n, F.sid, sid | 0);
    records.put(n, F.group, group);
    records.put(n, F.ssid, -1);
  }

  private find(sid: number, group: number): number {
    const { records } = this;
    for (let n = 0; n < this.size; n++) {
      if (records.get(n, F.state) === 0) continue;
      if (records.get(n, F.sid) >>> 0 === sid && records.get(n, F.group) === group) return n;
    }
    return -1;
  }

  private entry(n: number): PageGroup | null {
    const { records } = this;
    const state = STATES[records.get(n, F.state)]!;
    if (state === 'free') return null;
    return { sid: records.get(n, F.sid) >>> 0, group: records.get(n, F.group), state, ssid: records.get(n, F.ssid) };
  }
}

/** The four words of a queue entry. Without a SubstreamID, requests are neither for execution nor privileged. */
function entryOf(sid: number, ssid: number, request: PageRequest): Int32Array {
  const flag = (value: boolean | undefined): number => (value === true ? 1 : 0);
  const { iova } = request;
  return encode(PAGE_REQUEST, {
    SID: sid,
    SSID: Math.max(0, ssid),
    Priv: ssid < 0 ? 0 : flag(request.privileged),
    X: ssid < 0 ? 0 : flag(request.execute),
    R: flag(request.read),
    W: flag(request.write),
    L: flag(request.last),
    SSV: ssid < 0 ? 0 : 1,
    PRGIndex: request.group,
    Address: iova - (((iova % PAGE) + PAGE) % PAGE),
  });
}
