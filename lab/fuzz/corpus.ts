/** Inputs worth keeping, and which of them are changed next. */

import type { Prng } from '../random/prng.ts';

/** Percent of choices that go to the youngest inputs: what they have reached is explored least. */
const YOUNG = 50;
const YOUNGEST = 32;

export class Corpus {
  readonly inputs: Uint8Array[] = [];

  get size(): number {
    return this.inputs.length;
  }

  add(input: Uint8Array): void {
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
