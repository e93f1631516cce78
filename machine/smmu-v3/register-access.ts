/** Which fields of a register a write changes, by what the register serves: guarded ones only while that is off. */

import type { SmmuFeatures } from '../description.ts';
import * as R from './registers.ts';
import { Register } from './registers.ts';

const QUEUES = R.CR0_CMDQEN | R.CR0_EVENTQEN | R.CR0_PRIQEN;
const PRODUCER = R.QUEUE_INDEX | R.OVERFLOW_FLAG;

/** Fields of registers, and the bits of CR0 that guard them: all have to be 0. */
const GUARDED: ReadonlyMap<number, { readonly guard: number; readonly fields: number }> = new Map([
  [Register.STRTAB_BASE, { guard: R.CR0_SMMUEN, fields: R.STRTAB_BASE_LO }],
  [Register.STRTAB_BASE + 4, { guard: R.CR0_SMMUEN, fields: R.STRTAB_BASE_HI }],
  [Register.STRTAB_BASE_CFG, { guard: R.CR0_SMMUEN, fields: R.STRTAB_BASE_CFG_FIELDS }],
  [Register.CMDQ_BASE, { guard: R.CR0_CMDQEN, fields: -1 }],
  [Register.CMDQ_BASE + 4, { guard: R.CR0_CMDQEN, fields: R.QUEUE_BASE_HI }],
  [Register.CMDQ_CONS, { guard: R.CR0_CMDQEN, fields: R.QUEUE_INDEX | R.CONS_ERR }],
  [Register.EVENTQ_BASE, { guard: R.CR0_EVENTQEN, fields: -1 }],
  [Register.EVENTQ_BASE + 4, { guard: R.CR0_EVENTQEN, fields: R.QUEUE_BASE_HI }],
  [Register.EVENTQ_PROD, { guard: R.CR0_EVENTQEN, fields: PRODUCER }],
  [Register.EVENTQ_CONS, { guard: 0, fields: PRODUCER }],
]);

/** The same of the registers that exist with PRI. PRIQEN counts as it is written, whatever SMMUEN makes of it. */
const GUARDED_PRI: typeof GUARDED = new Map([
  [Register.PRIQ_BASE, { guard: R.CR0_PRIQEN, fields: -1 }],
  [Register.PRIQ_BASE + 4, { guard: R.CR0_PRIQEN, fields: R.QUEUE_BASE_HI }],
  [Register.PRIQ_PROD, { guard: R.CR0_PRIQEN, fields: PRODUCER }],
  [Register.PRIQ_CONS, { guard: 0, fields: PRODUCER }],
]);

/**
 * The bits that a write of the register at `offset` changes now; 0 when it is ignored. Registers whose writes do more than
 * be kept (CR0, GBPA, IRQ_CTRL, GERRORN, CMDQ_PROD) are not asked for here.
 */
export function writableFields(offset: number, cr0: number, irqControl: number, smmu: SmmuFeatures): number {
  if (offset === Register.CR1) {
    const table = (cr0 & R.CR0_SMMUEN) === 0 ? R.CR1_TABLE_FIELDS : 0;
    return table | ((cr0 & QUEUES) === 0 ? R.CR1_QUEUE_FIELDS : 0);
  }
  if (offset === Register.CR2) {
    return (cr0 & R.CR0_SMMUEN) === 0 ? R.CR2_FIELDS | (smmu.ats ? R.CR2_REC_CFG_ATS : 0) : 0;
  }
  const guarded = GUARDED.get(offset) ?? (smmu.pri ? GUARDED_PRI.get(offset) : undefined);
  if (guarded !== undefined) return (cr0 & guarded.guard) === 0 ? guarded.fields : 0;
  if (!smmu.msi) return 0;
  // Interrupt configuration can be written while its interrupt is disabled.
  const config = R.IRQ_CONFIGS.get(offset) ?? (smmu.pri ? R.PRI_IRQ_CONFIGS.get(offset) : undefined);
  return config !== undefined && (irqControl & config.guard) === 0 ? config.fields : 0;
}
