/** The pages of docs/properties: one for each property, and their index. */

import { createHypervisor } from '#hyp/plain';
import { PROPERTIES, PROPERTY_NAMES, SOMETIMES } from '#lab/oracle/index';
import { CandidateRunner, parseScenario, printScenario, type Step } from '#lab/scenario/index';
import type { HypervisorFactory } from '#lab/session/session';
import { buildHypervisor } from '#lab/zoo/loader';
import { preset } from '#machine';
import { examples, type PropertyExample, textOf } from './examples.ts';
import { prose } from './prose.ts';

const COLUMNS = 120;

/** Lines of at most {@link COLUMNS} columns. */
function wrapped(text: string): string {
  const lines = [''];
  for (const word of text.split(' ')) {
    const line = lines.at(-1)!;
    if (line === '') lines[lines.length - 1] = word;
    else if (line.length + 1 + word.length <= COLUMNS) lines[lines.length - 1] = `${line} ${word}`;
    else lines.push(word);
  }
  return lines.join('\n');
}

/** The steps of an example with what they come to on that hypervisor, and what is found there. */
export function recorded(example: PropertyExample, hypervisor: HypervisorFactory): readonly Step[] {
  const { steps, machine } = parseScenario(textOf(example), example.property);
  const judged = example.twin ? { twin: true } : {};
  return new CandidateRunner(preset(machine), hypervisor, 'every', judged).record(steps);
}

function scenario(example: PropertyExample, steps: readonly Step[], title: string): string {
  const { profile, machine, hypervisor } = parseScenario(textOf(example), example.property);
  return printScenario({ profile, machine, hypervisor, title, steps }).trimEnd();
}

/** The hypervisor of an example's bad half. */
export function broken({ property, edit }: PropertyExample): HypervisorFactory {
  return buildHypervisor([{ id: property, edits: [edit] }]).createHypervisor;
}

/** The change of an example: where, and the lines that go and come. What stays of them is context. */
function changed({ edit: { file, function: name, before, after } }: PropertyExample): string {
  const gone = before.split('\n');
  const come = after === '' ? [] : after.split('\n');
  const lines = [
    ...gone.filter((line) => !come.includes(line)).map((line) => `-${line}`),
    ...come.map((line) => `${gone.includes(line) ? ' ' : '+'}${line}`),
  ];
  return [`${file}, ${name}:`, ...lines].join('\n');
}

/** The page of one property. */
export function renderPage(example: PropertyExample): string {
  const { property } = example;
  const { title, statement, source, needs } = PROPERTIES[property];
  const { why, how, change } = prose[property];
  const twin = example.twin
    ? ' They are made on two machines; a scenario that expects this property is by itself.'
    : '';
  return `# ${title}

${wrapped(statement)}

| | |
|---|---|
| name | \`${property}\`: \`expect violation ${property}\` in a scenario, \`--properties ${property}\` and \`--without ${property}\` on the command line |
| source | ${source} |
| needs | ${needs} |

## Why it matters

${wrapped(why)}

## How it is checked

${wrapped(how)}

## A good example

${wrapped(`What these steps come to on the hypervisor as it is.${twin}`)}

\`\`\`scenario
${scenario(example, recorded(example, createHypervisor), `${title}: kept`)}
\`\`\`

## A bad example

${wrapped(`The same steps on a hypervisor in which ${change}:`)}

\`\`\`diff
${changed(example)}
\`\`\`

\`\`\`text
${scenario(example, recorded(example, broken(example)), `${title}: broken`)}
\`\`\`

[All properties](README.md); defects that were real, and the properties that find them: [the zoo](../zoo.md)
`;
}

/** The index of the pages, with the states that a run should have been in. */
export function renderIndex(): string {
  const rows = PROPERTY_NAMES.map((name) => {
    const { title, statement } = PROPERTIES[name];
    return `| [\`${name}\`](${name}.md) | ${title} | ${statement} |`;
  });
  const states = Object.entries(SOMETIMES).map(([name, { statement }]) => `| \`${name}\` | ${statement} |`);
  return `# Properties

${wrapped(
  'What the lab checks, by name. All are on; `--properties a,b` leaves only those on, `--without a` leaves one out, and ' +
    'what is off is not reported. The statement that stands behind "nothing found" says which were off.',
)}

| name | | statement |
|---|---|---|
${rows.join('\n')}

## States that a run should have been in

${wrapped(
  'A run that finds nothing has said little if it was nowhere. These states are counted, and a run says which it never ' +
    'reached (`postern soak`, and the statement of the oracle); those that a machine or a contract cannot be in are ' +
    'left out there. Rows of the call specification are counted beside them.',
)}

| state | what happened |
|---|---|
${states.join('\n')}
`;
}

/** Every file of docs/properties by name. */
export function pages(): ReadonlyMap<string, string> {
  return new Map([
    ['README.md', renderIndex()],
    ...examples.map((one): [string, string] => [`${one.property}.md`, renderPage(one)]),
  ]);
}
