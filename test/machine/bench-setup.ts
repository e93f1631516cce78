/** A machine with an SMMU that is set up as a driver would, and short ways to write tables and commands for tests. */

import { createMachine, type Machine, type MachineDescription, registers, type Smmu, tiny } from '#machine';

const { Register } = registers;

export const STRTAB = 0x40010000;
export const CMDQ = 0x40011000;
export const EVTQ = 0x40012000;
const FIRST_TABLE = 0x40020000;
/** A leaf of a 4K page or block: valid, AF, inner shareable, readable and writable (both stages), not global. */
export const S1_RW = 0xf40;
export const S2_RW = 0x7fc;

/** 64-bit words as numbers below 2^53, for reading. */
export function wide(hi: number, lo: number): bigint {
  return (BigInt(hi >>> 0) << 32n) | BigInt(lo >>> 0);
}

export class Setup {
  readonly machine: Machine;
  readonly smmu: Smmu;
  private nextPage = FIRST_TABLE;

  constructor(description: MachineDescription = tiny) {
    this.machine = createMachine(description);
    this.smmu = this.machine.smmus[0]!;
  }

  /** Registers, queues and the stream table; then SMMUEN. */
  enable(strtabConfig = 3): this {
    const { smmu } = this;
    smmu.write32(Register.CR2, registers.CR2_RECINVSID);
    smmu.write64(Register.STRTAB_BASE, 0, STRTAB);
    smmu.write32(Register.STRTAB_BASE_CFG, strtabConfig);
    smmu.write64(Register.CMDQ_BASE, 0, CMDQ | 8);
    smmu.write64(Register.EVENTQ_BASE, 0, EVTQ | 7);
    smmu.write32(Register.CR0, registers.CR0_CMDQEN | registers.CR0_EVENTQEN);
    smmu.write32(Register.CR0, registers.CR0_FIELDS);
    return this;
  }

  /** A fresh zero page. */
  page(): number {
    const pa = this.nextPage;
    this.nextPage += 4096;
    return pa;
  }

  /** Two fresh zero pages, aligned together: a concatenated start table. */
  pair(): number {
    if (this.nextPage % 8192 !== 0) this.page();
    const pa = this.page();
    this.page();
    return pa;
  }

  put(pa: number, value: bigint): void {
    this.machine.memory.write64(pa, Number(BigInt.asIntN(32, value >> 32n)), Number(BigInt.asIntN(32, value)));
  }

  get(pa: number): bigint {
    return wide(this.machine.memory.read32(pa + 4), this.machine.memory.read32(pa));
  }

  steAt(sid: number): number {
    return STRTAB + 64 * sid;
  }

  /**
   * Writes the words of an STE as a careful driver does: what follows word 0 first, and an invalidation before word 0,
   * so that no mix of old and new is ever read. The invalidation after it is up to the caller.
   */
  ste(sid: number, ...words: bigint[]): void {
    for (let i = words.length - 1; i > 0; i--) this.put(this.steAt(sid) + 8 * i, words[i]!);
    this.cfgiSte(sid);
    this.sync();
    this.put(this.steAt(sid), words[0]!);
  }

  /** An STE that walks stage 2: 40-bit input from level 1 with two concatenated tables, or as given. */
  stage2(sid: number, vmid: number, table: number, t0sz = 24, sl0 = 1): void {
    this.ste(sid, 0xdn, 0n, stage2Word(vmid, t0sz, sl0), BigInt(table));
  }

  /** An STE with one CD that walks stage 1 (39-bit input, level 1) from `table`. Returns the CD's address. */
  stage1(sid: number, asid: number, table: number, t0sz = 25): number {
    const cd = this.page();
    this.cd(cd, asid, table, t0sz);
    this.ste(sid, BigInt(cd) | 0xbn, 0xd6n, 0n, 0n);
    return cd;
  }

  cd(at: number, asid: number, table: number, t0sz = 25): void {
    this.put(at + 24, 0xf404ff44n);
    this.put(at + 8, BigInt(table));
    this.put(at, cdWord(asid, t0sz));
  }

  command(q0: bigint, q1 = 0n): void {
    const prod = this.smmu.read32(Register.CMDQ_PROD);
    this.put(CMDQ + 16 * (prod & 255), q0);
    this.put(CMDQ + 16 * (prod & 255) + 8, q1);
    this.smmu.write32(Register.CMDQ_PROD, (prod + 1) & 511);
  }

  sync(): void {
    this.command(0x46n);
  }

  /** TLBI by IPA of a range of pages of 4K (0: no range) of a VMID. */
  tlbiIpa(vmid: number, iova: number, leaf: boolean, num = 0, scale = 0, ttl = 0): void {
    const tg = num === 0 && scale === 0 && ttl === 0 ? 0 : 1;
    this.command(
      0x2an | (BigInt(num) << 12n) | (BigInt(scale) << 20n) | (BigInt(vmid) << 32n),
      BigInt(iova) | (leaf ? 1n : 0n) | (BigInt(ttl) << 8n) | (BigInt(tg) << 10n),
    );
  }

  tlbiVmall(vmid: number): void {
    this.command(0x28n | (BigInt(vmid) << 32n));
  }

  tlbiAsid(vmid: number, asid: number): void {
    this.command(0x11n | (BigInt(vmid) << 32n) | (BigInt(asid) << 48n));
  }

  cfgiSte(sid: number, leaf = true): void {
    this.command(0x03n | (BigInt(sid) << 32n), leaf ? 1n : 0n);
  }

  cfgiAll(): void {
    this.command(0x04n, 31n);
  }

  /** Where an access may go: physical addresses, and names of faults (`abort` when silent). */
  reaches(sid: number, iova: number, write = false): (number | string)[] {
    const ends = this.smmu.possible(sid, iova, write);
    return [...new Set(ends.map(({ ok, pa, event }) => (ok ? pa : (event?.name ?? 'abort'))))];
  }

  /** The last event record, as four 64-bit words. */
  lastEvent(): bigint[] {
    const prod = this.smmu.read32(Register.EVENTQ_PROD) & 0xff;
    const at = EVTQ + 32 * ((prod - 1) & 127);
    return [0, 8, 16, 24].map((offset) => this.get(at + offset));
  }
}

/** Word 2 of a stage-2 STE: 4K granule, 40-bit output, AArch64, faults recorded. */
export function stage2Word(vmid: number, t0sz = 24, sl0 = 1): bigint {
  const vtcr = BigInt(t0sz) | (BigInt(sl0) << 6n) | (1n << 8n) | (1n << 10n) | (3n << 12n) | (2n << 16n);
  return BigInt(vmid) | (vtcr << 32n) | (1n << 51n) | (1n << 58n);
}

/** Word 0 of a CD: 4K granule, 40-bit output, EPD1, AArch64, R and A. */
export function cdWord(asid: number, t0sz = 25): bigint {
  return (
    BigInt(t0sz) | 0x3500n | (1n << 30n) | (1n << 31n) | (2n << 32n) | (1n << 41n) | (3n << 45n) | (BigInt(asid) << 48n)
  );
}

/** Builds a three-level table (levels 1 to 3) that maps one page, and returns its three tables. */
export function mapPage(s: Setup, top: number, iova: number, leaf: bigint): { l2: number; l3: number; at: number } {
  const l1At = top + 8 * Math.floor(iova / 2 ** 30);
  if (s.get(l1At) === 0n) s.put(l1At, BigInt(s.page()) | 3n);
  const l2 = Number(s.get(l1At) & 0xfffffffff000n);
  const l2At = l2 + 8 * (Math.floor(iova / 2 ** 21) % 512);
  if (s.get(l2At) === 0n) s.put(l2At, BigInt(s.page()) | 3n);
  const l3 = Number(s.get(l2At) & 0xfffffffff000n);
  const at = l3 + 8 * (Math.floor(iova / 4096) % 512);
  s.put(at, leaf);
  return { l2, l3, at };
}
