/**
 * What a generator of the hypervisor yields: that it is about to touch something that another CPU, or a device,
 * could touch too. The race finder switches CPUs there; the plain build (see `lab/transform/erase.ts`) has no such points.
 */
export interface Touch {
  readonly kind: TouchKind;
  /** Where: a physical address, or, for a lock or a queue, the address of its record. */
  readonly at: number;
}

/**
 * What is about to happen at the place that a {@link Touch} names, and to what:
 * - `lock`, `unlock`: a lock word is taken, released;
 * - `read`, `write`: a shared word of a record (a reference count, a page state, a pointer), atomically or under a lock;
 * - `readDescriptor`, `writeDescriptor`: an entry that hardware walks (page tables, STE, CD, level-1 descriptors).
 *   Stores to these wait in the CPU's store buffer (store-buffers.ts);
 * - `queue`: an entry of a command queue is stored; it waits there too;
 * - `barrier`: what this CPU stored before becomes visible before anything that it does next;
 * - `register`: a device register is read or written;
 * - `fetch`, `fetchDouble`: a 32-bit word, or a 64-bit one at once, is read that the host has written: it may change a
 *   buffer that it shares at any time.
 */
export type TouchKind =
  | 'lock'
  | 'unlock'
  | 'read'
  | 'write'
  | 'readDescriptor'
  | 'writeDescriptor'
  | 'queue'
  | 'barrier'
  | 'register'
  | 'fetch'
  | 'fetchDouble';

/** A computation that pauses before each shared access, and gives a `T` at its end. */
export type Steps<T> = Generator<Touch, T, void>;

/** What `Steps<T>` is called once its pauses are erased: just a `T`. */
export type Plain<T> = T;

/** Runs a computation to its end without a pause, as on a machine with one CPU. */
export function run<T>(steps: Steps<T>): T {
  for (;;) {
    const step = steps.next();
    if (step.done) return step.value;
  }
}
