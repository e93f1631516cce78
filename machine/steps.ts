/**
 * What a generator of the hypervisor yields: that it is about to touch something that another CPU, or a device,
 * could touch too. The race finder switches CPUs there; the plain build (see `lab/transform/erase.ts`) has no such points.
 */
export interface Touch {
  readonly kind: TouchKind;
  /** Where: a physical address, or, for a lock or a queue, the address of its record. */
  readonly at: number;
}

/** What is about to happen at the place that a {@link Touch} names. */
export type TouchKind = 'lock' | 'unlock' | 'read' | 'write' | 'barrier' | 'queue' | 'mmio';

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
