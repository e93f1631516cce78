/**
 * Registers of the SMMUv3 non-secure programming interface: offsets and fields. Page 1 (from 0x10000) holds the indexes
 * of the event and the PRI queue. Left out: address translation operations (GATOS), enhanced command queues, device
 * permission tables: the ID registers say they are absent.
 */

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
  /** The PRIQ registers exist with PRI. */
  PRIQ_BASE: 0x0c0,
  PRIQ_IRQ_CFG0: 0x0d0,
  PRIQ_IRQ_CFG1: 0x0d8,
  PRIQ_IRQ_CFG2: 0x0dc,
  EVENTQ_PROD: 0x100a8,
  EVENTQ_CONS: 0x100ac,
  PRIQ_PROD: 0x100c8,
  PRIQ_CONS: 0x100cc,
} as const;

/** Names by offset, for people. */
export const REGISTER_NAMES: ReadonlyMap<number, string> = new Map(
  Object.entries(Register).map(([name, offset]) => [offset, name]),
);

export const CR0_SMMUEN = 1 << 0;
/** Page requests are written to their queue (while SMMUEN is 1 too). Exists with PRI. */
export const CR0_PRIQEN = 1 << 1;
export const CR0_EVENTQEN = 1 << 2;
export const CR0_CMDQEN = 1 << 3;
/** Translated accesses of ATS are checked. Exists with ATS. */
export const CR0_ATSCHK = 1 << 4;
/** Fields of CR0 that exist on every SMMU: no VMID wildcards. */
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
/** Fields of CR2 that exist on every SMMU: without the EL2 world there is no E2H. */
export const CR2_FIELDS = CR2_RECINVSID | CR2_PTM;

export const GBPA_ABORT = 1 << 20;
export const GBPA_UPDATE = 1 << 31;
/** MemAttr, MTCFG, ALLOCCFG, SHCFG, PRIVCFG, INSTCFG, ABORT. */
export const GBPA_FIELDS = 0x1f3f1f;
/** Bypass with incoming shareability. */
export const GBPA_RESET = 0x1000;

export const IRQ_GERROR = 1 << 0;
/** Exists with PRI. */
export const IRQ_PRIQ = 1 << 1;
export const IRQ_EVENTQ = 1 << 2;
export const IRQ_FIELDS = IRQ_GERROR | IRQ_EVENTQ;

export const GERROR_CMDQ_ERR = 1 << 0;
export const GERROR_EVENTQ_ABT = 1 << 2;
/** Exists with PRI. */
export const GERROR_PRIQ_ABT = 1 << 3;
export const GERROR_MSI_CMDQ = 1 << 4;
export const GERROR_MSI_EVENTQ = 1 << 5;
/** Exists with PRI and MSIs. */
export const GERROR_MSI_PRIQ = 1 << 6;
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

/** PRIQ_IRQ_CFG2.LO: interrupt for the last request of a group, not for the first one in the queue. */
export const PRIQ_LAST_ONLY = 1 << 31;
/** The same for the registers that exist with PRI too. */
export const PRI_IRQ_CONFIGS: typeof IRQ_CONFIGS = new Map([
  [Register.PRIQ_IRQ_CFG0, { guard: IRQ_PRIQ, fields: ~3 }],
  [Register.PRIQ_IRQ_CFG0 + 4, { guard: IRQ_PRIQ, fields: 0x000fffff }],
  [Register.PRIQ_IRQ_CFG1, { guard: IRQ_PRIQ, fields: -1 }],
  [Register.PRIQ_IRQ_CFG2, { guard: IRQ_PRIQ, fields: PRIQ_LAST_ONLY | 0x3f }],
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
/** A CMD_SYNC could not complete an earlier CMD_ATC_INV: its device did not answer. */
export const CERROR_ATC_INV_SYNC = 3;

/** OVFLG of EVENTQ_PROD and PRIQ_PROD, OVACKFLG of EVENTQ_CONS and PRIQ_CONS. */
export const OVERFLOW_FLAG = 1 << 31;

/** Registers that may be accessed as 64 bits. */
export const WIDE_REGISTERS: ReadonlySet<number> = new Set([
  Register.GERROR_IRQ_CFG0,
  Register.STRTAB_BASE,
  Register.CMDQ_BASE,
  Register.EVENTQ_BASE,
  Register.EVENTQ_IRQ_CFG0,
  Register.PRIQ_BASE,
  Register.PRIQ_IRQ_CFG0,
]);
