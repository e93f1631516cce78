/**
 * What boot must have programmed into the hardware, read from its registers: every SMMU is on, and uses the stream table
 * and the queues that the host had set up before; every CPU has the host behind the one stage 2. And a CMD_SYNC that the
 * hypervisor's record counts as completed must have been consumed.
 *
 * What the host set up is remembered outside of the journal: every boot reads it anew. Left out: interrupts of an SMMU,
 * and stage 2 of the CPUs beyond shape and address.
 */

import type { AbortOutcome } from '#hypercall-abi';
import { COMMAND_BYTES, STE_BYTES } from './decode/index.ts';
import { type Facts, type OracleMachine, type Range, SMMU_BYTES, TWO32 } from './facts.ts';
import { type Findings, hex } from './findings.ts';
import type { LayoutReader } from './layout-reader.ts';
import type { Property } from './properties.ts';

/** Byte offsets of an SMMU's registers. */
export const Offset = {
  CR0: 0x20,
  CR0ACK: 0x24,
  CR1: 0x28,
  CR2: 0x2c,
  GBPA: 0x44,
  STRTAB_BASE: 0x80,
  STRTAB_BASE_CFG: 0x88,
  CMDQ_BASE: 0x90,
  CMDQ_PROD: 0x98,
  CMDQ_CONS: 0x9c,
  EVENTQ_BASE: 0xa0,
  GERROR: 0x60,
  GERRORN: 0x64,
  EVENTQ_PROD: 0x100a8,
  EVENTQ_CONS: 0x100ac,
} as const;

const SMMUEN = 1 << 0;
const EVENTQEN = 1 << 2;
const CMDQEN = 1 << 3;
export const GBPA_ABORT = 1 << 20;
/** Tables and queues are fetched inner shareable, write-back in both caches. */
const CR1_ATTRIBUTES = 0xd75;
/** CR2: no part in the CPUs' broadcasts; translations are EL1's. Whether a StreamID out of range is recorded is left open. */
const CR2_CONTROL = 1 << 2;
const CR2_RECINVSID = 1 << 1;
const CONS_ERR = 0x7f000000;
export const EVENT_BYTES = 32;

const QUEUE_INDEX = 0xfffff;
const CMDQ_ERR = 1;
/** Errors of the command and the event queue, which stop them. */
const QUEUE_ERRORS = CMDQ_ERR | (1 << 2);
export const SFM_ERR = 1 << 8;

const HCR_VM = 1;
const HCR_TGE = 1 << 27;
/** T0SZ, SL0 and TG0 of VTCR_EL2: 48 bits of input, from level 0, 4 KiB granule. */
const VTCR_SHAPE_MASK = 0xc0ff;
const VTCR_SHAPE = (2 << 6) | 16;
const PHYSICAL_BITS = [32, 36, 40, 42, 44, 48, 52, 52];

/** The stream table and the queues of an SMMU, as its registers say. */
export interface Setup {
  readonly streamTable: number;
  readonly streamTableLog2: number;
  /** 0 for a linear table. */
  readonly split: number;
  readonly commandQueue: number;
  readonly commandQueueLog2: number;
  readonly eventQueue: number;
  readonly eventQueueLog2: number;
  /** Whether GBPA stops every access while the SMMU is off. */
  readonly blocks: boolean;
  /** Whether the SMMU is in service failure mode. */
  readonly hasFailed: boolean;
}

/** Bytes of a stream table, or of the first level of one. */
export function streamTableBytes({ streamTableLog2, split }: Pick<Setup, 'streamTableLog2' | 'split'>): number {
  return split === 0 ? STE_BYTES * 2 ** streamTableLog2 : 8 * 2 ** Math.max(0, streamTableLog2 - split);
}

export class Hardware {
  /** What the host had set up when boot began, by SMMU; empty without a reader, and before boot. */
  offered: readonly Setup[] = [];
  private readonly machine: OracleMachine;
  private readonly facts: Facts;
  private readonly findings: Findings;
  private readonly reader: LayoutReader;

  constructor(machine: OracleMachine, facts: Facts, findings: Findings, reader: LayoutReader) {
    this.machine = machine;
    this.facts = facts;
    this.findings = findings;
    this.reader = reader;
  }

  get readsSmmus(): boolean {
    return this.machine.smmuRegister !== undefined;
  }

  get readsCpus(): boolean {
    return this.machine.systemRegister !== undefined;
  }

  /** Boot begins: remember what the host has set up. */
  beforeBoot(): void {
    this.offered = this.readsSmmus ? this.facts.description.smmus.map((_, smmu) => this.setup(smmu)) : [];
  }

  /** Where the event queues are that the host had set up. */
  eventQueues(): Range[] {
    return this.offered.map(({ eventQueue, eventQueueLog2 }) => ({
      base: eventQueue,
      size: EVENT_BYTES * 2 ** eventQueueLog2,
    }));
  }

  /** Boot has succeeded, which it may only where the host had blocked all DMA before. */
  afterBoot(): void {
    this.offered.forEach(({ blocks, hasFailed }, smmu) => {
      if (hasFailed)
        this.differs('structure', 'service-failure', smmu, 'was in service failure mode when it was taken over');
      if (!blocks) this.differs('isolation', 'dma-not-blocked', smmu, 'let devices through when it was taken over');
      if (((this.word(smmu, Offset.GERROR) ^ this.word(smmu, Offset.GERRORN)) & QUEUE_ERRORS) !== 0)
        this.differs('structure', 'errors', smmu, 'has an error of a queue that was not acknowledged');
    });
    this.check();
  }

  /** Compare the registers of all SMMUs and CPUs with what boot took over. */
  check(): void {
    for (let smmu = 0; smmu < this.offered.length; smmu++) this.smmu(smmu, this.offered[smmu]!);
    const { systemRegister } = this.machine;
    if (systemRegister === undefined) return;
    for (let cpu = 0; cpu < this.facts.description.cpus; cpu++) this.cpu(cpu, systemRegister);
  }

  // ---- accesses of the host to registers

  /** Whether an access of the host must be made on its behalf: the registers by which it learns of events and errors. */
  isForwarded(ipa: number, write: boolean, width: number): boolean {
    if (width !== 4 || ipa % 4 !== 0) return false;
    const smmu = this.facts.description.smmus.find(({ base }) => ipa >= base && ipa < base + SMMU_BYTES);
    if (smmu === undefined) return false;
    const offset = ipa - smmu.base;
    if (offset === Offset.GERROR) return !write;
    return offset === Offset.EVENTQ_PROD || offset === Offset.EVENTQ_CONS || offset === Offset.GERRORN;
  }

  /** What is wrong with what became of an access; null when that is right. @param must whether it must be forwarded */
  judgeForwarded(must: boolean, outcome: AbortOutcome, ipa: number, write: boolean, value: number): string | null {
    const what = (): string => `${write ? 'write' : 'read'} of the host at ${hex(ipa)}`;
    if (typeof outcome === 'string') return `the ${what()} was not made on its behalf`;
    if (!must) return `the ${what()} was made on its behalf`;
    if (!this.readsSmmus) return null;
    const smmu = this.facts.description.smmus.findIndex(({ base }) => ipa >= base && ipa < base + SMMU_BYTES);
    const offset = ipa - this.facts.description.smmus[smmu]!.base;
    const register = this.word(smmu, offset);
    if (!write) return (outcome.value | 0) === register ? null : `the ${what()} gave ${hex(outcome.value)}`;
    const stopped = (this.word(smmu, Offset.GERROR) ^ this.word(smmu, Offset.GERRORN)) & CMDQ_ERR;
    if (stopped !== 0) return `the ${what()} has stopped the command queue`;
    const stays = offset === Offset.EVENTQ_CONS && ((register ^ value) & QUEUE_INDEX) !== 0;
    return stays ? `the ${what()} did not reach the register` : null;
  }

  // ---- SMMUs

  private word(smmu: number, offset: number): number {
    return this.machine.smmuRegister!(smmu, offset) | 0;
  }

  /** An address register: bits 51:5; the hints in bits 63:52 are left out. */
  private base(smmu: number, offset: number): number {
    return (this.word(smmu, offset + 4) & 0xfffff) * TWO32 + ((this.word(smmu, offset) & ~31) >>> 0);
  }

  /** What the registers of an SMMU say now, with tables aligned to their size as hardware does it. */
  private setup(smmu: number): Setup {
    const config = this.word(smmu, Offset.STRTAB_BASE_CFG);
    const split = ((config >>> 16) & 3) === 1 ? (config >>> 6) & 31 : 0;
    const streamTableLog2 = config & 63;
    const commandQueueLog2 = this.word(smmu, Offset.CMDQ_BASE) & 31;
    const eventQueueLog2 = this.word(smmu, Offset.EVENTQ_BASE) & 31;
    const aligned = (pa: number, bytes: number): number => pa - (pa % Math.max(bytes, 32));
    const partial = { streamTableLog2, split, commandQueueLog2, eventQueueLog2 };
    const tableBytes = Math.max(STE_BYTES, streamTableBytes(partial));
    return {
      ...partial,
      streamTable: aligned(this.base(smmu, Offset.STRTAB_BASE), tableBytes),
      commandQueue: aligned(this.base(smmu, Offset.CMDQ_BASE), COMMAND_BYTES * 2 ** commandQueueLog2),
      eventQueue: aligned(this.base(smmu, Offset.EVENTQ_BASE), EVENT_BYTES * 2 ** eventQueueLog2),
      blocks: (this.word(smmu, Offset.GBPA) & GBPA_ABORT) !== 0,
      hasFailed: ((this.word(smmu, Offset.GERROR) ^ this.word(smmu, Offset.GERRORN)) & SFM_ERR) !== 0,
    };
  }

  private differs(property: Property, rule: string, smmu: number, text: string): void {
    const { name } = this.facts.description.smmus[smmu]!;
    this.findings.add(property, `takeover/${rule}`, `${name} ${text}`, { smmu });
  }

  private smmu(smmu: number, offered: Setup): void {
    const now = this.setup(smmu);
    if (this.reader.smmuOff(smmu)) {
      this.switchedOff(smmu, now);
      return;
    }
    const enabled = this.word(smmu, Offset.CR0) & this.word(smmu, Offset.CR0ACK);
    if ((enabled & SMMUEN) === 0) {
      if (now.blocks) this.differs('structure', 'smmu-off', smmu, 'is off');
      else this.differs('isolation', 'smmu-off', smmu, 'is off and lets every access of its devices through');
    } else if (!now.blocks) {
      this.differs('structure', 'bypass', smmu, 'would let every access through if it were switched off');
    }
    if ((enabled & CMDQEN) === 0) this.differs('structure', 'command-queue', smmu, 'does not read its command queue');
    if ((enabled & EVENTQEN) === 0) this.differs('structure', 'event-queue', smmu, 'does not record events');
    const control = this.word(smmu, Offset.CR2) & ~CR2_RECINVSID;
    if (this.word(smmu, Offset.CR1) !== CR1_ATTRIBUTES || control !== CR2_CONTROL) {
      const text = `has ${hex(this.word(smmu, Offset.CR1))} in CR1 and ${hex(this.word(smmu, Offset.CR2))} in CR2`;
      this.differs('structure', 'control', smmu, `${text}; it must be ${hex(CR1_ATTRIBUTES)} and ${hex(CR2_CONTROL)}`);
    }
    this.same(
      smmu,
      'stream-table',
      'stream table',
      now.streamTable,
      offered.streamTable,
      now.streamTableLog2 === offered.streamTableLog2 && now.split === offered.split,
    );
    this.same(
      smmu,
      'command-queue',
      'command queue',
      now.commandQueue,
      offered.commandQueue,
      now.commandQueueLog2 === offered.commandQueueLog2,
    );
    this.same(
      smmu,
      'event-queue',
      'event queue',
      now.eventQueue,
      offered.eventQueue,
      now.eventQueueLog2 === offered.eventQueueLog2,
    );
  }

  /** An SMMU that the record calls off: it must translate nothing and let nothing through. */
  private switchedOff(smmu: number, { blocks }: Setup): void {
    if (!blocks) this.differs('isolation', 'smmu-off', smmu, 'is off and lets every access of its devices through');
    const enabled = this.word(smmu, Offset.CR0) | this.word(smmu, Offset.CR0ACK);
    if ((enabled & SMMUEN) !== 0) this.differs('isolation', 'power', smmu, 'translates although it counts as off');
  }

  private same(smmu: number, rule: string, what: string, now: number, before: number, sameShape: boolean): void {
    if (now === before && sameShape) return;
    const shape = sameShape ? '' : ' in another shape';
    this.differs('structure', rule, smmu, `has its ${what} at ${hex(now)}${shape}; ${hex(before)} was taken over`);
  }

  /**
   * A call ends in which the record of an SMMU counted a CMD_SYNC as completed: the hardware must have consumed it.
   * @param synced the producer index behind the last such CMD_SYNC
   */
  checkSynced(smmu: number, synced: number): void {
    if (!this.readsSmmus) return;
    const cons = this.word(smmu, Offset.CMDQ_CONS);
    const mask = (2 << this.reader.commandQueueLog2(smmu)) - 1;
    const prod = this.reader.commandProducer(smmu);
    const consumed = ((cons - synced) & mask) <= ((prod - synced) & mask);
    if (consumed && (cons & CONS_ERR) === 0) return;
    const { name } = this.facts.description.smmus[smmu]!;
    const why = (cons & CONS_ERR) !== 0 ? 'stopped at an error' : `only consumed its queue up to ${cons & mask}`;
    const text = `a CMD_SYNC that ends at ${synced} counts as completed; ${name} has ${why}`;
    this.findings.add('invalidation', 'sync-not-done', text, { smmu });
  }

  // ---- CPUs

  private cpu(cpu: number, read: NonNullable<OracleMachine['systemRegister']>): void {
    const differs = (text: string): void => {
      this.findings.add('isolation', 'takeover/host-stage2', `CPU ${cpu} ${text}`, { cpu });
    };
    const control = read(cpu, 'HCR_EL2').lo;
    if ((control & HCR_VM) === 0 || (control & HCR_TGE) !== 0) {
      differs('does not translate the accesses of the host at stage 2');
      return;
    }
    const table = read(cpu, 'VTTBR_EL2');
    const root = (table.hi & 0xffff) * TWO32 + ((table.lo & ~1) >>> 0);
    const expected = this.reader.hostRoot();
    if (root !== expected) differs(`has the stage 2 at ${hex(root)}; that of the host is at ${hex(expected)}`);
    const shape = read(cpu, 'VTCR_EL2').lo;
    if ((shape & VTCR_SHAPE_MASK) !== VTCR_SHAPE) differs('reads the stage 2 of the host in another shape');
    const end = Math.max(...this.facts.description.ram.map(({ base, size }) => base + size));
    const bits = PHYSICAL_BITS[(shape >>> 16) & 7]!;
    if (2 ** bits < end) differs(`has a stage 2 that makes ${bits} bits of address, too few for the RAM`);
  }
}
