/** A scenario as a test for vitest: it runs on the hypervisor that the scenario names, and every step must come out as it says. */
import { printScenario, type Scenario } from '../scenario/index.ts';

/** The test, as the text of a TypeScript module. */
export function vitestModule(scenario: Scenario): string {
  const title = scenario.title ?? 'a scenario';
  const text = printScenario(scenario).replaceAll('\\', '\\\\').replaceAll('`', '\\`').replaceAll('${', '\\${');
  return `import { hypervisorByIdentity, parseScenario, runScenario } from 'postern/lab';
import { expect, test } from 'vitest';

const scenario = parseScenario(\`${text}\`);

test(${JSON.stringify(title)}, () => {
  const report = runScenario(scenario, { hypervisors: hypervisorByIdentity });
  const different = report.steps.filter(({ asExpected }) => !asExpected);
  expect(different.map(({ text, expected, result }) => ({ text, expected, result }))).toEqual([]);
});
`;
}
