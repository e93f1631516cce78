/**
 * A captured machine against the model: mappings, events and the command history of a real kernel, each reproduced by
 * the oracle's literal decoders and by the model of the SMMU, which share no code.
 */
import type { Fixture } from '../../fixture/fixture.ts';
import type { TraceEvent } from '../../trace/event.ts';
import { operationsOf } from '../../trace/operations.ts';
import { walkSource } from '../../walk/source.ts';
import { type Commands, checkDecoding, commandCount, commandNames } from '../commands.ts';
import { checkRegisters, restoredMachine } from '../machine.ts';
import { type ConformReport, count, type Note, reportOf } from '../report.ts';
import { Tally } from '../tally.ts';
import { step, type Watch } from '../watch.ts';
import { type Alignment, align } from './align.ts';
import { checkEvents, deviationNotes } from './events.ts';
import { checkHistory, type HistoryNumbers, stageText } from './history.ts';
import { checkMappings } from './mappings.ts';

/** The other files of the same run. */
export interface DumpInputs {
  /** The command queue from its start up to PROD, with the name of its file. */
  readonly commands: { readonly file: string; readonly words: Commands } | null;
  readonly log: { readonly file: string; readonly events: readonly TraceEvent[] } | null;
}

/** Compares a fixture, its command history and its log with the model. @param most how many differences to keep in full */
export async function conformDump(
  fixture: Fixture,
  { commands, log }: DumpInputs,
  most: number,
  watch: Watch = {},
): Promise<ConformReport> {
  const tally = new Tally(most);
  const source = walkSource(fixture);
  const machine = restoredMachine(fixture);
  checkRegisters(machine, fixture, tally);
  const smmu = machine.smmus[0]!;
  let interrupted = await checkMappings(fixture, source, smmu, tally, watch);
  const deviations = checkEvents(fixture, source, smmu, tally);
  const notes: Note[] = deviationNotes(deviations);
  let numbers: HistoryNumbers | null = null;
  let alignment: Alignment | null = null;
  if (commands === null) notes.push({ name: 'commands', text: 'no command history: nothing to compare' });
  else if (!interrupted) {
    const { words } = commands;
    for (let i = 0; i < commandCount(words) && !interrupted; i++) {
      if (i % 1024 === 0) interrupted = await step(watch, i, commandCount(words));
      checkDecoding(words, i, tally);
    }
    notes.push({
      name: 'commands',
      text: [...commandNames(words)].map(([name, n]) => `${name} ${count(n)}`).join(', '),
    });
    const operations = log === null ? null : { operations: operationsOf(log.events), events: log.events };
    const policy = operations?.operations.statistics.policy ?? null;
    alignment = log === null ? null : align(words, log.events, policy, tally);
    const lived = await checkHistory(fixture, words, operations, alignment, tally, watch);
    numbers = lived.numbers;
    interrupted ||= lived.interrupted;
    notes.push(...historyNotes(log === null, alignment, policy, numbers));
  }
  return reportOf(tally, {
    kind: 'dump',
    files: [fixture.file, ...(commands === null ? [] : [commands.file]), ...(log === null ? [] : [log.file])],
    title: `${fixture.run}, ${stageText(fixture)}, ${things(fixture.streams.length, 'translated stream')}, ${things(fixture.expected.length, 'mapping')}`,
    notes,
    numbers: { alignedBy: alignment?.by ?? null, history: numbers, deviations },
    interrupted,
  });
}

function historyNotes(
  noLog: boolean,
  alignment: Alignment | null,
  policy: 'strict' | 'lazy' | null,
  numbers: HistoryNumbers | null,
): Note[] {
  const none = (text: string): Note[] => [
    { name: 'history', text: `${text}: commands decoded and consumed, not aligned` },
  ];
  if (noLog) return none('no log');
  if (alignment === null || numbers === null) return none(`a ${policy ?? 'silent'} log without cmdlist lines`);
  const how = alignment.by === 'cmdlist' ? 'its cmdlist lines' : 'the order of its unmaps (it has no cmdlist lines)';
  const { maps, unmaps, skipped, unlogged, window } = numbers;
  const rest = alignment.by === 'cmdlist' ? `; ${count(unlogged)} commands are not in the log` : '';
  const notes = [
    {
      name: 'history',
      text: `${policy ?? 'unknown'} policy; aligned with the log by ${how}${rest}`,
    },
    { name: 'operations', text: `${count(maps)} maps, ${count(unmaps)} unmaps${skippedText(skipped)}` },
  ];
  if (window.removed === 0) return notes;
  const { mostMappings, mostPages, operations, milliseconds, left } = window;
  const time = `${milliseconds.median.toFixed(1)} ms and ${milliseconds.max.toFixed(1)} ms`;
  const text =
    `at most ${things(mostMappings, 'removed mapping')} (${things(mostPages, 'page')} at most) may still be cached at once, ` +
    `for ${things(operations.median, 'operation')} in the median and ${count(operations.max)} at most (${time}); ` +
    `${count(left)} at the end`;
  return [...notes, { name: 'window', text }];
}

function things(n: number, name: string): string {
  return `${count(n)} ${name}${n === 1 ? '' : 's'}`;
}

function skippedText(skipped: number): string {
  return skipped === 0 ? '' : `; ${count(skipped)} on tables that were gone at the end, left out`;
}
