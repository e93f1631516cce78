/**
 * The commands of the SMMU's queue: 16 bytes each, decoded and carried out. Invalidations and SYNC act on the caches;
 * prefetches do nothing that could be seen. Commands for absent features (EL2 and Secure worlds, MPAM, DPT; ATS, PRI
 * and stalls where the SMMU has none) are ILLEGAL, as the ID registers imply. Reserved bits are ignored.
 */

import type { SmmuFeatures } from '../description.ts';
import { POW2 } from '../pow2.ts';
import { joinSigned } from '../word64.ts';
import type { Atc } from './ats.ts';
import type { Caches, TlbScope } from './caches.ts';
import type { RegisterFile } from './events.ts';
import type { PageRequests } from './page-requests.ts';
import { CERROR_ATC_INV_SYNC, CERROR_ILL, CERROR_NONE, CR0_SMMUEN, Register } from './registers.ts';
import type { Stalls } from './stalls.ts';

/** Opcodes, q0[7:0]. */
export const Opcode = {
  PREFETCH_CONFIG: 0x01,
  PREFETCH_ADDR: 0x02,
  CFGI_STE: 0x03,
  /** CFGI_ALL is the range of all StreamIDs. */
  CFGI_STE_RANGE: 0x04,
  CFGI_CD: 0x05,
  CFGI_CD_ALL: 0x06,
  TLBI_NH_ALL: 0x10,
  TLBI_NH_ASID: 0x11,
  TLBI_NH_VA: 0x12,
  TLBI_NH_VAA: 0x13,
  TLBI_S12_VMALL: 0x28,
  TLBI_S2_IPA: 0x2a,
  TLBI_NSNH_ALL: 0x30,
  ATC_INV: 0x40,
  PRI_RESP: 0x41,
  RESUME: 0x44,
  STALL_TERM: 0x45,
  SYNC: 0x46,
} as const;

/** Names by opcode, for people. */
export const COMMAND_NAMES: ReadonlyMap<number, string> = new Map(
  Object.entries(Opcode).map(([name, opcode]) => [opcode, name]),
);

/** What commands act on. */
export interface CommandTargets {
  readonly caches: Caches;
  readonly stalls: Stalls;
  readonly atc: Atc;
  readonly pages: PageRequests;
  readonly registers: RegisterFile;
}

const SSEC = 1 << 10;
const GLOBAL_SSID = 1 << 9;
const SSV = 1 << 11;
/** CMD_RESUME. */
const AC_RETRY = 1 << 12;
const AB_ABORT = 1 << 13;
const LEAF = 1;
/** CMD_ATC_INV.Size: the whole space. What is larger invalidates nothing here, as the architecture allows. */
const ATC_EVERYTHING = 52;
/** CMD_PRI_RESP.Resp. */
const RESP_SHIFT = 12;
const RESP_RESERVED = 3;
const CS_SHIFT = 12;
const CS_RESERVED = 3;
const RANGE_ALL = 31;
const ALL_STREAMS = 2 ** 32;
/** Pages of 4 KiB in 2^32 bytes. */
const PAGES_PER_HI = 2 ** 20;
/** Log2 of the granule that a command's TG field encodes; 0: no range. */
const TG_GRANULES: readonly number[] = [0, 12, 14, 16];

/** What a TLB invalidation names beside the stages, which are bits 1:0 as in {@link TlbScope}. */
const BY_VMID = 1 << 2;
const BY_ASID = 1 << 3;
const BY_ADDRESS = 1 << 4;
const NEEDS_STAGE1 = 1 << 5;
const NEEDS_STAGE2 = 1 << 6;

/** By opcode: 0 for a command that is no TLB invalidation. */
const TLBI = new Uint8Array(256);
TLBI[Opcode.TLBI_NH_ALL] = 1 | NEEDS_STAGE1 | BY_VMID;
TLBI[Opcode.TLBI_NH_ASID] = 1 | NEEDS_STAGE1 | BY_VMID | BY_ASID;
TLBI[Opcode.TLBI_NH_VA] = 1 | NEEDS_STAGE1 | BY_VMID | BY_ASID | BY_ADDRESS;
TLBI[Opcode.TLBI_NH_VAA] = 1 | NEEDS_STAGE1 | BY_VMID | BY_ADDRESS;
TLBI[Opcode.TLBI_S12_VMALL] = 3 | NEEDS_STAGE2 | BY_VMID;
TLBI[Opcode.TLBI_S2_IPA] = 2 | NEEDS_STAGE2 | BY_VMID | BY_ADDRESS;
TLBI[Opcode.TLBI_NSNH_ALL] = 3;

/** A scope that is filled for one command. */
class Scope implements TlbScope {
  stages = 3;
  vmid = -1;
  asid = -1;
  sparesGlobal = false;
  whole = true;
  from = 0;
  to = 0;
  leafOnly = false;
  ttl = 0;
}

/** Of the command that is being carried out. */
const scope = new Scope();

/**
 * Carries out one command.
 * @param hi0 @param lo0 first 64-bit word; the second follows
 * @returns CERROR_NONE; or CERROR_ILL, then nothing was done; or, of a SYNC, CERROR_ATC_INV_SYNC
 */
export function execute(
  smmu: SmmuFeatures,
  targets: CommandTargets,
  hi0: number,
  lo0: number,
  hi1: number,
  lo1: number,
): number {
  const { caches } = targets;
  if ((lo0 & SSEC) !== 0) return CERROR_ILL;
  const opcode = lo0 & 0xff;
  if (opcode === Opcode.SYNC) {
    if (((lo0 >>> CS_SHIFT) & 3) === CS_RESERVED) return CERROR_ILL;
    if (!targets.atc.sync()) return CERROR_ATC_INV_SYNC;
    caches.sync();
    return CERROR_NONE;
  }
  const names = TLBI[opcode]!;
  if (names !== 0) return invalidate(smmu, caches, names, hi0, lo0, hi1, lo1);
  if (opcode >= Opcode.ATC_INV) return serve(smmu, targets, opcode, hi0 >>> 0, lo0, hi1, lo1);
  return configure(smmu, caches, opcode, hi0 >>> 0, lo0, lo1);
}

/** Commands about devices: their own caches, their page requests, and their transactions that wait. */
function serve(
  smmu: SmmuFeatures,
  { stalls, atc, pages, registers }: CommandTargets,
  opcode: number,
  sid: number,
  lo0: number,
  hi1: number,
  lo1: number,
): number {
  // While SMMUEN is 0 the interface to devices does not work, and commands for it are ignored.
  const enabled = (registers.get(Register.CR0) & CR0_SMMUEN) !== 0;
  switch (opcode) {
    case Opcode.ATC_INV: {
      if (!smmu.ats) return CERROR_ILL;
      if (!enabled) return CERROR_NONE;
      const ssid = (lo0 & SSV) !== 0 ? lo0 >>> 12 : -1;
      const global = (lo0 & SSV) !== 0 && (lo0 & GLOBAL_SSID) !== 0;
      const size = lo1 & 0x3f;
      if (size <= ATC_EVERYTHING) atc.invalidate(sid, ssid, global, joinSigned(hi1, lo1 & ~0xfff), size);
      return CERROR_NONE;
    }
    case Opcode.PRI_RESP: {
      const response = (lo1 >>> RESP_SHIFT) & 3;
      if (!smmu.pri || response === RESP_RESERVED) return CERROR_ILL;
      if (enabled) pages.respond(sid, (lo0 & SSV) !== 0 ? lo0 >>> 12 : -1, lo1 & 0x1ff, response);
      return CERROR_NONE;
    }
    case Opcode.RESUME:
      if (smmu.stallModel === 'terminate') return CERROR_ILL;
      // Where termination always aborts, Ab does not count.
      stalls.resume(sid, lo1 & 0xffff, (lo0 & AC_RETRY) !== 0, smmu.termModel === 'abort' || (lo0 & AB_ABORT) !== 0);
      return CERROR_NONE;
    case Opcode.STALL_TERM:
      if (smmu.stallModel === 'terminate') return CERROR_ILL;
      stalls.terminate(sid);
      return CERROR_NONE;
    default:
      return CERROR_ILL;
  }
}

/** Invalidations of configuration; what is no command at all ends here too. */
function configure(smmu: SmmuFeatures, caches: Caches, opcode: number, sid: number, lo0: number, lo1: number): number {
  switch (opcode) {
    case Opcode.PREFETCH_CONFIG:
    case Opcode.PREFETCH_ADDR:
      return CERROR_NONE;

    case Opcode.CFGI_STE:
      forget(caches, sid, sid + 1, true, (lo1 & LEAF) === 0, false, -1);
      return CERROR_NONE;
    case Opcode.CFGI_STE_RANGE: {
      const range = lo1 & 0x1f;
      const size = POW2[range + 1]!;
      const first = range === RANGE_ALL ? 0 : sid - (sid % size);
      forget(caches, first, range === RANGE_ALL ? ALL_STREAMS : first + size, true, true, range === RANGE_ALL, -1);
      return CERROR_NONE;
    }
    case Opcode.CFGI_CD:
      if (!smmu.stage1) return CERROR_ILL;
      forget(caches, sid, sid + 1, false, (lo1 & LEAF) === 0, false, smmu.ssidBits === 0 ? 0 : lo0 >>> 12);
      return CERROR_NONE;
    case Opcode.CFGI_CD_ALL:
      if (!smmu.stage1) return CERROR_ILL;
      forget(caches, sid, sid + 1, false, true, false, -1);
      return CERROR_NONE;

    default:
      return CERROR_ILL;
  }
}

function forget(
  caches: Caches,
  from: number,
  to: number,
  stes: boolean,
  level1: boolean,
  everything: boolean,
  ssid: number,
): void {
  caches.invalidateConfig({ from, to, stes, level1, everything, ssid });
}

function invalidate(
  smmu: SmmuFeatures,
  caches: Caches,
  names: number,
  hi0: number,
  lo0: number,
  hi1: number,
  lo1: number,
): number {
  if ((names & NEEDS_STAGE1) !== 0 && !smmu.stage1) return CERROR_ILL;
  if ((names & NEEDS_STAGE2) !== 0 && !smmu.stage2) return CERROR_ILL;
  scope.stages = names & 3;
  // VMIDs tag TLB entries only where there is a stage 2.
  scope.vmid = (names & BY_VMID) !== 0 && smmu.stage2 ? hi0 & (smmu.vmid16 ? 0xffff : 0xff) : -1;
  scope.asid = (names & BY_ASID) !== 0 ? (hi0 >>> 16) & (smmu.asid16 ? 0xffff : 0xff) : -1;
  scope.whole = (names & BY_ADDRESS) === 0;
  scope.sparesGlobal = scope.whole && (names & BY_ASID) !== 0;
  scope.leafOnly = false;
  scope.ttl = 0;
  if (!scope.whole && !addressScope(smmu, lo0, scope.stages === 2 ? hi1 & 0xfffff : hi1, lo1)) return CERROR_ILL;
  caches.invalidateTlb(scope);
  return CERROR_NONE;
}

/** Address, range and hints of an invalidation by address; false when they are ILLEGAL. */
function addressScope(smmu: SmmuFeatures, lo0: number, hi1: number, lo1: number): boolean {
  scope.from = hi1 * PAGES_PER_HI + (lo1 >>> 12);
  scope.to = scope.from + 1;
  scope.leafOnly = (lo1 & LEAF) !== 0;
  const granule = smmu.rangeInvalidation ? TG_GRANULES[(lo1 >>> 10) & 3]! : 0;
  if (granule === 0) return true;
  const num = (lo0 >>> 12) & 0x1f;
  const scale = (lo0 >>> 20) & 0x1f;
  const ttl = (lo1 >>> 8) & 3;
  if (num === 0 && scale === 0 && ttl === 0) return false;
  scope.to = scope.from + (num + 1) * POW2[scale]! * POW2[granule - 12]!;
  scope.ttl = ttl;
  return true;
}
