/**
 * A capture's whole command history and its log, lived through once more: the log's maps and unmaps change the tables,
 * the driver's own commands go through the queue of the modelled SMMU where the log says they were submitted. A strict
 * kernel must leave nothing of a removed mapping in the caches once its own submission has completed; no kernel may use
 * an address again while an earlier mapping of it may still be cached.
 */
import { type Machine, registers, type Smmu } from '#machine';
import type { Fixture } from '../../fixture/fixture.ts';
import { Opcode } from '../../oracle/decode/command.ts';
import { hex64 } from '../../oracle/decode/fields.ts';
import { stageOf, streamsOfRoots } from '../../replay/bind.ts';
import type { TraceEvent, UnmapEvent } from '../../trace/event.ts';
import type { MapOperation, OperationLog, UnmapOperation } from '../../trace/operation.ts';
import { leavesOf } from '../../walk/leaves.ts';
import { type WalkSource, walkSource } from '../../walk/source.ts';
import { type Commands, commandCount, commandPlace } from '../commands.ts';
import { EXTRA_RAM, extraRam, loadPages, loadRegisters, machineLike, type QueuePlace, queuePlace } from '../machine.ts';
import type { Tally } from '../tally.ts';
import { step, type Watch } from '../watch.ts';
import type { Alignment, Submission } from './align.ts';
import { mapOperation, type RootTables, rootTables, TableMemory, unmapOperation } from './tables.ts';
import { type Removed, Window, type WindowStatistics } from './window.ts';

const { Register } = registers;

/** What living through the log has shown besides what agrees. */
export interface HistoryNumbers {
  readonly maps: number;
  readonly unmaps: number;
  /** Operations on tables that no stream of the capture uses any more. */
  readonly skipped: number;
  /** Commands before the first and after the last submission of the log, and between two that it does not show. */
  readonly unlogged: number;
  readonly window: WindowStatistics;
}

/** Puts commands into the queue of an SMMU and lets it consume them step by step. */
export class CommandFeed {
  private readonly machine: Machine;
  private readonly smmu: Smmu;
  private readonly base: number;
  private readonly mask: number;
  private consumed = 0;
  /** @param machine with its registers set @param commands the whole history, which becomes the queue's memory */
  constructor(machine: Machine, { base, log2 }: QueuePlace, commands: Commands, tally: Tally) {
    this.machine = machine;
    this.smmu = machine.smmus[0]!;
    this.base = base;
    this.mask = 2 ** (log2 + 1) - 1;
    for (let i = 0; i < commands.length; i += 2) this.put(i / 2, commands[i + 1]!, commands[i]!);
    this.smmu.observer = {
      command: (index, _hi0, _lo0, _hi1, _lo1, error) => {
        const accepted = error === 0 ? 'accepted' : `CERROR ${error}`;
        tally.check(
          'commands the SMMU model accepts',
          () => commandPlace(commands, index),
          'verdict',
          'accepted',
          accepted,
        );
      },
    };
  }

  /** Lets the SMMU consume everything before command `end`. A bad command is reported once, and then passed over. */
  upTo(end: number): void {
    if (end <= this.consumed) return;
    this.consumed = end;
    this.smmu.write32(Register.CMDQ_PROD, end & this.mask);
    for (let guard = 0; guard < end && this.pending() !== 0; guard++) {
      this.put(2 * (this.smmu.read32(Register.CMDQ_CONS) & (this.mask >>> 1)), 0, Opcode.PREFETCH_CONFIG);
      this.put(2 * (this.smmu.read32(Register.CMDQ_CONS) & (this.mask >>> 1)) + 1, 0, 0);
      this.smmu.write32(Register.GERRORN, this.smmu.read32(Register.GERROR));
    }
  }

  private pending(): number {
    return this.smmu.read32(Register.GERROR) ^ this.smmu.read32(Register.GERRORN);
  }

  private put(word: number, hi: number, lo: number): void {
    const at = this.base + 8 * word;
    this.machine.memory.write64(at, hi, lo);
  }
}

/** Lives through a log. Null `log` or `alignment`: only the commands are consumed. */
export async function checkHistory(
  fixture: Fixture,
  commands: Commands,
  log: { readonly operations: OperationLog; readonly events: readonly TraceEvent[] } | null,
  alignment: Alignment | null,
  tally: Tally,
  watch: Watch,
): Promise<{ numbers: HistoryNumbers | null; interrupted: boolean }> {
  const machine = machineLike(fixture);
  loadPages(machine, fixture, (kind) => !kind.startsWith('pt-'));
  loadRegisters(machine, fixture);
  const feed = new CommandFeed(machine, queuePlace(fixture, commandCount(commands)), commands, tally);
  if (log === null || alignment === null) {
    feed.upTo(commandCount(commands));
    checkIndexes(machine, fixture, tally);
    return { numbers: null, interrupted: false };
  }
  const life = new Life(machine, fixture, feed, log, alignment, tally);
  const interrupted = await life.live(watch);
  if (!interrupted) {
    feed.upTo(commandCount(commands));
    life.end();
    checkIndexes(machine, fixture, tally);
  }
  return { numbers: life.numbers(commandCount(commands)), interrupted };
}

function checkIndexes(machine: Machine, fixture: Fixture, tally: Tally): void {
  const smmu = machine.smmus[0]!;
  for (const name of ['CMDQ_PROD', 'CMDQ_CONS', 'GERROR'] as const) {
    const expected = fixture.registers.get(name);
    if (expected !== undefined)
      tally.check('queue indexes at the end', name, 'value', expected.lo, smmu.read32(Register[name]));
  }
}

/** One thing of the log, in its order. */
type Moment = { readonly line: number } & (
  | { readonly operation: MapOperation | UnmapOperation }
  | { readonly submission: Submission }
);

class Life {
  private readonly machine: Machine;
  private readonly smmu: Smmu;
  private readonly feed: CommandFeed;
  private readonly source: WalkSource;
  private readonly log: { readonly operations: OperationLog; readonly events: readonly TraceEvent[] };
  private readonly alignment: Alignment;
  private readonly tally: Tally;
  private readonly roots = new Map<number, RootTables | null>();
  private readonly window: Window;
  private readonly strict: boolean;
  private readonly unmapEnds: ReadonlyMap<UnmapOperation, UnmapEvent>;
  /** Removed mappings that wait for the submission of their own task. */
  private waiting: { mapping: Removed; end: UnmapEvent | null }[] = [];
  private done = 0;
  private time = 0;
  private maps = 0;
  private unmaps = 0;
  private skipped = 0;

  constructor(
    machine: Machine,
    fixture: Fixture,
    feed: CommandFeed,
    log: { readonly operations: OperationLog; readonly events: readonly TraceEvent[] },
    alignment: Alignment,
    tally: Tally,
  ) {
    this.machine = machine;
    this.smmu = machine.smmus[0]!;
    this.feed = feed;
    this.source = walkSource(fixture);
    this.log = log;
    this.alignment = alignment;
    this.tally = tally;
    this.window = new Window(this.smmu);
    this.strict = log.operations.statistics.policy === 'strict';
    this.unmapEnds = endsOf(log.operations, log.events);
    const memory = new TableMemory(machine, extraRam(fixture), EXTRA_RAM);
    for (const [root, sids] of streamsOfRoots(log.operations, fixture)) {
      this.roots.set(root, rootTables(memory, this.source, sids, tally));
    }
  }

  async live(watch: Watch): Promise<boolean> {
    const moments = this.moments();
    const times = new Map(this.log.events.map(({ line, time }) => [line, time]));
    // What the driver did before the log could see it.
    this.feed.upTo(this.alignment.submissions[0]?.first ?? 0);
    for (const [i, moment] of moments.entries()) {
      if (i % 512 === 0 && (await step(watch, i, moments.length))) return true;
      this.time = times.get(moment.line) ?? this.time;
      if ('submission' in moment) this.submit(moment.submission);
      else if (moment.operation.kind === 'map') this.map(moment.operation);
      else this.unmap(moment.operation);
    }
    watch.onProgress?.(moments.length, moments.length);
    return false;
  }

  /** Operations and submissions by line; what an unmap's own line submits comes after it. */
  private moments(): Moment[] {
    const operations: Moment[] = [];
    for (const operation of this.log.operations.operations) {
      if (operation.kind === 'map' || operation.kind === 'unmap') operations.push({ line: operation.line, operation });
    }
    const submissions: Moment[] = this.alignment.submissions.map((submission) => ({
      line: submission.line,
      submission,
    }));
    return [...operations, ...submissions].sort((a, b) => a.line - b.line);
  }

  private map(operation: MapOperation): void {
    const { root, iova, size, line } = operation;
    this.maps++;
    this.done++;
    const tables = this.roots.get(root);
    if (tables === undefined || tables === null) {
      this.skipped++;
      return;
    }
    this.tally.begin('maps', () => `line ${line}, ${hex(size)} bytes at IOVA ${hex(iova)}`);
    this.tally.same('bytes mapped', size, mapOperation(tables, operation));
    const held = this.window.held(root, iova, size);
    if (held !== null)
      this.tally.differs('the address', 'not cached any more', `may still be cached since line ${held.line}`);
    this.tally.end();
  }

  private unmap(operation: UnmapOperation): void {
    const { root, iova, size, line } = operation;
    this.unmaps++;
    this.done++;
    const tables = this.roots.get(root);
    if (tables === undefined || tables === null) {
      this.skipped++;
      return;
    }
    const removed = unmapOperation(tables, operation);
    const where = () => `line ${line}, ${hex(size)} bytes at IOVA ${hex(iova)}`;
    this.tally.check('unmaps', where, 'bytes removed', size, removed);
    const mapping = { root, tag: tables.tag, iova, size, line, operation: this.done, time: this.time };
    this.window.remove(mapping);
    if (this.strict) this.waiting.push({ mapping, end: this.unmapEnds.get(operation) ?? null });
  }

  private submit(submission: Submission): void {
    this.feed.upTo(submission.end);
    this.window.settle(this.done, this.time);
    if (this.waiting.length === 0) return;
    const own = ({ end, mapping }: { mapping: Removed; end: UnmapEvent | null }): boolean => {
      if (this.alignment.by === 'unmaps') return (end?.line ?? mapping.line) <= submission.line;
      if (end === null) return mapping.line < submission.line;
      return end.line < submission.line && end.cpu === submission.cpu && end.pid === submission.pid;
    };
    for (const item of this.waiting)
      if (own(item)) this.judge(item.mapping, `the submission of line ${submission.line}`);
    this.waiting = this.waiting.filter((item) => !own(item));
  }

  /** After its own submission, nothing of a removed mapping may be cached in a strict run. */
  private judge(mapping: Removed, when: string): void {
    const { line, iova, size } = mapping;
    this.tally.begin(
      'removed mappings gone from the caches',
      () => `line ${line}, ${hex(size)} bytes at IOVA ${hex(iova)}`,
    );
    if (this.window.isOpen(mapping)) this.tally.differs(`after ${when}`, 'nothing cached', 'may still be cached');
    this.tally.end();
  }

  /** After the last command. */
  end(): void {
    this.window.settle(this.done, this.time);
    for (const { mapping } of this.waiting) this.judge(mapping, 'the last command');
    this.waiting = [];
    this.rebuilt();
  }

  /** The tables at the end, against those of the capture: every leaf, bit for bit. */
  private rebuilt(): void {
    const { memory } = this.machine;
    const ours: WalkSource = {
      ...this.source,
      memory: {
        read64: (pa) => (memory.isRamRange(pa, 8) ? { hi: memory.read32(pa + 4), lo: memory.read32(pa) } : null),
      },
    };
    for (const tables of this.roots.values()) {
      if (tables === null) continue;
      const sid = tables.sids[0]!;
      const got = new Map(leavesOf(ours, sid).map((leaf) => [leaf.iova, leaf]));
      for (const leaf of leavesOf(this.source, sid)) {
        const { iova, pa, descriptor } = leaf;
        const mine = got.get(iova);
        got.delete(iova);
        this.tally.begin('mappings rebuilt from the log', () => `stream ${hex(sid)}, IOVA ${hex(iova)}`);
        if (mine === undefined) this.tally.differs('mapping', `one to ${hex(pa)}`, 'none');
        else {
          const word = ({ hi, lo }: { hi: number; lo: number }): string => hex64(hi, lo);
          this.tally.same('size', leaf.size, mine.size);
          this.tally.same('descriptor', word(descriptor), word(mine.descriptor));
        }
        this.tally.end();
      }
      for (const { iova, pa } of got.values()) {
        this.tally.check(
          'mappings rebuilt from the log',
          `stream ${hex(sid)}, IOVA ${hex(iova)}`,
          'mapping',
          'none',
          hex(pa),
        );
      }
    }
  }

  numbers(total: number): HistoryNumbers {
    const logged = this.alignment.submissions.reduce((sum, { first, end }) => sum + end - first, 0);
    const { maps, unmaps, skipped } = this;
    return { maps, unmaps, skipped, unlogged: total - logged, window: this.window.statistics() };
  }
}

/** The stock event that ends each unmap: the task submits its commands after it. */
function endsOf({ operations }: OperationLog, events: readonly TraceEvent[]): ReadonlyMap<UnmapOperation, UnmapEvent> {
  const byLine = new Map(events.map((event, i) => [event.line, i]));
  const ends = new Map<UnmapOperation, UnmapEvent>();
  for (const operation of operations) {
    if (operation.kind !== 'unmap') continue;
    const start = byLine.get(operation.line);
    if (start === undefined) continue;
    const { cpu, pid } = events[start]!;
    for (let i = start; i < Math.min(events.length, start + LOOK_AHEAD); i++) {
      const event = events[i]!;
      if (event.kind !== 'unmap' || event.iova !== operation.iova || event.cpu !== cpu || event.pid !== pid) continue;
      ends.set(operation, event);
      break;
    }
  }
  return ends;
}

/** An unmap's calls and its stock event are close together. */
const LOOK_AHEAD = 256;

function hex(value: number): string {
  return `0x${value.toString(16)}`;
}

/** Stage of the fixture's domains, for titles. */
export function stageText(fixture: Fixture): string {
  return `stage ${stageOf(fixture)}`;
}
