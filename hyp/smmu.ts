/**
 * The driver's record of an SMMU, its registers, and its command queue. Commands are 16 bytes; the queue is the
 * hypervisor's alone. A command has taken effect only when a later CMD_SYNC has completed (SMMUv3 4.7).
 *
 * Callers of the queue functions hold the SMMU's lock.
 */

import { err } from '#hypercall-abi';
import type { Steps } from '#machine';
import type { Hyp } from './context.ts';
import { SmmuRecord } from './layout.ts';
import { pointerAt, readPointer } from './pool.ts';

/** Register offsets that the driver uses, from the base of the register file. */
export const Register = {
  CR0: 0x20,
  CR0ACK: 0x24,
  CR1: 0x28,
  CR2: 0x2c,
  GBPA: 0x44,
  GERROR: 0x60,
  GERRORN: 0x64,
  STRTAB_BASE: 0x80,
  STRTAB_BASE_CFG: 0x88,
  CMDQ_BASE: 0x90,
  CMDQ_PROD: 0x98,
  CMDQ_CONS: 0x9c,
  EVENTQ_BASE: 0xa0,
  EVENTQ_PROD: 0x100a8,
  EVENTQ_CONS: 0x100ac,
} as const;

const MMIO = 0;
export const STRTAB = 8;
export const GEOMETRY = 16;
const CMDQ = 20;
const CMDQ_PROD = 28;
const CMDQ_CONS = 40;
export const SMMU_LOCK = 32;
/** Word of the record: streams that use the identity table. */
export const IDENTITY_STREAMS = 44;
/** Word of the record: one of {@link PowerState}. */
export const POWER = 48;
export const PowerState = { on: 0, off: 1 } as const;
const COMMAND_SIZE = 16;
/** Polls of CONS before the hardware is given up. */
const POLLS_MAX = 1000;

/** Record of the SMMU with that index; -1 when there is none. */
export function smmuRecord(h: Hyp, index: number): number {
  return index < h.smmus.length ? h.layout.smmus + index * SmmuRecord.size : -1;
}

/** How many streams of the SMMU use the identity table. Callers hold its lock. */
export function identityStreams(h: Hyp, smmu: number): number {
  return h.memory.read32(smmu + IDENTITY_STREAMS);
}

/** Base of the register file. */
function mmioBase(h: Hyp, smmu: number): number {
  return readPointer(h, smmu + MMIO);
}

function* readRegister(h: Hyp, smmu: number, offset: number): Steps<number> {
  const at = mmioBase(h, smmu) + offset;
  yield { kind: 'register', at };
  return h.bus.read32(at);
}

function* writeRegister(h: Hyp, smmu: number, offset: number, value: number): Steps<void> {
  const at = mmioBase(h, smmu) + offset;
  yield { kind: 'register', at };
  h.bus.write32(at, value);
}

/**
 * Tell the hardware of the entries up to `producer`. They must be observable before the index that makes it read them.
 */
function* publishCommands(h: Hyp, smmu: number, producer: number): Steps<void> {
  yield { kind: 'barrier', at: smmu };
  yield* writeRegister(h, smmu, Register.CMDQ_PROD, producer);
}

/**
 * Append one command. The hardware is told of it with the next {@link syncCommands}, or earlier when the queue is full.
 * @returns 0 (also for an SMMU that is off, which gets none), or -ETIMEDOUT when the queue stays full
 */
export function* issueCommand(h: Hyp, smmu: number, hi0: number, lo0: number, hi1: number, lo1: number): Steps<number> {
  const { memory } = h;
  // The record lies in one page: one lookup serves all its words.
  const { words } = memory;
  const record = memory.indexOf(smmu);
  // Off, it translates nothing and keeps nothing that outlives its way on again.
  if (words[record + (POWER >> 2)] !== PowerState.on) return 0;
  const log2 = (words[record + (GEOMETRY >> 2)]! >>> 16) & 0xff;
  const producer = words[record + (CMDQ_PROD >> 2)]!;
  const queue = pointerAt(words, record + (CMDQ >> 2));
  // The consumer index as last seen only ever lags behind: that is enough to know that there is room.
  if (isFull(producer, words[record + (CMDQ_CONS >> 2)]!, log2)) {
    const room = yield* waitForRoom(h, smmu, producer, log2);
    if (room !== 0) return room;
  }
  const at = queue + (producer & ((1 << log2) - 1)) * COMMAND_SIZE;
  yield { kind: 'queue', at };
  const index = memory.indexForWrite(at);
  memory.put64(index, hi0, lo0);
  memory.put64(index + 2, hi1, lo1);
  memory.write32(smmu + CMDQ_PROD, (producer + 1) & ((2 << log2) - 1));
  return 0;
}

/** Whether the queue has no free entry: same index, different wrap bit. */
function isFull(producer: number, consumer: number, log2: number): boolean {
  return ((producer ^ consumer) & ((2 << log2) - 1)) === 1 << log2;
}

function* waitForRoom(h: Hyp, smmu: number, producer: number, log2: number): Steps<number> {
  yield* publishCommands(h, smmu, producer);
  for (let polls = 0; polls < POLLS_MAX; polls++) {
    const consumer = yield* readRegister(h, smmu, Register.CMDQ_CONS);
    h.memory.write32(smmu + CMDQ_CONS, consumer);
    if (!isFull(producer, consumer, log2)) return 0;
  }
  return err('ETIMEDOUT');
}

const CMD_SYNC = 0x46;
const SYNC_SIGNAL_SEV = 2 << 12;

/** Append CMD_SYNC, tell the hardware, and wait until the queue is empty. @returns 0 or -ETIMEDOUT */
export function* syncCommands(h: Hyp, smmu: number): Steps<number> {
  const issued = yield* issueCommand(h, smmu, 0, CMD_SYNC | SYNC_SIGNAL_SEV, 0, 0);
  if (issued !== 0 || h.memory.read32(smmu + POWER) !== PowerState.on) return issued;
  const producer = h.memory.read32(smmu + CMDQ_PROD);
  yield* publishCommands(h, smmu, producer);
  for (let polls = 0; polls < POLLS_MAX; polls++) {
    const consumer = yield* readRegister(h, smmu, Register.CMDQ_CONS);
    // Bits 30:24 are an error: the queue has stopped, and waiting is in vain.
    if (consumer >>> 24 !== 0) return err('ETIMEDOUT');
    if (consumer === producer) {
      h.memory.write32(smmu + CMDQ_CONS, consumer);
      return 0;
    }
  }
  return err('ETIMEDOUT');
}

const CMD_CFGI_STE = 0x03;
const CMD_CFGI_ALL = 0x04;
const CMD_CFGI_CD = 0x05;
const CMD_RESUME = 0x44;
const STAG_MASK = 0xffff;
const CFGI_ALL_RANGE = 31;
const LEAF = 1;

/** CFGI_STE for one stream, then SYNC. `leaf` false also drops level-1 stream table descriptors. */
export function* syncSte(h: Hyp, smmu: number, sid: number, leaf: boolean): Steps<number> {
  const issued = yield* issueCommand(h, smmu, sid, CMD_CFGI_STE, 0, leaf ? LEAF : 0);
  return issued !== 0 ? issued : yield* syncCommands(h, smmu);
}

const CMD_TLBI_NSNH_ALL = 0x30;
const CR0_SMMUEN = 1;
const CR0_EVENTQEN = 1 << 2;
const CR0_CMDQEN = 1 << 3;

/** Write CR0 and wait until the hardware has it. @returns 0 or -ETIMEDOUT */
function* writeControl(h: Hyp, smmu: number, value: number): Steps<number> {
  yield* writeRegister(h, smmu, Register.CR0, value);
  for (let polls = 0; polls < POLLS_MAX; polls++) {
    if ((yield* readRegister(h, smmu, Register.CR0ACK)) === value) return 0;
  }
  return err('ETIMEDOUT');
}

/** Switch translation and queues off: GBPA aborts every access. @returns 0 or -ETIMEDOUT */
export function* disable(h: Hyp, smmu: number): Steps<number> {
  return yield* writeControl(h, smmu, 0);
}

/**
 * Invalidate all that the SMMU may hold, and let it translate. Configuration caches are emptied before the TLBs: a
 * prefetch could fill TLBs again from old configuration. @returns 0 or -ETIMEDOUT
 */
export function* resetSmmu(h: Hyp, smmu: number): Steps<number> {
  let result = yield* writeControl(h, smmu, CR0_CMDQEN);
  if (result === 0) result = yield* issueCommand(h, smmu, 0, CMD_CFGI_ALL, 0, CFGI_ALL_RANGE);
  if (result === 0) result = yield* issueCommand(h, smmu, 0, CMD_TLBI_NSNH_ALL, 0, 0);
  if (result === 0) result = yield* syncCommands(h, smmu);
  return result !== 0 ? result : yield* writeControl(h, smmu, CR0_SMMUEN | CR0_CMDQEN | CR0_EVENTQEN);
}

/** CFGI_CD for the descriptor of one PASID of a stream, then SYNC. */
export function* syncCd(h: Hyp, smmu: number, sid: number, pasid: number): Steps<number> {
  const issued = yield* issueCommand(h, smmu, sid, CMD_CFGI_CD | (pasid << 12), 0, LEAF);
  return issued !== 0 ? issued : yield* syncCommands(h, smmu);
}

/** What becomes of a stalled transaction: it ends without a word, is tried again, or ends with an abort. */
export const Resume = { terminate: 0, retry: 1 << 12, abort: 2 << 12 } as const;
export type Resume = (typeof Resume)[keyof typeof Resume];

/** CMD_RESUME for the transaction of a stream that waits under the tag, then SYNC. */
export function* resume(h: Hyp, smmu: number, sid: number, stag: number, response: Resume): Steps<number> {
  const issued = yield* issueCommand(h, smmu, sid, CMD_RESUME | response, 0, stag & STAG_MASK);
  return issued !== 0 ? issued : yield* syncCommands(h, smmu);
}

/** Whether the SMMU understands ranges in TLB invalidations. */
export function hasRangeInvalidation(h: Hyp, index: number): boolean {
  return h.smmus[index]!.rangeInvalidation;
}
