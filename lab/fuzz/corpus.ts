/** Inputs worth keeping, and which of them are changed next. */

import type { Prng } from '../random/prng.ts';
import type { Novelty } from './feedback.ts';

/** Percent of choices that go to the youngest inputs: what they have reached is explored least. */
const YOUNG = 50;
const YOUNGEST = 32;

export class Corpus {
  readonly inputs: Uint8Array[] = [];
  /** Numbers of the inputs that have shown new code: what others should know. */
  readonly shared: number[] = [];

  get size(): number {
    return this.inputs.length;
  }

  add(input: Uint8Array, novelty: Novelty): void {
    if (novelty === 'edges') this.shared.push(this.inputs.length);
    this.inputs.push(input);
  }

  /** Any input; undefined when there is none. */
  pick(prng: Prng): Uint8Array | undefined {
    return this.inputs[prng.below(this.inputs.length)];
  }

  /** An input to be changed; undefined when there is none. */
  pickParent(prng: Prng): Uint8Array | undefined {
    const { length } = this.inputs;
    if (!prng.chance(YOUNG)) return this.pick(prng);
    return this.inputs[length - 1 - prng.below(Math.min(length, YOUNGEST))];
  }
}
