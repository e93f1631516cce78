/** `postern corpus`: inputs of fuzzing runs, brought together and made fewer without losing what they show. */
import { findProfile } from '#hypercall-abi';
import { FuzzEngine } from '../../fuzz/engine.ts';
import { ALL_FEEDBACK } from '../../fuzz/feedback.ts';
import { readCorpus, writeCorpus } from '../../io/corpus-folder.ts';
import { readMachine } from '../../io/machine.ts';
import { progressBar } from '../../io/progress.ts';
import { buildHypervisor } from '../../zoo/index.ts';
import { type Command, flagArg, requiredText, textArg, UsageError } from '../command.ts';
import { profileArg, profileOption } from '../profile-arg.ts';
import { breathe } from './breathe.ts';

export const corpusCommand: Command = {
  name: 'corpus <action> [...folders]',
  describe: 'minimize FOLDER, or merge FOLDER FOLDER…: the fewest inputs that show all that these show',
  options: [
    { flags: '--machine <name>', describe: 'A preset, or a JSON file (default: the one of the run)' },
    profileOption,
    { flags: '-o, --output <folder>', describe: 'Where the inputs that remain are written' },
    { flags: '--json', describe: 'Print one JSON document' },
  ],
  examples: ['postern corpus minimize run -o small', 'postern corpus merge run-1 run-2 -o all'],
  async run(args, io) {
    const action = requiredText(args, 'action');
    const folders = args.folders as string[];
    const output = requiredText(args, 'output');
    if (action !== 'minimize' && action !== 'merge') {
      throw new UsageError(`corpus: expected minimize or merge, got '${action}'`);
    }
    if (action === 'minimize' ? folders.length !== 1 : folders.length < 2) {
      throw new UsageError(`corpus ${action} takes ${action === 'minimize' ? 'one folder' : 'two folders or more'}`);
    }
    const corpora = await Promise.all(folders.map(readCorpus));
    const job = corpora.find((corpus) => corpus.job !== null)?.job ?? null;
    const machineName = textArg(args, 'machine');
    const profile =
      textArg(args, 'profile') === undefined && job !== null ? findProfile(job.profile)! : profileArg(args);
    const built = buildHypervisor([], { plain: true, counted: true });
    const engine = new FuzzEngine({
      machine: machineName === undefined && job !== null ? job.machine : await readMachine(machineName ?? 'tiny'),
      profile,
      hypervisor: built.createHypervisor,
      edges: built.edges,
      seed: 0,
      feedback: ALL_FEEDBACK,
      maxSteps: Math.max(job?.maxSteps ?? 0, 4096),
      prefix: job?.prefix ?? [],
    });
    for (const corpus of corpora) corpus.check(engine.recipes);
    // Short inputs first: what a short one shows, a long one need not show again.
    const inputs = corpora.flatMap((corpus) => corpus.inputs).toSorted((one, other) => one.length - other.length);
    const bar = progressBar(io, `corpus ${action}`, !flagArg(args, 'json'));
    let violations = 0;
    for (const [i, input] of inputs.entries()) {
      if (engine.adopt(input) !== null) violations++;
      bar.update(i + 1, inputs.length);
      if (i % 16 === 0) await breathe();
    }
    bar.end();
    const kept = engine.corpus.inputs;
    await writeCorpus(output, kept, engine.recipes);
    const { edgeCount, stateCount, rowCount } = engine.feedback;
    const size = (list: readonly Uint8Array[]): number => list.reduce((sum, input) => sum + input.length, 0);
    const document = {
      schema: 'postern/corpus/0',
      action,
      inputsBefore: inputs.length,
      bytesBefore: size(inputs),
      inputs: kept.length,
      bytes: size(kept),
      edges: edgeCount,
      states: stateCount,
      rows: rowCount,
      violations,
      output,
    };
    io.out(
      flagArg(args, 'json')
        ? `${JSON.stringify(document, null, 2)}\n`
        : `${inputs.length} inputs (${document.bytesBefore} bytes), of which ${kept.length} (${document.bytes} bytes) show all: ` +
            `${edgeCount} edges, ${stateCount} states, ${rowCount} rows\n` +
            `${violations === 0 ? '' : `${violations} inputs violate something and were left out\n`}written to ${output}\n`,
    );
    return 0;
  },
};
