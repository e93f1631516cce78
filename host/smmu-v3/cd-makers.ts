/**
 * What the driver puts into context descriptors: for a stage-1 domain, and for a process that shares its page table
 * with a device (SVA). Only the TTB0 half is used. Register values come as (hi, lo) words.
 */

import { structures } from '#machine/host-view';
import { type Entry, putAddress } from './entry.ts';
import type { MasterState, SmmuFeatures } from './features.ts';

const { CD, setField, setWord } = structures;
const f = CD.field;

const WRITE_BACK = 1;
const INNER_SHAREABLE = 3;

/** A stage-1 domain. */
export interface Stage1Domain {
  readonly asid: number;
  readonly ttbrHi: number;
  readonly ttbrLo: number;
  readonly mairHi: number;
  readonly mairLo: number;
  readonly tcr: {
    readonly ips: number;
    readonly tg: number;
    readonly sh: number;
    readonly orgn: number;
    readonly irgn: number;
    readonly tsz: number;
  };
  /** The page table leaves the dirty state to hardware. */
  readonly dirtyTracking: boolean;
}

/** How the CPUs translate: what a device needs to use a process's page table. */
export interface CpuTranslation {
  /** Encoded as IPS. */
  readonly physicalRange: number;
  /** Bits of a process's addresses. */
  readonly virtualBits: number;
  /** log2 of the page size in bytes: 12, 14 or 16. */
  readonly pageShift: number;
  readonly mairHi: number;
  readonly mairLo: number;
  /** The kernel uses the access flag of table descriptors. */
  readonly tableAccessFlag: boolean;
}

/** The page table of a process. */
export interface ProcessTable {
  readonly pgdHi: number;
  readonly pgdLo: number;
}

/** What both makers begin with: valid, TTB0 only, AArch64, faults abort and are recorded, an ASID of its own. */
function begin(cd: Entry, asid: number, ips: number, stall: boolean): void {
  cd.fill(0);
  setField(cd, f.EPD1, 1);
  setField(cd, f.V, 1);
  setField(cd, f.IPS, ips);
  setField(cd, f.AA64, 1);
  if (stall) setField(cd, f.S, 1);
  setField(cd, f.R, 1);
  setField(cd, f.A, 1);
  setField(cd, f.ASET, 1);
  setField(cd, f.ASID, asid);
}

/** The page table of a domain. */
export function makeStage1Cd(cd: Entry, domain: Stage1Domain, { stall }: Pick<MasterState, 'stall'>): void {
  const { tcr } = domain;
  begin(cd, domain.asid, tcr.ips, stall);
  setField(cd, f.T0SZ, tcr.tsz);
  setField(cd, f.TG0, tcr.tg);
  setField(cd, f.IR0, tcr.irgn);
  setField(cd, f.OR0, tcr.orgn);
  setField(cd, f.SH0, tcr.sh);
  if (domain.dirtyTracking) {
    setField(cd, f.HA, 1);
    setField(cd, f.HD, 1);
  }
  putAddress(cd, f.TTB0, domain.ttbrHi, domain.ttbrLo);
  putMair(cd, domain.mairHi, domain.mairLo);
}

/**
 * The page table of a process; or, when the process has gone (null), nothing: every access faults, without a stall or a
 * record where the SMMU allows that.
 */
export function makeSvaCd(
  cd: Entry,
  smmu: SmmuFeatures,
  cpu: CpuTranslation,
  process: ProcessTable | null,
  asid: number,
  { stall }: Pick<MasterState, 'stall'>,
): void {
  begin(cd, asid, cpu.physicalRange, stall);
  if (process !== null) {
    setField(cd, f.T0SZ, 64 - cpu.virtualBits);
    setField(cd, f.TG0, tg0(cpu.pageShift));
    setField(cd, f.IR0, WRITE_BACK);
    setField(cd, f.OR0, WRITE_BACK);
    setField(cd, f.SH0, INNER_SHAREABLE);
    putAddress(cd, f.TTB0, process.pgdHi, process.pgdLo);
  } else {
    setField(cd, f.EPD0, 1);
    if (!smmu.stallForce) {
      setField(cd, f.S, 0);
      setField(cd, f.R, 0);
    }
  }
  if (smmu.accessFlag) setField(cd, f.HA, 1);
  if (smmu.dirtyState) setField(cd, f.HD, 1);
  if (smmu.tableAccessFlag && cpu.tableAccessFlag) setField(cd, f.HAFT, 1);
  putMair(cd, cpu.mairHi, cpu.mairLo);
}

function putMair(cd: Entry, hi: number, lo: number): void {
  setWord(cd, f.MAIR0, hi, lo);
  setWord(cd, f.MAIR1, hi, lo);
}

/** TG0 of a page size. */
function tg0(pageShift: number): number {
  if (pageShift === 16) return 1;
  return pageShift === 14 ? 2 : 0;
}
