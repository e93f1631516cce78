/**
 * Non-interference: two machines that differ only in a secret must look the same to the host and to its devices. The
 * secret is the content of every page that the host must not know: a guest's pages, and free pages of the hypervisor's
 * pools. It is written as soon as a page becomes such a one, other words on one machine than on the other; from then on
 * each step is made on both, and what the host can see of them is compared.
 *
 * What the host can see: results and registers of its calls, where its accesses and those of its devices end and what
 * they read, the content of its pages (the event queues among them), the registers by which it learns of events and
 * errors, and interrupts. Time is left out. What a guest is told, and what devices that are a guest's read, is the
 * guest's own matter.
 */

import { type PhysicalMemory, StateClass } from '#machine/memory';
import { hex } from './findings.ts';
import { Owner } from './ghost-pages.ts';

const PAGE = 4096;
const PAGE_SHIFT = 12;
const WORDS_PER_PAGE = PAGE / 4;

/** Registers that the host reads: its event queue's indices, and errors. */
const HOST_REGISTERS: readonly (readonly [name: string, offset: number])[] = [
  ['GERROR', 0x60],
  ['GERRORN', 0x64],
  ['EVENTQ_PROD', 0x100a8],
  ['EVENTQ_CONS', 0x100ac],
];

/** Where in a page the secret stands: behind the links of a free block, in the first line, the middle, and the last word. */
const PLACES: readonly number[] = [0x40, 0x800, 0xffc];
/** A guest's page has it in its first word, too. */
const GUEST_PLACES: readonly number[] = [0, ...PLACES];

/** What a page holds that the host must not know. */
const Secret = { none: 0, guest: 1, free: 2 } as const;

/** One of the two machines. */
export interface TwinMachine {
  readonly memory: PhysicalMemory;
  readonly smmuRegister: (smmu: number, offset: number) => number;
}

/** What differs, for a finding: a rule and a sentence. */
export interface Difference {
  readonly rule: 'memory' | 'smmu-registers' | 'registers' | 'result' | 'interrupts';
  readonly text: string;
}

export class NonInterference {
  private readonly machines: readonly [TwinMachine, TwinMachine];
  private readonly ownerOf: (pa: number) => number;
  private readonly smmus: number;
  /** Address of each page of RAM, and what it held after the last step: one of {@link Secret}, and whether it was the host's. */
  private readonly pages: Float64Array;
  private readonly secrets: Uint8Array;
  private readonly isHosts: Uint8Array;
  private readonly marks = [0, 0];

  /**
   * @param ownerOf whom the page at an address belongs to, by the ghost: one of Owner
   * @param ram the ranges of RAM
   * @param smmus how many SMMUs there are
   */
  constructor(
    machines: readonly [TwinMachine, TwinMachine],
    ownerOf: (pa: number) => number,
    ram: readonly { readonly base: number; readonly size: number }[],
    smmus: number,
  ) {
    this.machines = machines;
    this.ownerOf = ownerOf;
    this.smmus = smmus;
    this.pages = Float64Array.from(ram.flatMap(({ base, size }) => pagesOf(base, size)));
    this.secrets = new Uint8Array(this.pages.length);
    this.isHosts = new Uint8Array(this.pages.length);
  }

  /** Write secrets where there are none yet, and remember whose each page is. */
  plant(): void {
    for (let i = 0; i < this.pages.length; i++) {
      const pa = this.pages[i]!;
      const secret = this.secretOf(pa);
      if (secret !== Secret.none && secret !== this.secrets[i]) this.write(pa, secret);
    }
    this.look();
  }

  /** The machines were taken back to an earlier state: see anew whose each page is. Its secrets have come back with it. */
  look(): void {
    for (let i = 0; i < this.pages.length; i++) {
      this.secrets[i] = this.secretOf(this.pages[i]!);
      this.isHosts[i] = this.ownerOf(this.pages[i]!) === Owner.host ? 1 : 0;
    }
  }

  private secretOf(pa: number): number {
    const owner = this.ownerOf(pa);
    if (owner === Owner.guest) return Secret.guest;
    const { memory } = this.machines[0];
    return owner === Owner.hyp && memory.classOf(memory.indexOf(pa)) === StateClass.dead ? Secret.free : Secret.none;
  }

  private write(pa: number, secret: number): void {
    for (const place of secret === Secret.guest ? GUEST_PLACES : PLACES) {
      this.machines[0].memory.write32(pa + place, 0x5ec2e700 | (place & 0xff));
      this.machines[1].memory.write32(pa + place, 0x0dd5ec00 | (place & 0xff));
    }
  }

  /** A step is about to be made on both machines. */
  begin(): void {
    this.machines.forEach(({ memory }, i) => {
      this.marks[i] = memory.logged;
    });
  }

  /** It was made on both: the first thing in which the host can tell them apart, in memory and SMMUs; null when it cannot. */
  compare(): Difference | null {
    return this.written() ?? this.given() ?? this.smmuRegisters();
  }

  /** Words of the host's that were written on either machine. */
  private written(): Difference | null {
    let different = -1;
    this.machines.forEach(({ memory }, i) => {
      const other = this.machines[1 - i]!.memory;
      memory.eachLogged(this.marks[i]!, (index) => {
        const pa = memory.paOfSlot(index >>> (PAGE_SHIFT - 2));
        if (pa < 0 || different >= 0 || this.ownerOf(pa) !== Owner.host) return;
        const at = pa + 4 * (index & (WORDS_PER_PAGE - 1));
        if (memory.words[index] !== other.read32(at)) different = at;
      });
    });
    return different < 0 ? null : this.memoryDiffers(different);
  }

  /** Pages that have become the host's, as a whole. */
  private given(): Difference | null {
    const [{ memory: left }, { memory: right }] = this.machines;
    for (let i = 0; i < this.pages.length; i++) {
      const pa = this.pages[i]!;
      if (this.isHosts[i] !== 0 || this.ownerOf(pa) !== Owner.host) continue;
      for (let at = pa; at < pa + PAGE; at += 4)
        if (left.read32(at) !== right.read32(at)) return this.memoryDiffers(at);
    }
    return null;
  }

  private memoryDiffers(at: number): Difference {
    const [left, right] = this.machines.map(({ memory }) => hex(memory.read32(at) >>> 0));
    return { rule: 'memory', text: `the host has ${left} at ${hex(at)}, and ${right} where the secret is another` };
  }

  private smmuRegisters(): Difference | null {
    for (let smmu = 0; smmu < this.smmus; smmu++) {
      for (const [name, offset] of HOST_REGISTERS) {
        const [left, right] = this.machines.map(({ smmuRegister }) => smmuRegister(smmu, offset));
        if (left === right) continue;
        return { rule: 'smmu-registers', text: `${name} of SMMU ${smmu} depends on the secret: ${left}, or ${right}` };
      }
    }
    return null;
  }
}

function pagesOf(base: number, size: number): number[] {
  return Array.from({ length: size / PAGE }, (_, i) => base + i * PAGE);
}
