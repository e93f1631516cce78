/** Who does the hunts of the zoo: threads, or, where this program is not built, this thread. */
import { existsSync } from 'node:fs';
import { setImmediate } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import type { HuntResult } from '../zoo/engine.ts';
import { engineNamed } from '../zoo/engines.ts';
import { cardOf } from '../zoo/identity.ts';
import { threadCpuSeconds } from './thread-cpu.ts';
import type { HuntAnswer, HuntOrder } from './zoo-messages.ts';

/** Does one hunt after the other. */
export interface Hunter {
  /** @throws Error what the hunt threw */
  hunt(order: HuntOrder): Promise<HuntResult>;
  /** End at once, in the middle of a hunt if need be: its promise is never settled then. */
  close(): Promise<void>;
}

const THREAD = new URL('./zoo-thread.js', import.meta.url);

export function startHunters(count: number): Hunter[] {
  if (!existsSync(fileURLToPath(THREAD))) return [localHunter];
  return Array.from({ length: count }, () => new ThreadHunter());
}

const localHunter: Hunter = {
  async hunt({ card, engine, seed, budget }) {
    await setImmediate();
    return engineNamed(engine, threadCpuSeconds).hunt(cardOf(card), seed, budget);
  },
  async close() {},
};

class ThreadHunter implements Hunter {
  private readonly thread = new Worker(THREAD);

  hunt(order: HuntOrder): Promise<HuntResult> {
    return new Promise((resolve, reject) => {
      const onMessage = (answer: HuntAnswer): void => {
        this.thread.off('error', onError);
        if ('result' in answer) resolve(answer.result);
        else reject(new Error(`${order.engine} hunting ${order.card}, seed ${order.seed}: ${answer.error}`));
      };
      const onError = (error: unknown): void => {
        this.thread.off('message', onMessage);
        reject(error as Error);
      };
      this.thread.once('message', onMessage).once('error', onError);
      this.thread.postMessage(order);
    });
  }

  async close(): Promise<void> {
    await this.thread.terminate();
  }
}
