/**
 * Registers of the SMMUv3 non-secure programming interface: offsets, fields, and what the ID registers say for a
 * described SMMU. Page 1 (from 0x10000) holds the event queue's indexes. Left out: PRI queue, address translation
 * operations (GATOS), enhanced command queues, device permission tables: the ID registers say they are absent.
 */

import type { SmmuFeatures } from '../description.ts';
import { STALL_MAX } from './stalls.ts';

/** Byte offsets from the SMMU's base. */
export const Register = {
  IDR0: 0x000,
  IDR1: 0x004,
  IDR2: 0x008,
  IDR3: 0x00c,
  IDR4: 0x010,
  IDR5: 0x014,
  IIDR: 0x018,
  AIDR: 0x01c,
  CR0: 0x020,
  CR0ACK: 0x024,
  CR1: 0x028,
  CR2: 0x02c,
  STATUSR: 0x040,
  GBPA: 0x044,
  IRQ_CTRL: 0x050,
  IRQ_CTRLACK: 0x054,
  GERROR: 0x060,
  GERRORN: 0x064,
  GERROR_IRQ_CFG0: 0x068,
  GERROR_IRQ_CFG1: 0x070,
  GERROR_IRQ_CFG2: 0x074,
  STRTAB_BASE: 0x080,
  STRTAB_BASE_CFG: 0x088,
  CMDQ_BASE: 0x090,
  CMDQ_PROD: 0x098,
  CMDQ_CONS: 0x09c,
  EVENTQ_BASE: 0x0a0,
  EVENTQ_IRQ_CFG0: 0x0b0,
  EVENTQ_IRQ_CFG1: 0x0b8,
  EVENTQ_IRQ_CFG2: 0x0bc,
  EVENTQ_PROD: 0x100a8,
  EVENTQ_CONS: 0x100ac,
} as const;

/** Names by offset, for people. */
export const REGISTER_NAMES: ReadonlyMap<number, string> = new Map(
  Object.entries(Register).map(([name, offset]) => [offset, name]),
);

export const CR0_SMMUEN = 1 << 0;
export const CR0_EVENTQEN = 1 << 2;
export const CR0_CMDQEN = 1 << 3;
/** Translated accesses of ATS are checked. Exists with ATS. */
export const CR0_ATSCHK = 1 << 4;
/** Fields of CR0 that exist on every SMMU: no PRI, no VMID wildcards. */
export const CR0_FIELDS = CR0_SMMUEN | CR0_EVENTQEN | CR0_CMDQEN;

/** Cacheability of tables; read-only while SMMUEN. */
export const CR1_TABLE_FIELDS = 0xfc0;
/** Cacheability of queues; read-only while a queue is enabled. */
export const CR1_QUEUE_FIELDS = 0x03f;

export const CR2_E2H = 1 << 0;
export const CR2_RECINVSID = 1 << 1;
export const CR2_PTM = 1 << 2;
/** Configuration errors of ATS requests are recorded. Exists with ATS. */
export const CR2_REC_CFG_ATS = 1 << 3;
/** Fields of CR2 that exist on every SMMU. */
export const CR2_FIELDS = CR2_RECINVSID | CR2_PTM;

export const GBPA_ABORT = 1 << 20;
export const GBPA_UPDATE = 1 << 31;
/** MemAttr, MTCFG, ALLOCCFG, SHCFG, PRIVCFG, INSTCFG, ABORT. */
export const GBPA_FIELDS = 0x1f3f1f;
/** Bypass with incoming shareability. */
export const GBPA_RESET = 0x1000;

export const IRQ_GERROR = 1 << 0;
export const IRQ_EVENTQ = 1 << 2;
export const IRQ_FIELDS = IRQ_GERROR | IRQ_EVENTQ;

export const GERROR_CMDQ_ERR = 1 << 0;
export const GERROR_EVENTQ_ABT = 1 << 2;
export const GERROR_MSI_CMDQ = 1 << 4;
export const GERROR_MSI_EVENTQ = 1 << 5;
export const GERROR_MSI_GERROR = 1 << 7;
export const GERROR_MSI_FIELDS = GERROR_MSI_CMDQ | GERROR_MSI_EVENTQ | GERROR_MSI_GERROR;
export const GERROR_FIELDS = GERROR_CMDQ_ERR | GERROR_EVENTQ_ABT;

/** Interrupt configuration: which IRQ_CTRL bit guards the register, and its fields. Registers exist with MSIs. */
export const IRQ_CONFIGS: ReadonlyMap<number, { readonly guard: number; readonly fields: number }> = new Map([
  [Register.GERROR_IRQ_CFG0, { guard: IRQ_GERROR, fields: ~3 }],
  [Register.GERROR_IRQ_CFG0 + 4, { guard: IRQ_GERROR, fields: 0x000fffff }],
  [Register.GERROR_IRQ_CFG1, { guard: IRQ_GERROR, fields: -1 }],
  [Register.GERROR_IRQ_CFG2, { guard: IRQ_GERROR, fields: 0x3f }],
  [Register.EVENTQ_IRQ_CFG0, { guard: IRQ_EVENTQ, fields: ~3 }],
  [Register.EVENTQ_IRQ_CFG0 + 4, { guard: IRQ_EVENTQ, fields: 0x000fffff }],
  [Register.EVENTQ_IRQ_CFG1, { guard: IRQ_EVENTQ, fields: -1 }],
  [Register.EVENTQ_IRQ_CFG2, { guard: IRQ_EVENTQ, fields: 0x3f }],
]);

/** STRTAB_BASE: ADDR[51:6] and RA. */
export const STRTAB_BASE_HI = 0x400fffff;
export const STRTAB_BASE_LO = 0xffffffc0 | 0;
/** STRTAB_BASE_CFG: FMT, SPLIT, LOG2SIZE. */
export const STRTAB_BASE_CFG_FIELDS = 0x307ff;
/** Queue bases: ADDR[51:5], LOG2SIZE, and RA or WA. */
export const QUEUE_BASE_HI = 0x400fffff;

/** Index and wrap bit of a queue of the largest size. */
export const QUEUE_INDEX = 0xfffff;
/** CMDQ_CONS.ERR. */
export const CONS_ERR = 0x7f000000;
export const CONS_ERR_SHIFT = 24;
export const CERROR_NONE = 0;
export const CERROR_ILL = 1;
export const CERROR_ABT = 2;

/** EVENTQ_PROD.OVFLG and EVENTQ_CONS.OVACKFLG. */
export const OVERFLOW_FLAG = 1 << 31;

/** Registers that may be accessed as 64 bits. */
export const WIDE_REGISTERS: ReadonlySet<number> = new Set([
  Register.GERROR_IRQ_CFG0,
  Register.STRTAB_BASE,
  Register.CMDQ_BASE,
  Register.EVENTQ_BASE,
  Register.EVENTQ_IRQ_CFG0,
]);

const OAS_CODES: Readonly<Record<number, number>> = { 32: 0, 36: 1, 40: 2, 42: 3, 44: 4, 48: 5, 52: 6 };
const HTTU_CODES = { none: 0, access: 1, dirty: 2 } as const;
const STALL_CODES = { both: 0, terminate: 1, stall: 2 } as const;

/**
 * IDR0 to IDR5, IIDR, AIDR of an SMMU. Beside the described features all report: AArch64 tables only, little endian,
 * terminate with abort (TERM_MODEL 1), hierarchical attribute disable, BBM level 2.
 */
export function idRegisters(smmu: SmmuFeatures): Int32Array {
  const ids = new Int32Array(8);
  ids[0] =
    (smmu.stage2 ? 1 << 0 : 0) |
    (smmu.stage1 ? 1 << 1 : 0) |
    (2 << 2) |
    (smmu.coherent ? 1 << 4 : 0) |
    (smmu.asid16 ? 1 << 12 : 0) |
    (smmu.sev ? 1 << 14 : 0) |
    (smmu.vmid16 ? 1 << 18 : 0) |
    (2 << 21) |
    (smmu.twoLevelCdTable ? 1 << 19 : 0) |
    (HTTU_CODES[smmu.hardwareUpdate] << 6) |
    (smmu.ats ? 1 << 10 : 0) |
    // NS1ATS: without nesting there is no split-stage ATS.
    (smmu.ats && !(smmu.stage1 && smmu.stage2) ? 1 << 11 : 0) |
    (smmu.msi ? 1 << 13 : 0) |
    // ATSRECERR
    (smmu.ats ? 1 << 23 : 0) |
    (STALL_CODES[smmu.stallModel] << 24) |
    (1 << 26) |
    (smmu.twoLevelStreamTable ? 1 << 27 : 0);
  ids[1] = smmu.sidBits | (smmu.ssidBits << 6) | (smmu.evtqLog2 << 16) | (smmu.cmdqLog2 << 21);
  ids[3] =
    (1 << 2) |
    (smmu.stage2 ? 1 << 4 : 0) |
    (smmu.rangeInvalidation ? 1 << 10 : 0) |
    (2 << 11) |
    (smmu.smallTables ? 1 << 9 : 0);
  ids[5] =
    OAS_CODES[smmu.oas]! |
    (smmu.granules.includes(12) ? 1 << 4 : 0) |
    (smmu.granules.includes(14) ? 1 << 5 : 0) |
    (smmu.granules.includes(16) ? 1 << 6 : 0) |
    (smmu.vaBits === 52 ? 1 << 10 : 0) |
    (smmu.stallModel === 'terminate' ? 0 : STALL_MAX << 16);
  ids[7] = 1;
  return ids;
}
