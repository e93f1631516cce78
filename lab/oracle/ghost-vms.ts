/** VMs as the calls have made them: life, vCPUs and where they are loaded, and the guests' stage 2. */

import { VM_COUNT, VM_HANDLE_BASE } from '#hypercall-abi';
import { type PhysicalMemory, StateClass } from '#machine/memory';
import type { Facts } from './facts.ts';
import { JournaledTable } from './journaled-table.ts';

/** Life of a VM slot. */
export const VmLife = { free: 0, reserved: 1, live: 2, dying: 3 } as const;

/** A power of two, so that no record lies across two pages of its file. */
const VM_STRIDE = 8;
const V = { life: 0, protected: 1, vcpus: 2, loads: 3, pages: 4, pgd: 5 } as const;

export class GhostVms {
  private readonly memory: PhysicalMemory;
  private readonly vms: number;
  private readonly cpus: number;
  private readonly guests: JournaledTable;

  constructor({ memory, description }: Facts) {
    this.memory = memory;
    this.vms = memory.allocFile(VM_COUNT * VM_STRIDE, StateClass.derived);
    this.cpus = memory.allocFile(description.cpus, StateClass.derived);
    this.guests = new JournaledTable(memory, 2);
  }

  private add(at: number, delta: number): void {
    this.memory.put(at, this.memory.words[at]! + delta);
  }

  /** Slot of a handle, or -1. */
  slot(handle: number): number {
    const slot = handle - VM_HANDLE_BASE;
    return slot >= 0 && slot < VM_COUNT ? slot : -1;
  }

  private vm(slot: number): number {
    return this.vms + slot * VM_STRIDE;
  }

  life(slot: number): number {
    return this.memory.words[this.vm(slot) + V.life]!;
  }

  isProtected(slot: number): boolean {
    return this.memory.words[this.vm(slot) + V.protected] !== 0;
  }

  /** Number of vCPUs, unsigned. */
  vcpus(slot: number): number {
    return this.memory.words[this.vm(slot) + V.vcpus]! >>> 0;
  }

  loads(slot: number): number {
    return this.memory.words[this.vm(slot) + V.loads]!;
  }

  /** Pages in the guest's stage 2. */
  pages(slot: number): number {
    return this.memory.words[this.vm(slot) + V.pages]!;
  }

  /** Page of the guest's top-level table. */
  pgd(slot: number): number {
    return this.memory.words[this.vm(slot) + V.pgd]!;
  }

  setLife(slot: number, life: number): void {
    this.memory.put(this.vm(slot) + V.life, life);
  }

  init(slot: number, isProtected: boolean, vcpus: number, pgd: number): void {
    const at = this.vm(slot);
    this.memory.put(at + V.life, VmLife.live);
    this.memory.put(at + V.protected, isProtected ? 1 : 0);
    this.memory.put(at + V.vcpus, vcpus | 0);
    this.memory.put(at + V.pgd, pgd);
  }

  clear(slot: number): void {
    for (let i = 0; i < VM_STRIDE; i++) this.memory.put(this.vm(slot) + i, 0);
  }

  /** Slot of the VM whose vCPU is loaded on a CPU, or -1. */
  loadedOn(cpu: number): number {
    return this.memory.words[this.cpus + cpu]! - 1;
  }

  load(cpu: number, slot: number): void {
    this.memory.put(this.cpus + cpu, slot + 1);
    this.add(this.vm(slot) + V.loads, 1);
  }

  unload(cpu: number): void {
    this.add(this.vm(this.loadedOn(cpu)) + V.loads, -1);
    this.memory.put(this.cpus + cpu, 0);
  }

  // ---- guests' stage 2

  /** Page that a guest has at `gfn`, or -1. */
  page(slot: number, gfn: number): number {
    const at = this.guests.find(gfn | 0, guestKey(slot, gfn));
    return at < 0 ? -1 : this.memory.words[at]!;
  }

  /** Access bits that the guest was given: read 1, write 2. */
  access(slot: number, gfn: number): number {
    const at = this.guests.find(gfn | 0, guestKey(slot, gfn));
    return at < 0 ? 0 : this.memory.words[at + 1]!;
  }

  map(slot: number, gfn: number, page: number, access: number): void {
    const at = this.guests.insert(gfn | 0, guestKey(slot, gfn));
    this.memory.put(at, page);
    this.memory.put(at + 1, access);
    this.add(this.vm(slot) + V.pages, 1);
  }

  unmap(slot: number, gfn: number): void {
    if (this.guests.remove(gfn | 0, guestKey(slot, gfn))) this.add(this.vm(slot) + V.pages, -1);
  }
}

/** Second key word: VM slot, and the upper bits of a guest page number (36 bits in all). */
function guestKey(slot: number, gfn: number): number {
  return (slot << 8) | ((gfn / 4294967296) & 0xf);
}
