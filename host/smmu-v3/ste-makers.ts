/**
 * What the driver puts into stream table entries, one maker for each way to attach a device. A maker fills the whole
 * entry: what it does not name is 0. Arguments that are register values come as (hi, lo) words.
 */

import { structures } from '#machine/host-view';
import { type Entry, putAddress } from './entry.ts';
import type { MasterState, SmmuFeatures } from './features.ts';
import type { VirtualSte } from './virtual-ste.ts';

const { STE, SteConfig, getField, setField, setWord } = structures;
const f = STE.field;

const WRITE_BACK = 1;
const INNER_SHAREABLE = 3;
const EATS_FULL = 1;
const SHCFG_INCOMING = 1;
const STRW_EL2 = 2;

/** S1DSS: what becomes of a transaction without a PASID. */
export const S1Dss = { terminate: 0, bypass: 1, ssid0: 2 } as const;
export type S1Dss = (typeof S1Dss)[keyof typeof S1Dss];

/** The table of context descriptors of a device. */
export interface CdTable {
  /** Physical address, bits 63:32 and 31:0. */
  readonly addressHi: number;
  readonly addressLo: number;
  /** log2 of the number of CDs. */
  readonly s1CdMax: number;
  /** 0 linear, 2 two levels with 64 KiB leaves. */
  readonly s1Fmt: number;
}

/** A stage-2 domain. */
export interface Stage2Domain {
  readonly vmid: number;
  readonly vttbrHi: number;
  readonly vttbrLo: number;
  readonly vtcr: {
    readonly ps: number;
    readonly tg: number;
    readonly sh: number;
    readonly orgn: number;
    readonly irgn: number;
    readonly sl: number;
    readonly tsz: number;
  };
  /** Stage 2 decides the memory type. */
  readonly fwb: boolean;
}

/** Every transaction aborts. */
export function makeAbortSte(ste: Entry): void {
  ste.fill(0);
  setField(ste, f.V, 1);
}

/** Nothing is translated. */
export function makeBypassSte(ste: Entry, smmu: SmmuFeatures): void {
  ste.fill(0);
  setField(ste, f.V, 1);
  setField(ste, f.Config, SteConfig.bypass);
  if (smmu.attributeTypesOverride) setField(ste, f.SHCFG, SHCFG_INCOMING);
}

/** Stage 1, by the device's own table of CDs. */
export function makeCdTableSte(
  ste: Entry,
  smmu: SmmuFeatures,
  table: CdTable,
  s1Dss: S1Dss,
  { ats, stall }: MasterState,
): void {
  ste.fill(0);
  setField(ste, f.V, 1);
  setField(ste, f.Config, SteConfig.stage1);
  setField(ste, f.S1Fmt, table.s1Fmt);
  putAddress(ste, f.S1ContextPtr, table.addressHi, table.addressLo);
  setField(ste, f.S1CDMax, table.s1CdMax);
  setField(ste, f.S1DSS, s1Dss);
  setField(ste, f.S1CIR, WRITE_BACK);
  setField(ste, f.S1COR, WRITE_BACK);
  setField(ste, f.S1CSH, INNER_SHAREABLE);
  if (smmu.stalls && !stall) setField(ste, f.S1STALLD, 1);
  if (ats) setField(ste, f.EATS, EATS_FULL);
  if (smmu.e2h) setField(ste, f.STRW, STRW_EL2);
  if (smmu.attributeTypesOverride && s1Dss === S1Dss.bypass) setField(ste, f.SHCFG, SHCFG_INCOMING);
}

/** Stage 2. Faults are recorded, and stall where the device can take it. */
export function makeStage2Ste(ste: Entry, smmu: SmmuFeatures, domain: Stage2Domain, { ats, stall }: MasterState): void {
  const { vtcr } = domain;
  ste.fill(0);
  setField(ste, f.V, 1);
  setField(ste, f.Config, SteConfig.stage2);
  if (ats) setField(ste, f.EATS, EATS_FULL);
  if (domain.fwb) setField(ste, f.S2FWB, 1);
  if (smmu.attributeTypesOverride) setField(ste, f.SHCFG, SHCFG_INCOMING);
  setField(ste, f.S2VMID, domain.vmid);
  setField(ste, f.S2T0SZ, vtcr.tsz);
  setField(ste, f.S2SL0, vtcr.sl);
  setField(ste, f.S2IR0, vtcr.irgn);
  setField(ste, f.S2OR0, vtcr.orgn);
  setField(ste, f.S2SH0, vtcr.sh);
  setField(ste, f.S2TG, vtcr.tg);
  setField(ste, f.S2PS, vtcr.ps);
  setField(ste, f.S2AA64, 1);
  setField(ste, f.S2PTW, 1);
  if (stall) setField(ste, f.S2S, 1);
  setField(ste, f.S2R, 1);
  putAddress(ste, f.S2TTB, domain.vttbrHi, domain.vttbrLo);
}

/**
 * What a guest asks for, over the stage 2 of its VM: its stage 1 nested, plain stage 2 for its bypass, abort for
 * anything else. Events may be merged, because a guest could otherwise flood the host's queue.
 * @param guest an entry that was accepted
 */
export function makeNestedSte(
  ste: Entry,
  smmu: SmmuFeatures,
  parent: Stage2Domain,
  guest: VirtualSte,
  master: MasterState,
): void {
  const { words } = guest;
  const valid = (words[0]! & 1) !== 0;
  const config = getField(words, f.Config);
  if (!valid || (config !== SteConfig.bypass && config !== SteConfig.stage1)) {
    makeAbortSte(ste);
    return;
  }
  makeStage2Ste(ste, smmu, parent, master);
  if (config === SteConfig.bypass) return;
  setField(ste, f.Config, SteConfig.nested);
  for (const field of [f.S1Fmt, f.S1ContextPtr, f.S1CDMax, f.S1DSS, f.S1CIR, f.S1COR, f.S1CSH, f.S1STALLD])
    setWord(ste, field, words[2 * field.word + 1]!, words[2 * field.word]!);
  setField(ste, f.MEV, 1);
}
