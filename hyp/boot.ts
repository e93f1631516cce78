/**
 * Boot: the hypervisor takes the machine over from a host that is trusted until this call returns. It owns its carve-out
 * and the SMMUs, blocks every stream, and puts the host under stage 2.
 *
 * What the host has set up in the SMMU registers is validated before it is taken over: tables and queues must be host
 * pages, are donated and zeroed, so that every stream aborts. DMA must have been blocked (GBPA.ABORT) beforehand.
 */

import { type BootParameters, err } from '#hypercall-abi';
import { type Cpu, type Steps, SystemRegister } from '#machine';
import { StateClass } from '#machine/memory';
import type { Hyp } from './context.ts';
import { registerDevices } from './device.ts';
import { annotateAtBoot } from './host-stage2.ts';
import { snapshotHostStage2 } from './identity.ts';
import { OwnerId, PageState, SmmuRecord } from './layout.ts';
import { takeMemcaches } from './memcache.ts';
import { donateToHyp, pinSharedPage, shareHyp } from './ownership.ts';
import { addPages, allocPages, writePointer } from './pool.ts';
import { Register, resetSmmu } from './smmu.ts';
import { PAGE_SIZE, SMMU_MMIO_SIZE, stage2Vtcr } from './stage2.ts';
import { hypPage, withHostState, withHypState } from './vmemmap.ts';

const TWO32 = 4294967296;
const HCR_VM = 1;
const GBPA_ABORT = 1 << 20;
/** Service failure mode, active while the bits of GERROR and GERRORN differ. */
const GERROR_SFM = 1 << 8;
/** Tables and queues: inner shareable, write-back. */
const CR1_ATTRIBUTES = 0xd75;
const CR2_RECINVSID_PTM = 6;
const RA_WA_BIT_HI = 1 << 30;
const EVENT_SIZE = 32;
const COMMAND_SIZE = 16;
const STE_SIZE = 64;
const L1STD_SIZE = 8;

/** @returns 0; -EINVAL what the host set up is not acceptable; -EIO an SMMU has failed; -EPERM not the host's; -ENOMEM */
export function* boot(h: Hyp, parameters: BootParameters): Steps<number> {
  ownCarveOut(h);
  registerDevices(h);
  yield* addPages(h, h.layout.heapPool, h.layout.heap.base, h.layout.heap.size / PAGE_SIZE);
  const root = yield* allocPages(h, h.layout.heapPool, 0);
  writePointer(h, h.layout.hostStage2Root, root);
  let result = yield* annotateAtBoot(h, h.layout.base, h.layout.size, OwnerId.hyp);
  for (let i = 0; i < h.smmus.length && result === 0; i++) {
    result = parameters.smmus[i] === h.smmus[i]!.base ? yield* takeSmmu(h, i) : err('EINVAL');
  }
  if (result === 0 && h.profile.request === 'needs-page') result = yield* takeMemcaches(h, parameters.memcaches);
  if (result === 0) result = yield* snapshotHostStage2(h);
  if (result !== 0) return result;
  for (const cpu of h.cpus) enterStage2(h, cpu, root);
  return 0;
}

/** Mark the carve-out in the vmemmap: the hypervisor's, not the host's. */
function ownCarveOut(h: Hyp): void {
  const { noPage } = h.profile.pageStates;
  const record = withHypState(withHostState(0, PageState.noPage, noPage), PageState.owned, noPage);
  const last = h.layout.base + h.layout.size;
  const perPage = PAGE_SIZE / 8;
  for (let pa = h.layout.base; pa < last; ) {
    const at = hypPage(h, pa);
    const count = Math.min(perPage - (at % PAGE_SIZE) / 8, (last - pa) / PAGE_SIZE);
    h.memory.writeRun(at, count, 0, record, 0);
    pa += count * PAGE_SIZE;
  }
  const scratch = h.layout.unmapCaches;
  for (let pa = scratch; pa < h.layout.domains; pa += PAGE_SIZE) h.memory.setClass(pa, StateClass.dead);
}

function enterStage2(h: Hyp, cpu: Cpu, root: number): void {
  cpu.writeSystem(SystemRegister.VTCR_EL2, 0, stage2Vtcr(h.smmus[0]?.oas ?? 48));
  cpu.writeSystem(SystemRegister.VTTBR_EL2, Math.floor(root / TWO32), root);
  cpu.writeSystem(SystemRegister.HCR_EL2, 0, HCR_VM);
}

function read64(h: Hyp, pa: number): number {
  const lo = h.bus.read64(pa);
  // RA and WA hints (bit 62) are the host's to choose; anything else above the address is not an address.
  return ((h.bus.hi & ~RA_WA_BIT_HI) >>> 0) * TWO32 + (lo >>> 0);
}

/** Donate [pa, pa + bytes), rounded up to pages, and zero it. */
function* donateZeroed(h: Hyp, pa: number, bytes: number): Steps<number> {
  if (pa % PAGE_SIZE !== 0) return err('EINVAL');
  const pages = Math.ceil(bytes / PAGE_SIZE);
  const result = yield* donateToHyp(h, pa, pages);
  if (result !== 0) return result;
  for (let i = 0; i < pages; i++) h.memory.zeroPage(pa + i * PAGE_SIZE);
  return 0;
}

function* takeSmmu(h: Hyp, index: number): Steps<number> {
  const { base, sidBits, cmdqLog2: cmdqMax, evtqLog2: evtqMax, twoLevelStreamTable } = h.smmus[index]!;
  if ((h.bus.read32(base + Register.GBPA) & GBPA_ABORT) === 0) return err('EINVAL');
  h.bus.write32(base + Register.CR0, 0);
  const errors = h.bus.read32(base + Register.GERROR);
  // In service failure mode the SMMU promises nothing any more.
  if (((errors ^ h.bus.read32(base + Register.GERRORN)) & GERROR_SFM) !== 0) return err('EIO');
  h.bus.write32(base + Register.GERRORN, errors);

  const config = h.bus.read32(base + Register.STRTAB_BASE_CFG);
  const log2 = config & 0x3f;
  const twoLevel = ((config >>> 16) & 3) === 1;
  const split = twoLevel ? (config >>> 6) & 0x1f : 0;
  if ((config & ~0x307ff) !== 0 || ((config >>> 16) & 3) > 1 || log2 > sidBits) return err('EINVAL');
  if (twoLevel && (!twoLevelStreamTable || split !== h.profile.streamTableSplit)) return err('EINVAL');
  const strtab = read64(h, base + Register.STRTAB_BASE);
  // Fewer streams than one level-2 table has: there is one descriptor all the same.
  const strtabBytes = twoLevel ? L1STD_SIZE * 2 ** Math.max(0, log2 - split) : STE_SIZE * 2 ** log2;
  // Hardware aligns the base down to the table's size: one that is not aligned would be somewhere else.
  if (strtab % strtabBytes !== 0) return err('EINVAL');
  let result = yield* donateZeroed(h, strtab, strtabBytes);
  if (result !== 0) return result;

  const cmdqBase = read64(h, base + Register.CMDQ_BASE);
  const cmdqLog2 = cmdqBase % 32;
  const cmdq = cmdqBase - cmdqLog2;
  if (cmdqLog2 > cmdqMax || cmdq % Math.max(32, COMMAND_SIZE * 2 ** cmdqLog2) !== 0) return err('EINVAL');
  result = yield* donateZeroed(h, cmdq, COMMAND_SIZE * 2 ** cmdqLog2);
  if (result !== 0) return result;
  for (let at = 0; at < COMMAND_SIZE * 2 ** cmdqLog2; at += PAGE_SIZE) h.memory.setClass(cmdq + at, StateClass.dead);

  const evtqBase = read64(h, base + Register.EVENTQ_BASE);
  const evtqLog2 = evtqBase % 32;
  const evtq = evtqBase - evtqLog2;
  const evtqBytes = EVENT_SIZE * 2 ** evtqLog2;
  if (evtqLog2 > evtqMax || evtq % Math.max(PAGE_SIZE, evtqBytes) !== 0) return err('EINVAL');
  // The event queue stays the host's to read; shared and pinned, it can never be donated to anybody.
  for (let at = 0; at < evtqBytes; at += PAGE_SIZE) {
    result = yield* shareHyp(h, evtq + at);
    if (result === 0) result = yield* pinSharedPage(h, evtq + at);
    if (result !== 0) return result;
  }

  const record = h.layout.smmus + index * SmmuRecord.size;
  writePointer(h, record, base);
  writePointer(h, record + 8, strtab);
  h.memory.write32(record + 16, log2 | (split << 8) | (cmdqLog2 << 16));
  writePointer(h, record + 20, cmdq);
  result = yield* annotateAtBoot(h, base, SMMU_MMIO_SIZE, OwnerId.hyp);
  return result !== 0 ? result : yield* enable(h, record, base);
}

function* enable(h: Hyp, record: number, base: number): Steps<number> {
  h.bus.write32(base + Register.CR1, CR1_ATTRIBUTES);
  h.bus.write32(base + Register.CR2, CR2_RECINVSID_PTM);
  h.bus.write32(base + Register.CMDQ_PROD, 0);
  h.bus.write32(base + Register.CMDQ_CONS, 0);
  return yield* resetSmmu(h, record);
}
