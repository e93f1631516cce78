/** The text of `tables.ts` from compiled life cycles. */

import { FORBIDDEN, type LifeCycle } from './life-cycle.ts';

/** Source of `tables.ts`, in the project's format but for line breaks. */
export function renderTables(lifeCycles: readonly LifeCycle[]): string {
  return [
    '/**',
    ' * The life cycles as dense tables, compiled from the statecharts beside this file. Edit those instead, and then',
    ' * `UPDATE=1 npx vitest run test/hypercall-abi/life-cycles.test.ts && npm run format`.',
    ' */',
    '',
    "import { FORBIDDEN, type LifeCycle } from './life-cycle.ts';",
    '',
    'const X = FORBIDDEN;',
    ...lifeCycles.map(renderTable),
    '',
    '/** Every life cycle by its name. */',
    `export const lifeCycles = { ${lifeCycles.map(({ name }) => `${name}: ${name}LifeCycle`).join(', ')} } as const;`,
    '',
  ].join('\n');
}

const text = (value: string) => `'${value.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`;

function renderTable({ name, description, initial, states, events, rules, next }: LifeCycle): string {
  const width = events.length;
  return [
    '',
    `export const ${name}LifeCycle: LifeCycle = {`,
    `  name: ${text(name)},`,
    `  description: ${text(description)},`,
    `  initial: ${initial},`,
    '  states: [',
    ...states.map((state) => `    { name: ${text(state.name)}, description: ${text(state.description)} },`),
    '  ],',
    '  events: [',
    ...events.map((event) => `    { name: ${text(event.name)}, rule: ${text(event.rule)} },`),
    '  ],',
    '  rules: {',
    ...Object.entries(rules).map(([key, rule]) => `    ${text(key)}: ${text(rule)},`),
    '  },',
    '  next: Uint8Array.from(',
    '    [',
    ...states.map((state, i) => {
      const row = [...next.subarray(i * width, (i + 1) * width)].map((to) => (to === FORBIDDEN ? 'X' : to));
      return `      [${row.join(', ')}], // ${state.name}`;
    }),
    '    ].flat(),',
    '  ),',
    '};',
  ].join('\n');
}
