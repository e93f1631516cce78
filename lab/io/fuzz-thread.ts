/** A worker of a fuzzing run in a thread of its own: gets epochs to do, answers with what came of them. */
import { parentPort, workerData } from 'node:worker_threads';
import { type FuzzJob, workerOf } from '../fuzz/job.ts';
import { tuneEngine } from './engine.ts';
import { Counters, type EpochOrder, type ThreadData } from './fuzz-messages.ts';

tuneEngine();
const { job, worker, shared } = workerData as ThreadData & { readonly job: FuzzJob };
const port = parentPort!;
const counters = new Counters(shared);
const fuzzer = workerOf(job, worker);
port.postMessage(fuzzer.names);

port.on('message', (order: EpochOrder) => {
  if (order.kind === 'restore') {
    fuzzer.restore(order.state);
    return;
  }
  const epoch = fuzzer.epoch(order.number, order.runs, order.adopted, order.known, () => counters.isOver);
  for (;;) {
    const { done, value } = epoch.next();
    counters.publish(fuzzer.counts);
    if (!done) continue;
    port.postMessage(value);
    return;
  }
});
