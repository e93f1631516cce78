/** Calls made up of the arguments of others. */
import { expect, test } from 'vitest';
import { createHypervisor } from '#hyp/plain';
import { type CallResult, defaultProfile } from '#hypercall-abi';
import { tiny, twoSmmus } from '#machine';
import { callStep } from '../../lab/random/call-step.ts';
import { StepGenerator } from '../../lab/random/generate.ts';
import { guestStep } from '../../lab/random/guest-devices.ts';
import type { Vm } from '../../lab/random/known.ts';
import { MixedSteps } from '../../lab/random/mixing.ts';
import { Picks } from '../../lab/random/picks.ts';
import { Prng } from '../../lab/random/prng.ts';
import { World } from '../../lab/random/world.ts';
import { makeExecutor, type Outcome, type Step } from '../../lab/scenario/index.ts';

const allowed = new Set(defaultProfile.calls.map(({ name }) => name));
const good: CallResult = { errno: 0, value: 0, supported: true, request: null };
const ok: Outcome = { kind: 'call', result: good, spec: undefined };
const [d1, d2] = [{ name: 'd1' }, { name: 'd2' }];

/** A VM that runs on CPU 0, whose guest is about to have a domain. */
function guest(): Vm {
  return {
    name: 'vm1',
    stage: 'live',
    isProtected: true,
    page: 'vm1k',
    loadedOn: 0,
    guestPages: [],
    pviommu: 7,
    routes: [],
    claimed: [],
    domains: [{ name: 'g1', id: 0, live: false, attached: [], mappings: [] }],
  };
}

/** As text, what is mixed from those steps. */
function mixed(steps: readonly Step[], prepare: (world: World) => void = () => {}): Set<string> {
  const world = new World(defaultProfile);
  prepare(world);
  for (const step of steps) {
    const result = { again: false, status: 0, value: 256, exit: null, token: null };
    world.observe(step, step.kind === 'guest' ? ({ kind: 'guest', result } as unknown as Outcome) : ok);
  }
  const mixing = new MixedSteps(new Picks(twoSmmus, world, new Prng(1)), allowed);
  return new Set(Array.from({ length: 4000 }, () => JSON.stringify({ ...mixing.mix(), cpu: 0 })));
}

test('the domain of one call meets the stream of another', () => {
  const attach = (domain: typeof d1, name: string): Step =>
    callStep(defaultProfile, 0, 'attach_dev', { iommu: 0, domain, endpoint: { name } });
  const steps = mixed([attach(d1, 'disk'), attach(d2, 'net')]);
  const detach = (domain: typeof d1, name: string): string =>
    JSON.stringify({ ...callStep(defaultProfile, 0, 'detach_dev', { domain, endpoint: { name } }), cpu: 0 });
  for (const domain of [d1, d2]) for (const name of ['disk', 'net']) expect(steps).toContain(detach(domain, name));
});

test('what a guest got is used by the host, by its number', () => {
  const steps = mixed([{ ...guestStep(0, 'guest_alloc_domain', {}), bind: 'g1' }], (world) => {
    world.vms.push(guest());
  });
  const free = callStep(defaultProfile, 0, 'free_domain', { domain: 256 });
  expect(steps).toContain(JSON.stringify({ ...free, cpu: 0 }));
});

test('nothing is mixed before anything came to something', () => {
  const mixing = new MixedSteps(new Picks(tiny, new World(defaultProfile), new Prng(1)), allowed);
  expect(mixing.mix()).toBeNull();
});

test('a step is repeated as long as it succeeds, and no longer', () => {
  const generator = new StepGenerator(tiny, [...allowed], new Prng(3), [], defaultProfile);
  const { recipes } = generator;
  const at = (name: string): number => recipes.findIndex((recipe) => recipe.name === name);
  const lengths = new Set<number>();
  for (let seed = 0; seed < 300; seed++) {
    generator.reset(new Prng(3, seed));
    const first = generator.nextBy(at('reclaimable'));
    generator.world.observe(first, ok);
    let length = 0;
    for (let step = generator.nextBy(at('repeat')); step === first; step = generator.nextBy(at('garbage'))) {
      length++;
      generator.world.observe(step, ok);
    }
    lengths.add(length);
  }
  expect([...lengths].filter((length) => length > 32).length).toBeGreaterThan(0);
  generator.reset(new Prng(1));
  const first = generator.nextBy(at('reclaimable'));
  generator.world.observe(first, { ...ok, result: { ...good, errno: -22 } });
  expect(generator.nextBy(at('repeat'))).not.toBe(first);
});

test.each(['host_share_hyp', 'host_donate_hyp_mmio', 'pviommu_attach'] as const)(
  'no recipe comes to %s where it may not be called',
  (call) => {
    const calls = [...allowed].filter((name) => name !== call);
    const { session, executor } = makeExecutor({ machine: twoSmmus, hypervisor: createHypervisor, full: 'never' });
    const generator = new StepGenerator(twoSmmus, calls, new Prng(1), session.takenPages);
    const made = new Set<string>();
    for (let run = 0; run < 5; run++) {
      executor.reset();
      generator.reset(new Prng(2, run));
      for (let i = 0; i < 150; i++) {
        const step = generator.next();
        if (step.kind === 'call') made.add(step.call);
        generator.world.observe(step, executor.perform(step));
      }
    }
    expect(made).not.toContain(call);
    expect(made.size).toBeGreaterThan(20);
  },
);

test('nor does a rival of a call in progress', () => {
  const calls = [...allowed].filter((name) => name !== 'vcpu_put' && name !== 'free_domain');
  const generator = new StepGenerator(twoSmmus, calls, new Prng(1));
  const made = new Set<string>();
  for (let run = 0; run < 400; run++) {
    generator.reset(new Prng(3, run));
    generator.world.vms.push({ ...guest(), claimed: [0] });
    const step = generator.rival(callStep(defaultProfile, 1, 'attach_dev', { domain: 256 }));
    for (const one of [step, run % 2 === 0 ? generator.next() : null]) if (one?.kind === 'call') made.add(one.call);
  }
  expect(made).not.toContain('vcpu_put');
  expect(made).not.toContain('free_domain');
  expect(made).toContain('start_teardown_vm');
  expect(made).toContain('unmap_pages');
});
