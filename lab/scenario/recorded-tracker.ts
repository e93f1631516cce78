/**
 * A life-cycle check that goes back in time: it keeps what crossed, and goes back by being told again. That is quick for
 * the lengths that runs of a fuzzer have, and the check itself stays free of it.
 */

import { type CallSpec, type GuestCallSpec, getNumber, LifeCycleTracker, setNumber } from '#hypercall-abi';

const FRAME = 16;

/** What an entry was: a call of the host, one of a guest, or an access of the host. */
type Crossing =
  | { readonly kind: 'host'; readonly spec: CallSpec }
  | { readonly kind: 'guest'; readonly spec: GuestCallSpec }
  | { readonly kind: 'access' };
const ACCESS: Crossing = { kind: 'access' };

export class RecordedTracker extends LifeCycleTracker {
  private readonly crossings: Crossing[] = [];
  private readonly cpus: number[] = [];
  private frames = new Int32Array(256 * FRAME);

  override crossed(spec: CallSpec, cpu: number, before: Int32Array, after: Int32Array): void {
    this.record({ kind: 'host', spec }, cpu, before, after);
    super.crossed(spec, cpu, before, after);
  }

  override guestCrossed(spec: GuestCallSpec, cpu: number, before: Int32Array, after: Int32Array): void {
    this.record({ kind: 'guest', spec }, cpu, before, after);
    super.guestCrossed(spec, cpu, before, after);
  }

  override accessed(ipa: number): void {
    if (!this.followsAccess(ipa)) return;
    const frame = new Int32Array(FRAME);
    setNumber(frame, 0, ipa);
    this.record(ACCESS, 0, frame, frame);
    super.accessed(ipa);
  }

  override reset(): void {
    super.reset();
    // The base constructor gets here before there are fields.
    if (this.crossings !== undefined) this.backTo(0);
  }

  /** How many crossings there have been. */
  get length(): number {
    return this.crossings.length;
  }

  /** Back to where `length` crossings had been. */
  backTo(length: number): void {
    if (length < this.crossings.length) {
      this.crossings.length = length;
      this.cpus.length = length;
    }
    super.reset();
    for (let i = 0; i < length; i++) {
      const at = 2 * FRAME * i;
      const before = this.frames.subarray(at, at + FRAME);
      this.replay(this.crossings[i]!, this.cpus[i]!, before, this.frames.subarray(at + FRAME, at + 2 * FRAME));
    }
  }

  private replay(crossing: Crossing, cpu: number, before: Int32Array, after: Int32Array): void {
    switch (crossing.kind) {
      case 'host':
        super.crossed(crossing.spec, cpu, before, after);
        break;
      case 'guest':
        super.guestCrossed(crossing.spec, cpu, before, after);
        break;
      case 'access':
        super.accessed(getNumber(before, 0));
        break;
    }
  }

  private record(crossing: Crossing, cpu: number, before: Int32Array, after: Int32Array): void {
    const at = 2 * FRAME * this.crossings.length;
    if (at === this.frames.length) {
      const frames = new Int32Array(2 * at);
      frames.set(this.frames);
      this.frames = frames;
    }
    this.frames.set(before, at);
    this.frames.set(after, at + FRAME);
    this.crossings.push(crossing);
    this.cpus.push(cpu);
  }
}
