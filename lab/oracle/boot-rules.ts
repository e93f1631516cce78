/**
 * What boot must say, decided before it from what the host has set up in the registers of the SMMUs: the order of the
 * checks, SMMU by SMMU, and whose each page is by then. Left out: that the heap may be too small for the machine.
 */

import { type BootParameters, Errno, type ErrnoName, Memcache } from '#hypercall-abi';
import { COMMAND_BYTES, STE_BYTES } from './decode/index.ts';
import { type Facts, type OracleMachine, type OracleSmmu, PAGE, TWO32 } from './facts.ts';
import { EVENT_BYTES, GBPA_ABORT, Offset, SFM_ERR } from './hardware.ts';

/** Bits of STRTAB_BASE_CFG that are in a field: LOG2SIZE, SPLIT, FMT. */
const CONFIG_FIELDS = 0x307ff;
const L1STD_BYTES = 8;
/** RA and WA, hints of the address registers, which the host may choose. */
const HINT_HI = 1 << 30;

/** Why boot is refused. */
export interface Refusal {
  readonly errno: number;
  readonly text: string;
}

function refusal(errno: ErrnoName, text: string): Refusal {
  return { errno: -Errno[errno], text };
}

export class BootRules {
  private readonly machine: OracleMachine;
  private readonly facts: Facts;
  /** Pages that are no longer the host's alone, as boot goes on. */
  private readonly taken = new Set<number>();

  constructor(machine: OracleMachine, facts: Facts) {
    this.machine = machine;
    this.facts = facts;
  }

  /** Why boot must be refused as things stand; null when it must succeed. There must be a reader of registers. */
  refusal({ smmus, memcaches }: BootParameters): Refusal | null {
    this.taken.clear();
    const { description, profile } = this.facts;
    const { base, size } = description.carveOut;
    for (let pa = base; pa < base + size; pa += PAGE) this.taken.add(this.facts.pageOf(pa));
    for (let i = 0; i < description.smmus.length; i++) {
      const refused = this.smmu(i, description.smmus[i]!, smmus[i]);
      if (refused !== null) return refused;
    }
    return profile.request === 'needs-page' ? this.memcaches(memcaches) : null;
  }

  private word(smmu: number, offset: number): number {
    return this.machine.smmuRegister!(smmu, offset);
  }

  /** An address register as a number: everything but the hints. */
  private address(smmu: number, offset: number): number {
    const hi = this.word(smmu, offset + 4) & ~HINT_HI;
    return (hi >>> 0) * TWO32 + (this.word(smmu, offset) >>> 0);
  }

  private smmu(i: number, smmu: OracleSmmu, named: number | undefined): Refusal | null {
    if (named !== smmu.base) return refusal('EINVAL', `names another SMMU than ${smmu.name}`);
    if ((this.word(i, Offset.GBPA) & GBPA_ABORT) === 0) return refusal('EINVAL', `${smmu.name} lets devices through`);
    if (((this.word(i, Offset.GERROR) ^ this.word(i, Offset.GERRORN)) & SFM_ERR) !== 0) {
      return refusal('EIO', `${smmu.name} is in service failure mode`);
    }
    const refused = this.streamTable(i, smmu) ?? this.commandQueue(i, smmu) ?? this.eventQueue(i, smmu);
    if (refused !== null) return refused;
    return this.facts.answers(i) ? null : refusal('ETIMEDOUT', `${smmu.name} does not answer`);
  }

  private streamTable(i: number, { name, sidBits, twoLevelStreamTable }: OracleSmmu): Refusal | null {
    const config = this.word(i, Offset.STRTAB_BASE_CFG);
    const log2 = config & 63;
    const format = (config >>> 16) & 3;
    const split = (config >>> 6) & 31;
    const wrong = (text: string): Refusal => refusal('EINVAL', `the stream table of ${name} ${text}`);
    if ((config & ~CONFIG_FIELDS) !== 0 || format > 1) return wrong('has no known format');
    if (log2 > sidBits) return wrong('has more streams than the hardware');
    const isTwoLevel = format === 1;
    if (isTwoLevel && !twoLevelStreamTable) return wrong('has two levels, which the hardware does not know');
    if (isTwoLevel && split !== this.facts.profile.streamTableSplit) return wrong('is split elsewhere');
    const bytes = isTwoLevel ? L1STD_BYTES * 2 ** Math.max(0, log2 - split) : STE_BYTES * 2 ** log2;
    return this.donated(`the stream table of ${name}`, this.address(i, Offset.STRTAB_BASE), bytes, bytes);
  }

  private commandQueue(i: number, { name, cmdqLog2 }: OracleSmmu): Refusal | null {
    const register = this.address(i, Offset.CMDQ_BASE);
    const log2 = register % 32;
    if (log2 > cmdqLog2) return refusal('EINVAL', `the command queue of ${name} is larger than the hardware has`);
    const bytes = COMMAND_BYTES * 2 ** log2;
    return this.donated(`the command queue of ${name}`, register - log2, bytes, bytes);
  }

  private eventQueue(i: number, { name, evtqLog2 }: OracleSmmu): Refusal | null {
    const register = this.address(i, Offset.EVENTQ_BASE);
    const log2 = register % 32;
    if (log2 > evtqLog2) return refusal('EINVAL', `the event queue of ${name} is larger than the hardware has`);
    const bytes = EVENT_BYTES * 2 ** log2;
    return this.shared(`the event queue of ${name}`, register - log2, bytes, bytes);
  }

  private memcaches(at: number | undefined): Refusal | null {
    if (at === undefined) return refusal('EINVAL', 'names no memcaches');
    return this.shared('the page of the memcaches', at, this.facts.description.cpus * Memcache.size, PAGE);
  }

  /** [pa, pa + bytes) becomes the hypervisor's by whole pages. */
  private donated(what: string, pa: number, bytes: number, alignment: number): Refusal | null {
    if (pa % alignment !== 0 || pa % PAGE !== 0) return refusal('EINVAL', `${what} is not aligned`);
    const pages = Math.ceil(bytes / PAGE);
    const first = this.facts.ramRange(pa, pages);
    if (first < 0) return refusal('EINVAL', `${what} is not in RAM`);
    for (let page = first; page < first + pages; page++) {
      if (this.taken.has(page)) return refusal('EPERM', `${what} is not the host's`);
    }
    for (let page = first; page < first + pages; page++) this.taken.add(page);
    return null;
  }

  /** [pa, pa + bytes) is shared by whole pages, each for itself. */
  private shared(what: string, pa: number, bytes: number, alignment: number): Refusal | null {
    if (pa % alignment !== 0 || pa % PAGE !== 0) return refusal('EINVAL', `${what} is not aligned`);
    for (let at = pa; at < pa + bytes; at += PAGE) {
      const page = this.facts.pageOf(at);
      if (page < 0) return refusal('EINVAL', `${what} is not in RAM`);
      if (this.taken.has(page)) return refusal('EPERM', `${what} is not the host's`);
      this.taken.add(page);
    }
    return null;
  }
}
