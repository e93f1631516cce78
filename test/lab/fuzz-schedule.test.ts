/** Which CPU goes on, in inputs whose calls overlap. */
import { expect, test } from 'vitest';
import { defaultProfile } from '#hypercall-abi';
import { RECORD_BYTES, RecordChoices } from '../../lab/fuzz/records.ts';
import { Schedule } from '../../lab/fuzz/schedule.ts';
import { callStep } from '../../lab/random/call-step.ts';
import { Prng } from '../../lab/random/prng.ts';
import type { Outcome, Step } from '../../lab/scenario/index.ts';

const init = callStep(defaultProfile, 0, 'init_vm', { kvm: { page: 'k', byte: 16 }, pgd: { page: 't' } });
const load = callStep(defaultProfile, 0, 'vcpu_load', {});
const rival = callStep(defaultProfile, 0, 'reserve_vm', {});

/** Steps of a schedule whose calls never end by themselves. */
function scheduled(make: () => Step, seed: number): Step[] {
  const choices = new RecordChoices();
  const schedule = new Schedule(2, choices);
  const prng = new Prng(seed);
  const record = new Uint8Array(RECORD_BYTES);
  const steps: Step[] = [];
  for (let n = 0; n < 2000; n++) {
    record.forEach((_, i) => {
      record[i] = prng.next();
    });
    choices.open(record, 0);
    const step = schedule.next({ make, rival: () => rival, isContended: () => false }, 2 * n);
    steps.push(step);
    schedule.observe(step, outcomeOf(step));
  }
  return steps;
}

function outcomeOf(step: Step): Outcome {
  if (step.kind === 'drain') return { kind: 'drain', drained: true };
  if (step.kind === 'write') return { kind: 'write', access: 'ok' };
  const isLeft = 'yields' in step && step.yields !== undefined && step.yields !== 'end';
  return { kind: 'progress', progress: isLeft ? 'runs' : 'ended', ended: null };
}

test('beside a call in progress there are stores to what it reads, and calls about the same', () => {
  const steps = scheduled(() => init, 1);
  const stores = steps.flatMap((step) => (step.kind === 'write' ? [step] : []));
  const places = new Set(stores.map(({ at }) => JSON.stringify(at)));
  expect(places).toContain(JSON.stringify({ page: 'k', byte: 24 }));
  expect(places).toContain(JSON.stringify({ page: 't', byte: 0 }));
  expect(steps.some((step) => step.kind === 'call' && step.call === 'reserve_vm')).toBe(true);
  expect(steps.some((step) => step.kind === 'drain')).toBe(true);
});

test('no CPU does two things at once, and few calls overlap', () => {
  const busy = [false, false];
  let begun = 0;
  for (const step of scheduled(() => init, 2)) {
    if (!('cpu' in step)) continue;
    const isRun = step.kind === 'run' || step.kind === 'drain';
    expect(busy[step.cpu]).toBe(isRun);
    if (step.kind === 'write' || step.kind === 'drain') continue;
    if (!isRun) begun++;
    const { progress } = outcomeOf(step) as Extract<Outcome, { kind: 'progress' }>;
    busy[step.cpu] = progress === 'runs';
    expect(begun).toBeLessThanOrEqual(4);
    if (!busy.includes(true)) begun = 0;
  }
});

test('what means something on one CPU stays there', () => {
  const cpus = scheduled(() => load, 3).flatMap((step) =>
    step.kind === 'call' && step.call === 'vcpu_load' ? [step.cpu] : [],
  );
  expect(new Set(cpus)).toEqual(new Set([0]));
});
