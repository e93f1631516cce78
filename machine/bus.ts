/**
 * Physical address decode: what a CPU's or a device's access reaches once it is translated. RAM goes to the memory,
 * register pages to their SMMU, other MMIO to a model attached to it or to a scratch page; anything else is a bus
 * error. Access rules: 32 bits wide and aligned anywhere; 64 bits wide and aligned in RAM and on 64-bit registers.
 */

import { PAGE_SIZE, type PhysicalMemory } from './memory/index.ts';

/** Something behind an MMIO range: sees offsets from its base, 4-byte aligned. */
export interface MmioDevice {
  read32(offset: number): number;
  write32(offset: number, value: number): void;
  /** Reads 64 bits: returns the low word; the high word is left in {@link hi}. Without it, two 32-bit reads. */
  read64?(offset: number): number;
  write64?(offset: number, hi: number, lo: number): void;
  hi?: number;
}

interface Window {
  readonly base: number;
  readonly size: number;
  readonly device: MmioDevice;
}

/** The physical address space of a machine. */
export class Bus {
  readonly memory: PhysicalMemory;
  /** High word of the last {@link read64}. */
  hi = 0;
  private readonly windows: Window[] = [];

  constructor(memory: PhysicalMemory) {
    this.memory = memory;
  }

  /**
   * Puts a device at [base, base + size). A later one hides an earlier one.
   * @throws RangeError when the range is not page aligned or overlaps RAM
   */
  attach(base: number, size: number, device: MmioDevice): void {
    if (base % PAGE_SIZE !== 0 || size % PAGE_SIZE !== 0 || size <= 0) {
      throw new RangeError(`MMIO at 0x${base.toString(16)}: expected a page-aligned base and size`);
    }
    for (const ram of this.memory.ram()) {
      if (base < ram.base + ram.size && ram.base < base + size) {
        throw new RangeError(`MMIO at 0x${base.toString(16)} overlaps RAM`);
      }
    }
    this.windows.unshift({ base, size, device });
  }

  /** Whether anything answers at `pa`. */
  decodes(pa: number): boolean {
    return this.memory.isRam(pa) || this.windowAt(pa) !== undefined;
  }

  /** The 32-bit word at `pa`, as int32. @throws BusError when nothing answers; RangeError when misaligned */
  read32(pa: number): number {
    aligned(pa, 4);
    const window = this.windowAt(pa);
    return window === undefined ? this.memory.read32(pa) : window.device.read32(pa - window.base) | 0;
  }

  /** Writes the 32-bit word at `pa`. @throws BusError when nothing answers; RangeError when misaligned */
  write32(pa: number, value: number): void {
    aligned(pa, 4);
    const window = this.windowAt(pa);
    if (window === undefined) this.memory.write32(pa, value | 0);
    else window.device.write32(pa - window.base, value | 0);
  }

  /** Reads 64 bits: returns the low word, leaves the high word in {@link hi}. @throws BusError, RangeError */
  read64(pa: number): number {
    aligned(pa, 8);
    const window = this.windowAt(pa);
    if (window === undefined) {
      const index = this.memory.indexOf(pa);
      this.hi = this.memory.words[index + 1]!;
      return this.memory.words[index]!;
    }
    const { base, device } = window;
    if (device.read64 !== undefined) {
      const lo = device.read64(pa - base);
      this.hi = device.hi ?? 0;
      return lo;
    }
    this.hi = device.read32(pa - base + 4);
    return device.read32(pa - base);
  }

  /** Writes 64 bits as two int32 words. @throws BusError, RangeError */
  write64(pa: number, hi: number, lo: number): void {
    aligned(pa, 8);
    const window = this.windowAt(pa);
    if (window === undefined) {
      this.memory.write64(pa, hi | 0, lo | 0);
      return;
    }
    const { base, device } = window;
    if (device.write64 !== undefined) {
      device.write64(pa - base, hi | 0, lo | 0);
      return;
    }
    device.write32(pa - base, lo | 0);
    device.write32(pa - base + 4, hi | 0);
  }

  /** What answers at `pa` beside RAM, which no window overlaps. */
  private windowAt(pa: number): Window | undefined {
    const { windows } = this;
    for (let i = 0; i < windows.length; i++) {
      const window = windows[i]!;
      if (pa >= window.base && pa < window.base + window.size) return window;
    }
    return undefined;
  }
}

/** MMIO with no model behind it: remembers what is written, reads zero before. */
export class ScratchMmio implements MmioDevice {
  private readonly memory: PhysicalMemory;
  private readonly file: number;

  /** @param size bytes of the range */
  constructor(memory: PhysicalMemory, size: number) {
    this.memory = memory;
    this.file = memory.allocFile(size / 4);
  }

  read32(offset: number): number {
    return this.memory.words[this.file + (offset >>> 2)]!;
  }

  write32(offset: number, value: number): void {
    this.memory.put(this.file + (offset >>> 2), value);
  }
}

function aligned(pa: number, width: number): void {
  if ((pa & (width - 1)) !== 0) throw misaligned(pa, width);
}

function misaligned(pa: number, width: number): RangeError {
  return new RangeError(`access of ${width} bytes at 0x${pa.toString(16)} is not aligned`);
}
