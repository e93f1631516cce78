/**
 * The list of map_sg on the host's side: written into memory that the hypervisor is to read, and shortened as it is
 * mapped (pKVM's host driver, kvm_iommu_map_sg).
 */

import { type Boundary, ScatterElement } from '#hypercall-abi';

const TWO32 = 4294967296;

/** `pgcount` pages of `pgsize` bytes from physical address `phys` on. */
export interface ScatterRange {
  readonly phys: number;
  readonly pgsize: number;
  readonly pgcount: number;
}

export class ScatterList {
  /** Physical address of the first element that is left. */
  at: number;
  private readonly boundary: Boundary;
  private readonly left: ScatterRange[];
  private readonly cpu: number;

  /**
   * Write the list at `at`, a multiple of 8 in memory that the host may write.
   * @throws RangeError when the host may not write there
   */
  constructor(boundary: Boundary, at: number, ranges: readonly ScatterRange[], cpu = 0) {
    this.boundary = boundary;
    this.at = at;
    this.left = [...ranges];
    this.cpu = cpu;
    ranges.forEach((range, i) => {
      this.write(at + i * ScatterElement.size, range);
    });
  }

  /** Elements that are left. */
  get count(): number {
    return this.left.length;
  }

  /** Bytes that are left. */
  get bytes(): number {
    return this.left.reduce((sum, { pgsize, pgcount }) => sum + pgsize * pgcount, 0);
  }

  /** The first `bytes` bytes are mapped: take them off, with elements of no bytes in front of what is left. */
  skip(bytes: number): void {
    let rest = bytes;
    for (let first = this.left[0]; first !== undefined; first = this.left[0]) {
      const { phys, pgsize, pgcount } = first;
      const size = pgsize * pgcount;
      if (rest < size) {
        if (rest === 0) return;
        this.left[0] = { phys: phys + rest, pgsize, pgcount: pgcount - rest / pgsize };
        this.write(this.at, this.left[0]);
        return;
      }
      rest -= size;
      this.left.shift();
      this.at += ScatterElement.size;
    }
  }

  private write(at: number, { phys, pgsize, pgcount }: ScatterRange): void {
    const { boundary, cpu } = this;
    const written =
      boundary.write64(cpu, at + ScatterElement.phys, Math.floor(phys / TWO32), phys | 0) &&
      boundary.write64(cpu, at + ScatterElement.pgsize, Math.floor(pgsize / TWO32), pgsize | 0) &&
      boundary.write32(cpu, at + ScatterElement.pgcount, pgcount | 0);
    if (!written) throw new RangeError(`the host may not write its list at 0x${at.toString(16)}`);
  }
}
