/** Boots with what the host has set up changed, scenarios as inputs, the machines that mutants are hunted on, and the inputs to begin with. */

import { expect, test } from 'vitest';
import { createHypervisor } from '#hyp/plain';
import { defaultProfile, profiles } from '#hypercall-abi';
import { parseScenario, runScenario } from '#lab/scenario/index';
import { bootOnce, bootVariants, firstBadBoot, firstCrampedBoot, roomy } from '#lab/zoo/boots';
import { corners } from '#lab/zoo/corners';
import { bootGrounds, grounds, uneven } from '#lab/zoo/grounds';
import { hypervisorByIdentity } from '#lab/zoo/index';
import { buildHypervisor } from '#lab/zoo/loader';
import { firstBadScenario } from '#lab/zoo/scenarios';
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

function noted(results: Set<number>, result: number): number {
  results.add(result);
  return result;
}

test('the boots come to every refusal, and to boots that succeed', () => {
  const results = new Set<number>();
  const watched: typeof createHypervisor = (machine, profile) => {
    const inner = createHypervisor(machine, profile);
    return { ...inner, boot: (parameters) => noted(results, inner.boot(parameters)) };
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

test.each(corners.map((text) => [parseScenario(text).title, text]))('corner: %s', (_, text) => {
  const report = runScenario(parseScenario(text), { hypervisors: hypervisorByIdentity, full: 64 });
  expect(report.steps.filter(({ asExpected }) => !asExpected)).toEqual([]);
  expect(report.violations).toEqual([]);
});

test.each<[string, string, string, string]>([
  [
    'hyp/entry/arguments.ts',
    'isAligned',
    '  const maskHi = lo === 0 ? (x[2 * m + 1]! - 1) | 0 : x[2 * m + 1]!;',
    '  const maskHi = x[2 * m + 1]!;',
  ],
  [
    'hyp/entry/arguments.ts',
    'wraps64',
    '  return (x[2 * a + 1]! >>> 0) + (x[2 * b + 1]! >>> 0) + carry >= TWO32;',
    '  return false;',
  ],
  [
    'hyp/pviommu.ts',
    'isFor',
    '  return memory.read32(at + KVM) === x[2] && memory.read32(at + KVM + 4) === x[3];',
    '  return memory.read32(at + KVM) === x[2];',
  ],
  [
    'hyp/pviommu.ts',
    'finalizePvIommus',
    '    if (isFree(h, at) || h.memory.read32(at + VM) !== 0 || !isFor(h, at)) continue;',
    '    if (isFree(h, at) || !isFor(h, at)) continue;',
  ],
  [
    'hyp/vm.ts',
    'makeVm',
    "  if (offset % 4 !== 0 || offset + VmDescription.size > PAGE_SIZE) return err('EINVAL');",
    "  if (offset % 4 !== 0) return err('EINVAL');",
  ],
  [
    'hyp/memcache.ts',
    'writeCount',
    '  const carry = delta < 0 ? (lo === 0 ? -1 : 0) : lo === -1 ? 1 : 0;',
    '  const carry = delta < 0 && lo === 0 ? -1 : 0;',
  ],
  [
    'hyp/guest-memory.ts',
    'donateToGuest',
    "  if (ipa + pages * PAGE_SIZE > IPA_END) return err('EINVAL');",
    "  if (ipa + pages / PAGE_SIZE > IPA_END) return err('EINVAL');",
  ],
  [
    'hyp/guest-memory.ts',
    'shareWithGuest',
    "  if (ipa + pages * PAGE_SIZE > IPA_END || !isRamRange(h, pa, pages)) return err('EINVAL');",
    "  if (ipa + pages / PAGE_SIZE > IPA_END || !isRamRange(h, pa, pages)) return err('EINVAL');",
  ],
  [
    'hyp/ownership.ts',
    'isDeviceRange',
    '  for (const { base } of h.smmus) if (pa >= base && pa + size <= base + SMMU_MMIO_SIZE) return true;',
    '  for (const { base } of h.smmus) if (pa >= base && pa + size < base + SMMU_MMIO_SIZE) return true;',
  ],
  [
    'hyp/pviommu.ts',
    'addVsid',
    "  for (let i = 0; i < PVIOMMU_COUNT && result === err('ENOENT'); i++) {",
    "  for (let i = 0; i <= PVIOMMU_COUNT && result === err('ENOENT'); i++) {",
  ],
  [
    'hyp/device-mmio.ts',
    'checkMmio',
    "    if (yield* isTaintedMmio(h, pa + i * PAGE_SIZE)) return err('EPERM');",
    "    if (yield* isTaintedMmio(h, pa)) return err('EPERM');",
  ],
  ['hyp/entry/guest.ts', 'requestDma', '  if (!restIsZero(h, 3)) return refuse(h);', ''],
  [
    'hyp/entry/rfc-v1.ts',
    'free',
    "  return id < 0 ? err('EINVAL') : invalid(yield* freeDomain(h, id));",
    '  return invalid(yield* freeDomain(h, id));',
  ],
  [
    'hyp/entry/rfc-v2.ts',
    'enterRfcV2',
    '  switch (x[1] === 0 ? (x[0]! - FUNCTION_ID_BASE) | 0 : -1) {',
    '  switch ((x[0]! - FUNCTION_ID_BASE) | 0) {',
  ],
  [
    'hyp/page-table-ops.ts',
    'makeRoom',
    '  if (h.unmapCacheCount + TABLE_ENTRIES > UNMAP_CACHE_ENTRIES) yield* completeUnmap(h);',
    '',
  ],
  [
    'hyp/guest-domain.ts',
    'allocGuestDomain',
    '  for (let index = 0; index < count - hostCount && id < 0; index++) {',
    '  for (let index = 0; index <= count - hostCount && id < 0; index++) {',
  ],
])('a corner shows what is wrong in %s, %s', (file, inFunction, before, after) => {
  const edit = { file, function: inFunction, before, after };
  const { createHypervisor: create } = buildHypervisor([{ id: 'corner', edits: [edit] }]);
  const bad = firstBadScenario(create);
  expect(corners.map((text) => parseScenario(text).title)).toContain(bad?.title);
});

test('nothing is wrong with any scenario on the correct hypervisor', () => {
  expect(firstBadScenario(createHypervisor)).toBeNull();
});

test('a hypervisor is found that goes on where memory for the tables of the identity domain has run out', () => {
  const before = "    if (!(yield* mapRange(table, base, base + size, prot, false))) return err('ENOMEM');";
  const after = '    yield* mapRange(table, base, base + size, prot, false);';
  const edit = { file: 'hyp/identity.ts', function: 'snapshotHostStage2', before, after };
  const { createHypervisor: create } = buildHypervisor([{ id: 'rootless', edits: [edit] }]);
  expect(firstCrampedBoot(create, defaultProfile)).not.toBeNull();
});

test('with too little memory boot is refused, and with enough it is not', () => {
  const results = new Set<number>();
  const watched: typeof createHypervisor = (machine, profile) => {
    const inner = createHypervisor(machine, profile);
    return { ...inner, boot: (parameters) => noted(results, inner.boot(parameters)) };
  };
  for (const profile of profiles) expect(firstCrampedBoot(watched, profile)).toBeNull();
  expect(results).toEqual(new Set([0, -12]));
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
