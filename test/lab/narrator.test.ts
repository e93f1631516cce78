import { expect, test } from 'vitest';
import { attackScenario } from '#lab/demo/attack';
import { findDefect } from '#lab/demo/defects';
import { renderStory, wrap } from '#lab/narrator/render';
import { tell } from '#lab/narrator/tell';
import { parseScenario } from '#lab/scenario/index';
import { runScenario } from '#lab/scenario/run';
import { hypervisorByIdentity } from '#lab/zoo/index';
import { scenarios } from '#scenarios';

test("the demo's attack comes to what it expects, and its story tells the refusal and the event", () => {
  const scenario = parseScenario(attackScenario, 'attack');
  expect(runScenario(scenario, { hypervisors: hypervisorByIdentity, full: 'every' })).toMatchObject({
    ok: true,
    violations: [],
  });
  const { steps, violations } = tell(scenario, hypervisorByIdentity('postern'));
  expect(violations).toEqual([]);
  const told = steps.flatMap(({ sentence, details }) => [sentence, ...details]);
  expect(told).toContain('The device disk reads at IOVA 0x10000 and reaches page secret.');
  expect(told).toContain('The host wants to give page secret to a guest; the hypervisor answers -EINVAL.');
  expect(told).toContain(
    'The SMMU stops stream 0x0 with F_TRANSLATION and records it: 0x0000000000000010 0x0000020800000000 0x0000000000010000 0x0000000000000000.',
  );
  expect(told.at(-1)).toBe('The host reads page secret: the hypervisor injects an abort.');
});

test('the order of release and invalidation is told as it is', () => {
  const scenario = parseScenario(attackScenario, 'attack');
  const unmap = (identity: string): readonly string[] =>
    tell({ ...scenario, hypervisor: identity }, hypervisorByIdentity(identity)).steps.find(({ text }) =>
      text.includes('unmap_pages'),
    )!.details;
  const kinds = (details: readonly string[]): string[] =>
    details.map(
      (text) => /clears the entry|DMA reference .* dropped|is queued|CMD_SYNC completes/.exec(text)?.[0] ?? text,
    );
  const released = 'DMA reference of page secret is dropped';
  expect(kinds(unmap('postern'))).toEqual(['clears the entry', 'is queued', 'CMD_SYNC completes', released]);
  expect(kinds(unmap('postern+Z14'))).toEqual(['clears the entry', released, 'is queued', 'CMD_SYNC completes']);
  expect(unmap('postern+Z14')[1]).toContain('while the SMMU may still hold the old entry');
  expect(unmap('postern')[3]).not.toContain('while the SMMU may still hold');
});

/** The defects of the tour. */
test.each(['Z14', 'Z23'])('%s is found by random calls, shrunk to a minimum, and told with its violation', (id) => {
  const search = findDefect(id, 7, 200_000);
  let step = search.next();
  while (!step.done) step = search.next();
  const found = step.value!;
  expect(found.oneMinimal).toBe(true);
  const { hypervisor, steps } = found.scenario;
  expect(hypervisor).toBe(`postern+${id}`);
  expect(runScenario(found.scenario, { hypervisors: hypervisorByIdentity }).ok).toBe(true);
  // On the correct hypervisor the same steps violate nothing.
  const correct = { ...found.scenario, hypervisor: 'postern', steps: steps.filter(({ kind }) => kind !== 'expect') };
  expect(runScenario(correct, { hypervisors: hypervisorByIdentity }).violations).toEqual([]);
  // Which property sees it first depends on what the random host does with the page.
  const told = found.story.steps.at(-1)!.violations.map(({ property }) => property);
  expect(told).toContain(found.signature.property);
  expect(found.diff).toMatch(/^--- a\/hyp\//);
});

test.each(Object.entries(scenarios))('the scenario of %s is told with its violation', (id, text) => {
  const scenario = parseScenario(text, id);
  const { steps } = tell(scenario, hypervisorByIdentity(scenario.hypervisor));
  const told = steps.filter(({ violations }) => violations.length > 0);
  expect(told.length).toBeGreaterThan(0);
  expect(steps.every(({ sentence }) => /^[A-Z].*[.:]$/s.test(sentence))).toBe(true);
});

test('the same seed finds the same', () => {
  const run = (): string => {
    const search = findDefect('Z23', 3, 200_000);
    let step = search.next();
    while (!step.done) step = search.next();
    return step.value!.share;
  };
  expect(run()).toBe(run());
});

test('stories wrap at the width they are given and number their steps', () => {
  expect(wrap('one two three', 9, '  ', '> ')).toBe('  one two\n  > three\n');
  const story = tell(parseScenario(attackScenario, 'attack'), hypervisorByIdentity('postern'));
  const text = renderStory(story, 60);
  expect(text.split('\n').filter((line) => /^ *\d+\. @?\w/.test(line))).toHaveLength(17);
  const prose = text.split('\n').filter((line) => line.startsWith('     '));
  expect(Math.max(...prose.map((line) => line.length))).toBeLessThanOrEqual(60);
});
