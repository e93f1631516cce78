/** Inputs worth keeping, and which of them are changed next. */

import type { Prng } from '../random/prng.ts';
import type { Novelty } from './feedback.ts';

/** Percent of choices that go to inputs which have shown new code or a new row, and to any of all. */
const OF_BEHAVIOUR = 40;
const OF_ALL = 20;
/** The others go to so many of the youngest: what they have reached is explored least. */
const YOUNGEST = 32;

export class Corpus {
  readonly inputs: Uint8Array[] = [];
  /** Numbers of the inputs that have shown new code or a new row: what others should know. */
  readonly shared: number[] = [];

  get size(): number {
    return this.inputs.length;
  }

  add(input: Uint8Array, novelty: Novelty): void {
    if (novelty === 'behaviour') this.shared.push(this.inputs.length);
    this.inputs.push(input);
  }

  /** Any input; undefined when there is none. */
  pick(prng: Prng): Uint8Array | undefined {
    return this.inputs[prng.below(this.inputs.length)];
  }

  /** An input to be changed; undefined when there is none. */
  pickParent(prng: Prng): Uint8Array | undefined {
    const { length } = this.inputs;
    const kind = prng.below(100);
    if (kind < OF_BEHAVIOUR && this.shared.length > 0) return this.inputs[this.shared[prng.below(this.shared.length)]!];
    if (kind < OF_BEHAVIOUR + OF_ALL) return this.pick(prng);
    return this.inputs[length - 1 - prng.below(Math.min(length, YOUNGEST))];
  }
}
