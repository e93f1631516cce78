/** Lets signals and the screen have their turn in the middle of long work. */
import { setImmediate } from 'node:timers/promises';

export async function breathe(): Promise<void> {
  await setImmediate();
}
