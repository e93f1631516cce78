/** Where a vector sequence runs: an arena for tables that writes down what a page table asks of its owner. */
import { type PageTableConfig, type PageTableLayout, type PageTableOps, type Profile, Quirk } from '#io-pgtable/plain';
import { PhysicalMemory } from '#machine/memory';
import type { ConfigOut, VectorConfig } from './lpae-types.ts';
import { address, hex, word64 } from './words.ts';

export function configFrom(config: VectorConfig, profile: Profile): PageTableConfig {
  return {
    fmt: config.fmt as PageTableConfig['fmt'],
    pgsizeBitmap: Number.parseInt(config.pgsize_bitmap, 16),
    ias: config.ias,
    oas: config.oas,
    coherentWalk: config.coherent_walk,
    quirks: config.quirks.reduce((bits, name) => bits | Quirk[name as keyof typeof Quirk], 0),
    profile,
  };
}

/** A layout in the words of the vectors. */
export function configOut(layout: PageTableLayout, root: string): ConfigOut {
  const { registers } = layout;
  const common = {
    pgsize_bitmap: layout.pgsizeBitmap.toString(16),
    ias: layout.ias,
    oas: layout.oas,
    start_level: layout.startLevel,
    pgd_bits: layout.pgdBits,
    bits_per_level: layout.bitsPerLevel,
    pgd_size: layout.pgdSize,
  };
  if (registers.stage === 1) {
    const { stage, mairHi, mairLo, ...tcr } = registers;
    return { ...common, ttbr: root, tcr, mair: word64(mairHi, mairLo) };
  }
  if (registers.stage !== 2) throw new Error('the vectors are of Arm formats');
  const { stage, ...vtcr } = registers;
  return { ...common, vttbr: root, vtcr };
}

/** A machine with nothing but an arena for tables, which writes down what a page table asks of it. */
export class Arena {
  readonly memory: PhysicalMemory;
  readonly ops: PageTableOps;
  warnings = 0;
  events: string[] = [];
  readonly live = new Set<number>();
  private next: number;
  private skip = 0;
  private fail = 0;

  constructor(base: number) {
    this.next = base;
    this.memory = new PhysicalMemory([{ base, size: 2 ** 30 }]);
    this.ops = {
      memory: this.memory,
      allocTable: (size) => this.allocate(size),
      freeTable: (pa, size) => {
        this.live.delete(pa);
        this.events.push(`-${hex(pa)}:${hex(rounded(size))}`);
      },
      flushAll: () => {
        this.events.push('F');
      },
      flushWalk: (iova, size, granule) => {
        this.events.push(`W:${hex(iova)}:${hex(size)}:${hex(granule)}`);
      },
      addPages: (iova, granule, count) => {
        this.events.push(`A:${hex(iova)}:${hex(granule)}:${count}`);
      },
      syncMemory: (pa, bytes) => this.noteSync(pa, bytes),
      warn: () => {
        this.warnings++;
      },
    };
  }

  /** After `skip` more tables, `count` allocations fail. */
  armFailures(skip: number, count: number): void {
    this.skip = skip;
    this.fail = count;
  }

  /** Cache maintenance; of equal pieces that follow on each other one event is made. */
  private noteSync(pa: number, bytes: number): void {
    const [last, start, size, count = '1'] = this.events.at(-1)?.split(':') ?? [];
    const follows = last === 'S' && address(size!) === bytes && address(start!) + bytes * Number(count) === pa;
    if (follows) this.events[this.events.length - 1] = `S:${start}:${size}:${Number(count) + 1}`;
    else this.events.push(`S:${hex(pa)}:${hex(bytes)}`);
  }

  private allocate(size: number): number {
    if (this.skip > 0) this.skip--;
    else if (this.fail > 0) {
      this.fail--;
      this.events.push('!');
      return 0;
    }
    const bytes = rounded(size);
    const pa = Math.ceil(this.next / bytes) * bytes;
    this.next = pa + bytes;
    this.live.add(pa);
    this.events.push(`+${hex(pa)}:${hex(bytes)}`);
    return pa;
  }
}

function rounded(size: number): number {
  return Math.max(4096, 2 ** Math.ceil(Math.log2(size)));
}
