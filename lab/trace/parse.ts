/**
 * A streaming parser of IOMMU traces: lines in, events out. It knows the kernel's `iommu` events and the probes that a
 * capture adds (see `event.ts`), in three layouts (see `line.ts`). Nothing is dropped in silence: events of other
 * kinds are counted by name, lost events are listed, and a line that is neither event nor comment, or an event with a
 * missing or ill-formed field, is an error that names file, line and field.
 */
import { InputError, quoted } from '../input-error.ts';
import type { TraceEvent } from './event.ts';
import { type LineHead, parseHead } from './line.ts';
import { EventText, FieldProblem } from './text.ts';

/** A place where the tracer says it dropped events; `count` is null when it does not say how many. */
export interface LostEvents {
  readonly line: number;
  readonly count: number | null;
}

/** What a parser has seen besides events. */
export interface TraceSummary {
  readonly file: string;
  readonly lines: number;
  /** Number of each known kind, by name. */
  readonly kinds: ReadonlyMap<string, number>;
  /** Number of each other event, by name. */
  readonly unknown: ReadonlyMap<string, number>;
  /** Lines that are no events: blank lines, comments, headers, call chains and marks of lost events. */
  readonly comments: number;
  /** The first 64 comment and header lines. */
  readonly header: readonly string[];
  readonly lost: readonly LostEvents[];
  /** The first errors, at most 20; `errorCount` counts them all. */
  readonly errors: readonly InputError[];
  readonly errorCount: number;
}

/** A whole trace. */
export interface Trace extends TraceSummary {
  readonly events: readonly TraceEvent[];
}

const MAX_HEADER = 64;
const MAX_ERRORS = 20;
/** No SMMU queue holds this many commands: a larger count is a pointer that was read in its place. */
const MAX_COMMANDS = 1 << 20;

/** Feed it lines in order, without their line breaks. */
export class TraceParser {
  private readonly file: string;
  private readonly text = new EventText();
  private readonly kinds = new Map<string, number>();
  private readonly unknown = new Map<string, number>();
  private readonly header: string[] = [];
  private readonly lost: LostEvents[] = [];
  private readonly errors: InputError[] = [];
  private errorCount = 0;
  private comments = 0;
  private lines = 0;

  /** @param file the name to use in errors */
  constructor(file: string) {
    this.file = file;
  }

  /** The event on this line; null when it holds none, or is malformed: then `summary().errors` says why. */
  push(line: string): TraceEvent | null {
    const number = ++this.lines;
    if (line.charCodeAt(0) === 35 || isBlank(line)) {
      this.comments++;
      if (line.charCodeAt(0) === 35) this.note(line);
      return null;
    }
    const head = parseHead(line);
    if ('field' in head) {
      if (!this.aside(line, number)) this.fail(number, head.field, head.expected, head.got);
      return null;
    }
    const build = builderOf(head);
    if (build === undefined) {
      const name = head.system === '' ? head.name : `${head.system}:${head.name}`;
      this.unknown.set(name, (this.unknown.get(name) ?? 0) + 1);
      return null;
    }
    this.text.set(line, head.rest);
    try {
      const event = build(this.text, head, number);
      this.kinds.set(head.name, (this.kinds.get(head.name) ?? 0) + 1);
      return event;
    } catch (problem) {
      if (!(problem instanceof FieldProblem)) throw problem;
      this.fail(number, `${head.name}.${problem.field}`, problem.expected, problem.got);
      return null;
    }
  }

  /** The first malformed line; null while there is none. */
  get firstError(): InputError | null {
    return this.errors[0] ?? null;
  }

  /** What was seen so far. */
  summary(): TraceSummary {
    const { file, lines, kinds, unknown, comments, header, lost, errors, errorCount } = this;
    return { file, lines, kinds, unknown, comments, header, lost, errors, errorCount };
  }

  /** Lines that belong to a trace without being events: headers without `#`, call chains, and lost-event marks. */
  private aside(line: string, number: number): boolean {
    const lost = /^CPU:?\s*\d+ \[(?:LOST )?(\d+)? ?EVENTS(?: DROPPED)?\]$/.exec(line.trim());
    if (lost !== null) {
      this.comments++;
      this.lost.push({ line: number, count: lost[1] === undefined ? null : Number(lost[1]) });
      return true;
    }
    if (/^(?:cpus=\d+|version = \d+|CPU \d+ is empty)$/.test(line.trim())) {
      this.comments++;
      this.note(line);
      return true;
    }
    const callChain = /^\s+(?:=> \S|[0-9a-f]{4,16} .*\)$)/.test(line);
    if (callChain) this.comments++;
    return callChain;
  }

  private note(line: string): void {
    if (this.header.length < MAX_HEADER) this.header.push(line);
  }

  private fail(line: number, field: string | undefined, expected: string, got: string): void {
    this.errorCount++;
    if (this.errors.length >= MAX_ERRORS) return;
    this.errors.push(new InputError({ file: this.file, line, field, expected, got: quoted(got) }));
  }
}

/** Parses a trace that is at hand as text. Malformed lines end up in `errors`. */
export function parseTrace(text: string, file: string): Trace {
  const parser = new TraceParser(file);
  const events: TraceEvent[] = [];
  let start = 0;
  while (start < text.length) {
    let end = text.indexOf('\n', start);
    if (end < 0) end = text.length;
    const event = parser.push(text.slice(start, text.charCodeAt(end - 1) === 13 ? end - 1 : end));
    if (event !== null) events.push(event);
    start = end + 1;
  }
  return { ...parser.summary(), events };
}

type Builder = (text: EventText, head: LineHead, line: number) => TraceEvent;

const stock = new Map<string, Builder>([
  ['map', mapEvent],
  ['unmap', unmapEvent],
  ['add_device_to_group', groupEvent],
  ['attach_device_to_domain', attachDeviceEvent],
]);

const probes = new Map<string, Builder>([
  ['pg_map', pageMapEvent],
  ['pg_unmap', pageUnmapEvent],
  ['attach', attachEvent],
  ['cmdlist', commandListEvent],
]);

/** Where the layout prints it, the subsystem must be `iommu` for a stock event; a probe's group is its maker's choice. */
function builderOf({ system, name }: LineHead): Builder | undefined {
  return (system === '' || system === 'iommu' ? stock.get(name) : undefined) ?? probes.get(name);
}

function mapEvent(text: EventText, { task, pid, cpu, time }: LineHead, line: number): TraceEvent {
  const iova = text.address(' iova=');
  const pa = text.address(' paddr=');
  const size = text.count(' size=', 1);
  checkEnd(text, iova, size);
  return { kind: 'map', line, task, pid, cpu, time, iova, pa, size };
}

function unmapEvent(text: EventText, { task, pid, cpu, time }: LineHead, line: number): TraceEvent {
  const iova = text.address(' iova=');
  const size = text.count(' size=', 1);
  const unmapped = text.count(' unmapped_size=', 0);
  checkEnd(text, iova, size);
  return { kind: 'unmap', line, task, pid, cpu, time, iova, size, unmapped };
}

function checkEnd(text: EventText, iova: number, size: number): void {
  const end = text.rangeEnd(' iova=', iova + size);
  if (end === iova + size) return;
  throw new FieldProblem('end', `iova + size, 0x${(iova + size).toString(16)}`, `0x${end.toString(16)}`);
}

function pageMapEvent(text: EventText, { task, pid, cpu, time }: LineHead, line: number): TraceEvent {
  const iova = text.address(' iova=');
  const pa = text.address(' pa=');
  const pageSize = text.count(' pgsize=', 1);
  const count = text.count(' pgcount=', 1);
  const prot = text.count(' prot=', 0);
  const ops = text.pointer(' ops=');
  const pgd = text.pointer(' pgd=');
  return { kind: 'pg_map', line, task, pid, cpu, time, ops, pgd, iova, pa, pageSize, count, prot };
}

function pageUnmapEvent(text: EventText, { task, pid, cpu, time }: LineHead, line: number): TraceEvent {
  const iova = text.address(' iova=');
  const pageSize = text.count(' pgsize=', 1);
  const count = text.count(' pgcount=', 1);
  return { kind: 'pg_unmap', line, task, pid, cpu, time, ops: text.pointer(' ops='), iova, pageSize, count };
}

function attachEvent(text: EventText, { task, pid, cpu, time }: LineHead, line: number): TraceEvent {
  const domain = text.pointer(' dom=');
  const name = text.word(' name=', 'a device name in quotes');
  const device = name.replace(/^"(.*)"$/, '$1');
  return { kind: 'attach', line, task, pid, cpu, time, domain, device };
}

function commandListEvent(text: EventText, { task, pid, cpu, time }: LineHead, line: number): TraceEvent {
  const n = text.count(' n=', 0);
  const flag = text.count(' sync=', 0);
  const first = [...text.word64(' c0='), ...text.word64(' c1=')] as const;
  const second = [...text.word64(' d0='), ...text.word64(' d1=')] as const;
  const shifted = n >= MAX_COMMANDS;
  const count = shifted ? flag : n;
  return {
    kind: 'cmdlist',
    line,
    task,
    pid,
    cpu,
    time,
    count,
    sync: shifted ? null : flag !== 0,
    shifted,
    first,
    second,
  };
}

function groupEvent(text: EventText, { task, pid, cpu, time }: LineHead, line: number): TraceEvent {
  const group = text.count(' groupID=', 0);
  const device = text.word(' device=', 'the name of a device');
  return { kind: 'add_device_to_group', line, task, pid, cpu, time, group, device };
}

function attachDeviceEvent(text: EventText, { task, pid, cpu, time }: LineHead, line: number): TraceEvent {
  const device = text.word(' device=', 'the name of a device');
  return { kind: 'attach_device_to_domain', line, task, pid, cpu, time, device };
}

function isBlank(line: string): boolean {
  for (let i = 0; i < line.length; i++) if (line.charCodeAt(i) > 32) return false;
  return true;
}
