/**
 * What the host does while it is still trusted: find each SMMU, block its DMA, and give it a stream table, a command
 * queue and an event queue. Afterwards the hypervisor takes all of it over. Accesses go through the host's own path to
 * memory and devices, which is flat at this time.
 */

import type { HostPort, SmmuDescription } from '#machine/host-view';
import type { HostMemory } from './memory.ts';

const GBPA = 0x44;
const GBPA_ABORT_UPDATE = (1 << 20) | (1 << 31);
const STRTAB_BASE = 0x80;
const STRTAB_BASE_CFG = 0x88;
const CMDQ_BASE = 0x90;
const EVENTQ_BASE = 0xa0;
const READ_ALLOCATE_HI = 1 << 30;
const FMT_TWO_LEVEL = 1 << 16;
const SPLIT = 8;
/** Entries of the queues: 256 commands and 128 events, one page each, or less where the hardware has less. */
const CMDQ_LOG2 = 8;
const EVTQ_LOG2 = 7;
const TWO32 = 4294967296;

function orderFor(bytes: number): number {
  return Math.max(0, Math.ceil(Math.log2(bytes / 4096)));
}

/** Memory that the host gave to one SMMU. */
export interface SmmuMemory {
  readonly strtab: number;
  readonly cmdq: number;
  readonly evtq: number;
  readonly evtqLog2: number;
}

/**
 * Prepare one SMMU. @param levelSplit split of StreamIDs where the stream table has two levels
 * @throws RangeError when the host has no memory for its tables
 */
export function setUpSmmu(port: HostPort, memory: HostMemory, smmu: SmmuDescription, levelSplit = SPLIT): SmmuMemory {
  const split = smmu.twoLevelStreamTable && smmu.sidBits > levelSplit ? levelSplit : 0;
  const strtabBytes = split === 0 ? 64 * 2 ** smmu.sidBits : 8 * 2 ** (smmu.sidBits - split);
  const cmdqLog2 = Math.min(CMDQ_LOG2, smmu.cmdqLog2);
  const evtqLog2 = Math.min(EVTQ_LOG2, smmu.evtqLog2);
  const strtab = memory.alloc(orderFor(strtabBytes));
  const cmdq = memory.alloc(orderFor(16 * 2 ** cmdqLog2));
  const evtq = memory.alloc(orderFor(32 * 2 ** evtqLog2));
  if (strtab === 0 || cmdq === 0 || evtq === 0) throw new RangeError(`no memory for the tables of ${smmu.name}`);
  port.el1Write32(smmu.base + GBPA, GBPA_ABORT_UPDATE);
  write64(port, smmu.base + STRTAB_BASE, strtab);
  port.el1Write32(smmu.base + STRTAB_BASE_CFG, smmu.sidBits | (split << 6) | (split === 0 ? 0 : FMT_TWO_LEVEL));
  write64(port, smmu.base + CMDQ_BASE, cmdq + cmdqLog2);
  write64(port, smmu.base + EVENTQ_BASE, evtq + evtqLog2);
  return { strtab, cmdq, evtq, evtqLog2 };
}

function write64(port: HostPort, ipa: number, value: number): void {
  port.el1Write64(ipa, Math.floor(value / TWO32) | READ_ALLOCATE_HI, value | 0);
}
