/** Every engine that the zoo knows, by name. */

import { InputError, quoted } from '../input-error.ts';
import { directedEngine } from './directed-engine.ts';
import type { CpuClock, Engine } from './engine.ts';
import { fuzzEngine } from './fuzz-engine.ts';
import { randomEngine } from './random-engine.ts';

/** Makes an engine for the thread whose clock it gets. */
export type EngineMaker = (cpu: CpuClock) => Engine;

export const engineMakers: Readonly<Record<string, EngineMaker>> = {
  directed: directedEngine,
  random: randomEngine,
  fuzz: fuzzEngine,
};

export const engineNames: readonly string[] = Object.keys(engineMakers);

/** The engine of that name. @throws InputError naming those there are */
export function engineNamed(name: string, cpu: CpuClock): Engine {
  const make = Object.hasOwn(engineMakers, name) ? engineMakers[name] : undefined;
  if (make === undefined)
    throw new InputError({ file: 'engine', expected: `one of ${engineNames.join(', ')}`, got: quoted(name) });
  return make(cpu);
}
