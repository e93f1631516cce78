/** Boots with what the host has set up changed, the machines that mutants are hunted on, and the inputs to begin with. */

import { expect, test } from 'vitest';
import { createHypervisor } from '#hyp/plain';
import { defaultProfile, profiles } from '#hypercall-abi';
import { bootOnce, bootVariants, firstBadBoot, roomy } from '#lab/zoo/boots';
import { bootGrounds, grounds, uneven } from '#lab/zoo/grounds';
import { buildHypervisor } from '#lab/zoo/loader';
import { seedInputs } from '#lab/zoo/seeds';
import { preset, tiny, validateDescription } from '#machine';

test('the machines are machines, every profile has one, and the names are one each', () => {
  for (const { machine } of [...grounds, ...bootGrounds]) expect(validateDescription(machine)).toEqual(machine);
  expect(new Set(grounds.map(({ profile }) => profile.name))).toEqual(new Set(profiles.map(({ name }) => name)));
  expect(new Set(grounds.map(({ machine, profile }) => `${machine.name} ${profile.name}`)).size).toBe(grounds.length);
});

test.each(bootGrounds.map((one) => [one.profile.name, one.machine.name, one] as const))(
  'nothing is wrong with any boot of %s on %s',
  (_, __, { machine, profile }) => {
    expect(firstBadBoot(createHypervisor, machine, profile)).toBeNull();
  },
);

test('the boots come to every refusal, and to boots that succeed', () => {
  const results = new Set<number>();
  const watched: typeof createHypervisor = (machine, profile) => {
    const inner = createHypervisor(machine, profile);
    const boot: typeof inner.boot = (parameters) => {
      const result = inner.boot(parameters);
      results.add(result);
      return result;
    };
    return { ...inner, boot };
  };
  expect(firstBadBoot(watched, roomy(tiny), defaultProfile)).toBeNull();
  expect([...results].sort((a, b) => a - b)).toEqual([-110, -22, -5, -1, 0]);
});

test.each<[string, string, string, string]>([
  [
    'an unknown format is accepted',
    "  if ((config & ~0x307ff) !== 0 || ((config >>> 16) & 3) > 1 || log2 > sidBits) return err('EINVAL');",
    "  if (((config >>> 16) & 3) > 1 || log2 > sidBits) return err('EINVAL');",
    'spec',
  ],
  [
    'of an event queue the first page alone is shared',
    '    result = yield* shareHyp(h, evtq + at);',
    '    result = at === 0 ? yield* shareHyp(h, evtq) : 0;',
    'spec',
  ],
  [
    'an event queue need not be aligned to its size',
    "  if (evtqLog2 > evtqMax || evtq % Math.max(PAGE_SIZE, evtqBytes) !== 0) return err('EINVAL');",
    "  if (evtqLog2 > evtqMax || evtq % PAGE_SIZE !== 0) return err('EINVAL');",
    'spec',
  ],
  ['errors are not acknowledged', '  h.bus.write32(base + Register.GERRORN, errors);', '', 'structure'],
])('a hypervisor is found by which %s', (name, before, after, property) => {
  const edit = { file: 'hyp/boot.ts', function: 'takeSmmu', before, after };
  const { createHypervisor: create } = buildHypervisor([{ id: name.replaceAll(' ', '-'), edits: [edit] }]);
  const bad = firstBadBoot(create, roomy(tiny), defaultProfile);
  expect(bad?.violation.property).toBe(property);
  expect(bootOnce(create, roomy(tiny), defaultProfile, bootVariants[0]!, 0)).toBeNull();
});

test('inputs to begin with show code, and are the same for the same seed', () => {
  const ground = { machine: preset('tiny'), profile: defaultProfile };
  const inputs = seedInputs(ground, 1, 30);
  expect(inputs.length).toBeGreaterThan(5);
  expect(inputs.length).toBeLessThan(31);
  expect(seedInputs(ground, 1, 30)).toEqual(inputs);
  expect(seedInputs(ground, 2, 30)).not.toEqual(inputs);
  expect(uneven.ram.some(({ base }) => base > 2 ** 32)).toBe(true);
});
