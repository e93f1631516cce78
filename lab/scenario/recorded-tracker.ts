/**
 * A life-cycle check that goes back in time: it keeps what it was told, and goes back by being told again. That is quick
 * for the lengths that runs of a fuzzer have, and the check itself stays free of it.
 */

import { type CallSpec, type GuestCallSpec, LifeCycleTracker } from '#hypercall-abi';

const FRAME = 16;

/** A crossing of the host or of a guest, whose registers are kept apart; or an access of the host, by its address. */
type Told =
  | { readonly kind: 'host'; readonly spec: CallSpec; readonly cpu: number }
  | { readonly kind: 'guest'; readonly spec: GuestCallSpec; readonly cpu: number }
  | { readonly kind: 'access'; readonly ipa: number };

export class RecordedTracker extends LifeCycleTracker {
  private readonly told: Told[] = [];
  /** Registers before and after, of each thing that was told. */
  private frames = new Int32Array(256 * FRAME);

  private isMuted = false;

  /** Nobody knows what has happened: say nothing more until the machine is taken back. */
  mute(): void {
    this.isMuted = true;
  }

  override crossed(spec: CallSpec, cpu: number, before: Int32Array, after: Int32Array): void {
    if (this.isMuted) return;
    this.keep({ kind: 'host', spec, cpu }, before, after);
    super.crossed(spec, cpu, before, after);
  }

  override guestCrossed(spec: GuestCallSpec, cpu: number, before: Int32Array, after: Int32Array): void {
    if (this.isMuted) return;
    this.keep({ kind: 'guest', spec, cpu }, before, after);
    super.guestCrossed(spec, cpu, before, after);
  }

  override accessed(ipa: number): void {
    if (this.isMuted) return;
    this.keep({ kind: 'access', ipa });
    super.accessed(ipa);
  }

  override reset(): void {
    super.reset();
    // The base constructor gets here before there are fields.
    if (this.told === undefined) return;
    this.told.length = 0;
    this.isMuted = false;
  }

  /** How much it was told. */
  get length(): number {
    return this.told.length;
  }

  /** Back to where it had been told so much. */
  backTo(length: number): void {
    this.told.length = length;
    this.isMuted = false;
    super.reset();
    this.told.forEach((one, i) => {
      const at = 2 * FRAME * i;
      const before = this.frames.subarray(at, at + FRAME);
      const after = this.frames.subarray(at + FRAME, at + 2 * FRAME);
      if (one.kind === 'host') super.crossed(one.spec, one.cpu, before, after);
      else if (one.kind === 'guest') super.guestCrossed(one.spec, one.cpu, before, after);
      else super.accessed(one.ipa);
    });
  }

  private keep(one: Told, before?: Int32Array, after?: Int32Array): void {
    const at = 2 * FRAME * this.told.length;
    if (at === this.frames.length) {
      const frames = new Int32Array(2 * at);
      frames.set(this.frames);
      this.frames = frames;
    }
    if (before !== undefined) this.frames.set(before, at);
    if (after !== undefined) this.frames.set(after, at + FRAME);
    this.told.push(one);
  }
}
