/** A thread that hunts in the zoo: gets one order after the other, answers with what came of each. */
import { parentPort } from 'node:worker_threads';
import { engineNamed } from '../zoo/engines.ts';
import { cardOf } from '../zoo/identity.ts';
import { tuneEngine } from './engine.ts';
import { threadCpuSeconds } from './thread-cpu.ts';
import type { HuntAnswer, HuntOrder } from './zoo-messages.ts';

tuneEngine();
const port = parentPort!;

port.on('message', ({ card, engine, seed, budget }: HuntOrder) => {
  let answer: HuntAnswer;
  try {
    answer = { result: engineNamed(engine, threadCpuSeconds).hunt(cardOf(card), seed, budget) };
  } catch (error) {
    answer = { error: error instanceof Error ? (error.stack ?? error.message) : String(error) };
  }
  port.postMessage(answer);
});
