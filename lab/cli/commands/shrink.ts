/** `postern shrink`: a scenario that violates something, made as small as it gets while it still shows the same. */
import { FindingMaker } from '../../fuzz/finding.ts';
import { InputError } from '../../input-error.ts';
import { readMachine } from '../../io/machine.ts';
import { progressBar } from '../../io/progress.ts';
import { displayName, readText } from '../../io/read-text.ts';
import { writeText } from '../../io/write-text.ts';
import { encodeShare, isShare, parseScenario, profileOf } from '../../scenario/index.ts';
import { hypervisorByIdentity } from '../../zoo/index.ts';
import { type Command, flagArg, requiredText, textArg } from '../command.ts';
import { propertiesArg, propertyOptions } from '../property-args.ts';
import { readScenario } from '../scenario-input.ts';

export const shrinkCommand: Command = {
  name: 'shrink <scenario>',
  describe: 'Make a scenario (file, - or share string) that violates something as small as it gets',
  options: [
    { flags: '--machine <name>', describe: 'A preset, or a JSON file (default: the one that the scenario names)' },
    ...propertyOptions,
    { flags: '-o, --output <file>', describe: 'Write the shrunk scenario there instead of printing it' },
    { flags: '--json', describe: 'Print one JSON document' },
  ],
  examples: ['postern shrink finding.scenario -o small.scenario'],
  async run(args, io) {
    const path = requiredText(args, 'scenario');
    const input = isShare(path) ? { share: path } : { text: await readText(path), file: displayName(path) };
    const { scenario } = readScenario(input);
    const properties = propertiesArg(args);
    const maker = new FindingMaker({
      machine: await readMachine(textArg(args, 'machine') ?? scenario.machine),
      hypervisor: hypervisorByIdentity(scenario.hypervisor),
      identity: scenario.hypervisor,
      profile: profileOf(scenario),
      ...(properties !== undefined && { properties }),
    });
    const steps = scenario.steps.filter(({ kind }) => kind !== 'expect');
    const located = maker.locate(steps);
    if (located === null) {
      throw new InputError({
        file: displayName(path),
        expected: 'a scenario that violates something',
        got: 'one that does not',
      });
    }
    const bar = progressBar(io, 'shrinking', !flagArg(args, 'json'));
    const violation = located.found.violation;
    const finding = maker.make({ steps, violation, input: new Uint8Array(0), run: 0 }, located, (left) =>
      bar.update(steps.length - left, steps.length),
    );
    bar.end();
    const output = textArg(args, 'output');
    if (output !== undefined) await writeText(output, finding.scenario);
    const { stepsBefore, stepsAfter, oneMinimal, property, rule, call } = finding;
    if (flagArg(args, 'json')) {
      const { input: _, ...rest } = finding;
      io.out(`${JSON.stringify({ schema: 'postern/shrink/0', ...rest }, null, 2)}\n`);
      return 0;
    }
    if (output === undefined) io.out(`${finding.scenario}\n`);
    const minimal = oneMinimal ? 'none can go' : 'stopped before it was minimal';
    io.out(`# ${property} (${rule}) at ${call}: ${stepsBefore} steps, now ${stepsAfter} (${minimal})\n`);
    io.out(`# share: ${encodeShare(parseScenario(finding.scenario, 'shrunk'))}\n`);
    return 0;
  },
};
