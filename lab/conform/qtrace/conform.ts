/**
 * QEMU's own trace of its SMMUv3 against the decoders and the model: every register access, consumed command, fetched
 * STE and CD, level of a table walk, TLB look-up and translation. The model is driven by the trace's register writes and
 * by the command history of the same run.
 */
import { type Machine, registers, type Smmu } from '#machine';
import type { Fixture } from '../../fixture/fixture.ts';
import { InputError } from '../../input-error.ts';
import { COMMAND_WORDS, decodeCommand, Opcode } from '../../oracle/decode/command.ts';
import { SteConfig } from '../../oracle/decode/ste.ts';
import { type WalkSource, walkSource } from '../../walk/source.ts';
import { fetchSte } from '../../walk/stream.ts';
import { type Commands, commandCount } from '../commands.ts';
import { loadPages, machineLike, queuePlace } from '../machine.ts';
import { type ConformReport, count, type Note, reportOf } from '../report.ts';
import { Tally } from '../tally.ts';
import { step, type Watch } from '../watch.ts';
import { AccessCheck } from './access.ts';
import { type ConsumedCommand, checkConsumed } from './commands.ts';
import { num, parseLine, type QemuEvent, word } from './line.ts';
import { StructureCheck } from './structures.ts';

const { Register, REGISTER_NAMES } = registers;

/** The indexes of the event queue are in page 1; QEMU names them by their place in page 0. */
const PAGE1: ReadonlyMap<number, number> = new Map([
  [0xa8, Register.EVENTQ_PROD],
  [0xac, Register.EVENTQ_CONS],
]);
const BEFORE_ATTACH = { hi: 0, lo: 1 };

/** Events that say nothing that could be compared. */
const NOTHING_TO_COMPARE = new Set(['smmu_add_mr', 'smmu_reset_exit', 'smmuv3_trigger_irq']);

/** The trace with the name of its file, and the command queue of the same run. */
export interface QtraceInputs {
  readonly trace: { readonly file: string; readonly lines: readonly string[] };
  readonly commands: { readonly file: string; readonly words: Commands };
}

/** Compares a trace with the model. @param most how many differences to keep in full @throws InputError */
export async function conformQtrace(
  fixture: Fixture,
  { trace, commands }: QtraceInputs,
  most: number,
  watch: Watch = {},
): Promise<ConformReport> {
  checkStages(fixture);
  const tally = new Tally(most);
  const run = new Run(fixture, commands.words, trace.lines, trace.file, tally);
  const total = trace.lines.length;
  let interrupted = false;
  for (let i = 0; i < total && !interrupted; i++) {
    if (i % 2048 === 0) interrupted = await step(watch, i, total);
    run.line(trace.lines[i]!, i + 1);
  }
  if (!interrupted) run.end();
  watch.onProgress?.(total, total);
  return reportOf(tally, {
    kind: 'qtrace',
    files: [trace.file, fixture.file, commands.file],
    title: `${fixture.run}: ${count(total)} lines of QEMU’s trace`,
    notes: run.notes(),
    numbers: run.numbers(),
    interrupted,
  });
}

/** The lines that QEMU prints of stage-2 and nested walks are not known here. @throws InputError */
function checkStages({ file, streams }: Fixture): void {
  for (const [i, { config }] of streams.entries()) {
    if (config === SteConfig.stage1) continue;
    const expected = `${SteConfig.stage1}: traces of stage-1 streams are all that can be compared`;
    throw new InputError({ file, field: `streams[${i}].config`, expected, got: String(config) });
  }
}

class Run {
  private readonly fixture: Fixture;
  private readonly commands: Commands;
  private readonly file: string;
  private readonly tally: Tally;
  private readonly machine: Machine;
  private readonly smmu: Smmu;
  private readonly access: AccessCheck;
  private readonly structures: StructureCheck;
  /** Streams whose STE becomes the captured one with this many more CFGI_STE. */
  private readonly pendingStes: Map<number, number>;
  private readonly steAt = new Map<number, { at: number; words: Int32Array }>();
  /** What QEMU said it consumed since the last register write, and what the model consumed. */
  private consumed: ConsumedCommand[] = [];
  private executed: { index: number; error: number }[] = [];
  private readonly known = new Map<string, number>();
  private readonly unknown = new Map<string, number>();
  private gbpaZero = 0;

  constructor(fixture: Fixture, commands: Commands, lines: readonly string[], file: string, tally: Tally) {
    this.fixture = fixture;
    this.commands = commands;
    this.file = file;
    this.tally = tally;
    this.machine = machineLike(fixture);
    this.smmu = this.machine.smmus[0]!;
    loadPages(this.machine, fixture, (kind) => !kind.startsWith('pt-'));
    this.putCommands();
    this.pendingStes = this.closeStreams(lines);
    const { memory } = this.machine;
    const source: WalkSource = {
      ...walkSource(fixture),
      memory: {
        read64: (pa) => (memory.isRamRange(pa, 8) ? { hi: memory.read32(pa + 4), lo: memory.read32(pa) } : null),
      },
    };
    this.access = new AccessCheck(this.machine, source, fixture, tally);
    this.structures = new StructureCheck(this.smmu, source, tally);
    this.smmu.observer = { command: (index, _a, _b, _c, _d, error) => void this.executed.push({ index, error }) };
  }

  /** The captured command queue becomes the memory of the model's. */
  private putCommands(): void {
    const { base } = queuePlace(this.fixture, commandCount(this.commands));
    for (let i = 0; i < this.commands.length; i += 2) {
      this.machine.memory.write64(base + 4 * i, this.commands[i + 1]!, this.commands[i]!);
    }
  }

  /**
   * Before a stream is attached its STE aborts. The trace does not show when the driver writes it; the last CFGI_STE
   * for the stream does.
   */
  private closeStreams(lines: readonly string[]): Map<number, number> {
    const pending = new Map<number, number>();
    for (const line of lines) {
      const sid = /smmuv3_cmdq_cfgi_ste streamid= (0x[0-9a-f]+)/.exec(line)?.[1];
      if (sid !== undefined) pending.set(Number(sid), (pending.get(Number(sid)) ?? 0) + 1);
    }
    const source = walkSource(this.fixture);
    for (const sid of pending.keys()) {
      const { ste, address } = fetchSte(source, sid, []);
      this.steAt.set(sid, { at: address, words: ste });
      this.machine.memory.write64(address, BEFORE_ATTACH.hi, BEFORE_ATTACH.lo);
    }
    return pending;
  }

  private openStream(sid: number): void {
    const left = (this.pendingStes.get(sid) ?? 0) - 1;
    this.pendingStes.set(sid, left);
    const ste = this.steAt.get(sid);
    if (left === 0 && ste !== undefined) this.machine.memory.write64(ste.at, ste.words[1]!, ste.words[0]!);
  }

  line(text: string, number: number): void {
    const event = parseLine(text, number, this.file);
    if (event === null) return;
    if (typeof event === 'string') {
      this.unknown.set(event, (this.unknown.get(event) ?? 0) + 1);
      return;
    }
    this.known.set(event.name, (this.known.get(event.name) ?? 0) + 1);
    if (NOTHING_TO_COMPARE.has(event.name)) return;
    switch (event.name) {
      case 'smmuv3_write_mmio':
        this.write(event);
        break;
      case 'smmuv3_read_mmio':
        this.read(event);
        break;
      case 'smmuv3_cmdq_consume':
        this.consumed.push({ index: num(event, 'cons'), line: event.line, name: '', details: [] });
        break;
      case 'smmuv3_cmdq_opcode':
        this.opcode(event);
        break;
      case 'smmuv3_cmdq_consume_out':
        this.tally.check(
          'queue indexes',
          `line ${event.line}`,
          'CONS when QEMU stops',
          num(event, 'prod'),
          num(event, 'cons'),
        );
        break;
      case 'smmuv3_find_ste':
      case 'smmuv3_find_ste_2lvl':
      case 'smmuv3_get_ste':
      case 'smmuv3_get_cd':
      case 'smmuv3_decode_cd':
      case 'smmuv3_decode_cd_tt':
        this.structures.check(this.access.stream, event);
        break;
      default:
        if (event.name.startsWith('smmuv3_cmdq_') || /_inv(_|al)|_inv$/.test(event.name)) this.detail(event);
        else this.access.check(event);
    }
  }

  private opcode(event: QemuEvent): void {
    const last = this.consumed.at(-1);
    if (last !== undefined) last.name = event.fields.opcode!.replace(/^SMMU_CMD_/, '');
  }

  private detail(event: QemuEvent): void {
    this.consumed.at(-1)?.details.push(event);
    if (event.name === 'smmuv3_cmdq_cfgi_ste') this.openStream(num(event, 'sid'));
  }

  /** A register write: the model does it too, and must consume the commands that QEMU consumed. */
  private write(event: QemuEvent): void {
    const addr = num(event, 'addr');
    const offset = PAGE1.get(addr) ?? addr;
    const value = word(event, 'value');
    if (num(event, 'size') === 8) this.smmu.write64(offset, value.hi, value.lo);
    else this.smmu.write32(offset, value.lo);
    for (const command of this.consumed) {
      checkConsumed(this.commands, command, this.tally);
      this.forget(command.index);
    }
    if (this.consumed.length > 0 || this.executed.length > 0) {
      this.tally.begin('commands executed by the model', `line ${event.line}`);
      this.tally.same(
        'commands',
        this.consumed.map(({ index }) => `${index} without error`),
        this.executed.map(({ index, error }) => `${index} ${error === 0 ? 'without error' : `CERROR ${error}`}`),
      );
      this.tally.end();
      this.access.commandsConsumed();
    }
    this.consumed = [];
    this.executed = [];
  }

  /** Configurations that a command invalidates, for QEMU's configuration cache. */
  private forget(index: number): void {
    if (index >= commandCount(this.commands)) return;
    const { opcode, fields } = decodeCommand(this.commands, COMMAND_WORDS * index);
    const value = (name: string): number => fields.find((field) => field.name === name)?.value ?? 0;
    if (opcode === Opcode.CFGI_STE || opcode === Opcode.CFGI_CD || opcode === Opcode.CFGI_CD_ALL) {
      this.access.forget(value('SID'), value('SID'));
    } else if (opcode === Opcode.CFGI_STE_RANGE) {
      const size = 2 ** (value('Range') + 1);
      const first = value('SID') - (value('SID') % size);
      this.access.forget(first, first + size - 1);
    }
  }

  private read(event: QemuEvent): void {
    const addr = num(event, 'addr');
    const offset = PAGE1.get(addr) ?? addr;
    const expected = word(event, 'value');
    const wide = num(event, 'size') === 8;
    const lo = wide ? this.smmu.read64(offset) : this.smmu.read32(offset);
    const hi = wide ? this.smmu.hi : 0;
    // QEMU 7.2 has no GBPA: it reads 0.
    if (offset === Register.GBPA && expected.lo === 0 && lo !== 0) {
      this.gbpaZero++;
      return;
    }
    const where = () => `line ${event.line}, ${REGISTER_NAMES.get(offset) ?? `offset 0x${offset.toString(16)}`}`;
    this.tally.check('register reads', where, 'value', expected, { hi, lo });
  }

  /** The end of the trace: the machine is the captured one. */
  end(): void {
    for (const name of [
      'CR0',
      'CR1',
      'CR2',
      'IRQ_CTRL',
      'STRTAB_BASE_CFG',
      'CMDQ_PROD',
      'CMDQ_CONS',
      'GERROR',
      'EVENTQ_PROD',
      'EVENTQ_CONS',
    ] as const) {
      const expected = this.fixture.registers.get(name);
      if (expected === undefined) continue;
      this.tally.check(
        'registers at the end, as in the dump',
        name,
        'value',
        expected.lo,
        this.smmu.read32(Register[name]),
      );
    }
    this.tally.check(
      'events',
      'end of the trace',
      'records in the dump',
      this.fixture.events.length,
      this.access.numbers().events,
    );
  }

  notes(): Note[] {
    const { hits, misses, missesThatMightHit, silentAborts } = this.access.numbers();
    const list = (counts: ReadonlyMap<string, number>): string =>
      [...counts].map(([name, n]) => `${name} ${count(n)}`).join(', ');
    const idle = new Map([...this.known].filter(([name]) => NOTHING_TO_COMPARE.has(name)));
    const notes: Note[] = [
      {
        name: 'TLB',
        text: `${count(hits)} hits, ${count(misses)} misses (${count(missesThatMightHit)} where the model allows a hit), ${count(silentAborts)} accesses of closed streams`,
      },
      { name: 'not compared', text: list(idle) || 'nothing' },
      { name: 'unknown lines', text: list(this.unknown) || 'none' },
    ];
    const { spanDoubled } = this.structures;
    if (spanDoubled > 0) {
      notes.push({
        name: 'deviation',
        text: `level-2 stream tables taken for twice as long in ${spanDoubled} look-ups (QEMU)`,
      });
    }
    if (this.gbpaZero > 0) notes.push({ name: 'deviation', text: `GBPA reads 0, ${this.gbpaZero} times (QEMU 7.2)` });
    return notes;
  }

  numbers(): Record<string, unknown> {
    return {
      access: this.access.numbers(),
      known: Object.fromEntries(this.known),
      unknown: Object.fromEntries(this.unknown),
      deviations: { spanDoubled: this.structures.spanDoubled, gbpaZero: this.gbpaZero },
    };
  }
}
