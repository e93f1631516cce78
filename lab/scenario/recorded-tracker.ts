/**
 * A life-cycle check that goes back in time: it keeps what crossed, and goes back by being told again. That is quick for
 * the lengths that runs of a fuzzer have, and the check itself stays free of it.
 */

import { type CallSpec, LifeCycleTracker } from '#hypercall-abi';

const FRAME = 16;

export class RecordedTracker extends LifeCycleTracker {
  private readonly specs: CallSpec[] = [];
  private readonly cpus: number[] = [];
  private frames = new Int32Array(256 * FRAME);

  override crossed(spec: CallSpec, cpu: number, before: Int32Array, after: Int32Array): void {
    const at = 2 * FRAME * this.specs.length;
    if (at === this.frames.length) {
      const frames = new Int32Array(2 * at);
      frames.set(this.frames);
      this.frames = frames;
    }
    this.frames.set(before, at);
    this.frames.set(after, at + FRAME);
    this.specs.push(spec);
    this.cpus.push(cpu);
    super.crossed(spec, cpu, before, after);
  }

  override reset(): void {
    super.reset();
    // The base constructor gets here before there are fields.
    if (this.specs !== undefined) this.backTo(0);
  }

  /** How many crossings there have been. */
  get length(): number {
    return this.specs.length;
  }

  /** Back to where `length` crossings had been. */
  backTo(length: number): void {
    if (length < this.specs.length) {
      this.specs.length = length;
      this.cpus.length = length;
    }
    super.reset();
    for (let i = 0; i < length; i++) {
      const at = 2 * FRAME * i;
      const before = this.frames.subarray(at, at + FRAME);
      super.crossed(this.specs[i]!, this.cpus[i]!, before, this.frames.subarray(at + FRAME, at + 2 * FRAME));
    }
  }
}
