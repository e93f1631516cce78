/**
 * What each CPU has stored and others cannot see yet. Memory as it stands between steps is what everybody sees, devices
 * included; a CPU sees its own waiting stores on top of it. A store becomes visible when a barrier of its CPU asks for
 * it, when the CPU releases a lock, or whenever the hardware likes: in any order between different words, in the order
 * of the program for one word (Arm's memory model without a barrier).
 *
 * Only stores to what hardware walks or consumes wait here. Words of records are accessed atomically or under a lock,
 * whose release publishes them.
 */

import { type PhysicalMemory, WORDS_PER_PAGE } from '../memory/index.ts';

/** The waiting stores of one CPU: 64-bit words by the index of their low half. */
class StoreBuffer {
  readonly indexes: number[] = [];
  readonly los: number[] = [];
  readonly his: number[] = [];
  /** What everybody else sees there, while the CPU's own view is in memory. */
  readonly commonLos: number[] = [];
  readonly commonHis: number[] = [];

  add(index: number, hi: number, lo: number): void {
    let at = this.indexes.indexOf(index);
    if (at < 0) at = this.indexes.push(index) - 1;
    this.los[at] = lo;
    this.his[at] = hi;
  }

  remove(at: number): void {
    for (const list of [this.indexes, this.los, this.his]) list.splice(at, 1);
  }
}

export class StoreBuffers {
  private readonly memory: PhysicalMemory;
  private readonly buffers: readonly StoreBuffer[];

  constructor(memory: PhysicalMemory, cpus: number) {
    this.memory = memory;
    this.buffers = Array.from({ length: cpus }, () => new StoreBuffer());
    memory.mark();
  }

  /** Stores of that CPU that wait. */
  waiting(cpu: number): number {
    return this.buffers[cpu]!.indexes.length;
  }

  /** Physical address of a waiting store; `n` counts from the oldest. */
  addressOf(cpu: number, n: number): number {
    const index = this.buffers[cpu]!.indexes[n]!;
    return this.memory.paOfSlot(Math.floor(index / WORDS_PER_PAGE)) + (index % WORDS_PER_PAGE) * 4;
  }

  /** One waiting store becomes visible; by default the oldest. */
  drain(cpu: number, n = 0): void {
    const buffer = this.buffers[cpu]!;
    const index = buffer.indexes[n];
    if (index === undefined) throw new RangeError(`CPU ${cpu} has no waiting store ${n}`);
    const hi = buffer.his[n]!;
    const lo = buffer.los[n]!;
    buffer.remove(n);
    this.memory.put64(index, hi, lo);
  }

  /** All that the CPU has stored becomes visible. */
  drainAll(cpu: number): void {
    while (this.waiting(cpu) !== 0) this.drain(cpu);
  }

  /**
   * Run one step of a CPU with its own view of memory. Its stores to the page of `held` (a physical address) then wait;
   * any others become visible with the step.
   * @param held -1 when no store of this step waits
   */
  step<T>(cpu: number, held: number, run: () => T): T {
    const { memory } = this;
    const buffer = this.buffers[cpu]!;
    if (held < 0 && buffer.indexes.length === 0) return run();
    this.show(buffer);
    memory.observing = false;
    const mark = memory.logged;
    try {
      return run();
    } finally {
      const written = memory.writtenSince(mark);
      this.settle(buffer, written, held < 0 ? -1 : memory.slotForWrite(held));
      memory.observing = true;
    }
  }

  /** Lay the CPU's stores over memory. */
  private show(buffer: StoreBuffer): void {
    const { memory } = this;
    for (let n = 0; n < buffer.indexes.length; n++) {
      const index = buffer.indexes[n]!;
      buffer.commonLos[n] = memory.words[index]!;
      buffer.commonHis[n] = memory.words[index + 1]!;
      memory.putUnseen(index, buffer.los[n]!);
      memory.putUnseen(index + 1, buffer.his[n]!);
    }
  }

  /** Take the CPU's view out of memory again; what the step wrote goes to the buffer, or is made visible. */
  private settle(buffer: StoreBuffer, written: ReadonlyMap<number, number>, heldSlot: number): void {
    const { memory } = this;
    const pairs = new Map<number, readonly [hi: number, lo: number]>();
    for (const index of written.keys()) {
      const even = index & ~1;
      pairs.set(even, [memory.words[even + 1]!, memory.words[even]!]);
    }
    for (const [index, old] of written) memory.putUnseen(index, old);
    for (let n = 0; n < buffer.indexes.length; n++) {
      memory.putUnseen(buffer.indexes[n]!, buffer.commonLos[n]!);
      memory.putUnseen(buffer.indexes[n]! + 1, buffer.commonHis[n]!);
    }
    memory.observing = true;
    for (const [index, [hi, lo]] of pairs) {
      const slot = Math.floor(index / WORDS_PER_PAGE);
      if (slot === heldSlot) {
        buffer.add(index, hi, lo);
        continue;
      }
      const waiting = buffer.indexes.indexOf(index);
      if (waiting >= 0) buffer.remove(waiting);
      if (memory.paOfSlot(slot) >= 0) {
        memory.put64(index, hi, lo);
      } else {
        memory.put(index, lo);
        memory.put(index + 1, hi);
      }
    }
  }
}
