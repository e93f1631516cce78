/** A differential run as text for a terminal, and as the JSON document of `--json`. */
import { decodeCommand } from '../oracle/decode/command.ts';
import { decodeEvent } from '../oracle/decode/event.ts';
import { hex64 } from '../oracle/decode/fields.ts';
import type { Deviation } from './deviations.ts';
import type { ConformReport } from './run.ts';
import type { AccessOutcome, Program, Step } from './types.ts';

/** The report in lines. `known` are the deviations that were taken into account. */
export function renderConform(report: ConformReport, qemu: string, known: readonly Deviation[]): string {
  const n = (value: number): string => value.toLocaleString('en');
  const lines = [
    qemu,
    `${n(report.accesses)} accesses in ${n(report.programs)} programs: ${n(report.translated)} translated, ${n(report.faulted)} did not pass`,
    `${n(report.cached)} of them by what was still cached; ${n(report.skipped)} left out, since they would touch tables or registers`,
    '',
    'known deviations, and how many accesses each took part in',
    ...known.map(({ id, text }) => `  ${n(report.hits.get(id) ?? 0).padStart(6)}  ${id}: ${text}`),
    '',
  ];
  const { finding, ended } = report;
  if (ended !== null) {
    lines.push(`DISAGREEMENT: ${ended.message}`, `program ${ended.program.seed}`, ...programLines(ended.program));
    return `${lines.join('\n')}\n`;
  }
  if (finding === null) return `${[...lines, 'no other disagreement'].join('\n')}\n`;
  const { program, disagreement } = finding;
  const { sid, iova, write, subject, model, predicted, why } = disagreement;
  lines.push(
    `DISAGREEMENT: ${why}`,
    `  ${write ? 'write' : 'read'} of stream 0x${sid.toString(16)} at 0x${iova.toString(16)}`,
    `  QEMU:        ${outcomeText(subject)}`,
    `  the tables:  ${outcomeText(model[0]!)}`,
    ...model.slice(1).map((outcome) => `  or, cached:  ${outcomeText(outcome)}`),
    `  the known deviations make it: ${outcomeText(predicted)}`,
    '',
    `program ${program.seed}, shrunk to ${program.steps.length} steps`,
    ...programLines(program),
  );
  return `${lines.join('\n')}\n`;
}

/** What became of an access, in words. */
export function outcomeText(outcome: AccessOutcome): string {
  if (outcome.ok) return `PA 0x${outcome.pa.toString(16)}`;
  if (outcome.event === 0) return 'no access, and no event';
  const { record } = outcome;
  const { name, fields } = decodeEvent(record);
  const said = fields.filter(({ value }) => value !== 0).map((field) => `${field.name} ${field.text}`);
  const words = [0, 2, 4, 6].map((i) => hex64(record[i + 1]!, record[i]!));
  return `${[name, ...said].join(' ')} [${words.join(' ')}]`;
}

function programLines({ setup, steps }: Program): string[] {
  const { strtabBase, strtabBaseCfg, cr2 } = setup;
  return [
    `  STRTAB_BASE 0x${strtabBase.toString(16)}, STRTAB_BASE_CFG 0x${strtabBaseCfg.toString(16)}, CR2 0x${cr2.toString(16)}`,
    ...steps.flatMap((step) => stepLines(step).map((line) => `  ${line}`)),
  ];
}

function stepLines(step: Step): string[] {
  if (step.kind === 'write') {
    return [`write 0x${step.at.toString(16)} = ${hex64(step.value.hi, step.value.lo)}  ${step.what}`];
  }
  if (step.kind === 'dma') {
    return [
      `${step.write ? 'DMA write' : 'DMA read'} of stream 0x${step.sid.toString(16)} at 0x${step.iova.toString(16)}`,
    ];
  }
  return step.commands.map((words) => {
    const { name, fields } = decodeCommand(words);
    const said = fields.filter(({ value }) => value !== 0).map((field) => `${field.name} ${field.text}`);
    return [name, ...said].join(' ');
  });
}

/** The document of `--json`. A finding carries its whole program. */
export function conformDocument(
  report: ConformReport,
  qemu: string,
  known: readonly Deviation[],
): Record<string, unknown> {
  return {
    format: 'postern-conform-qemu/1',
    qemu,
    ...report,
    hits: undefined,
    deviations: known.map(({ id, text }) => ({ id, text, hits: report.hits.get(id) ?? 0 })),
  };
}
