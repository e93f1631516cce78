/**
 * A QEMU board without a guest as one side of a differential run: edu devices behind an SMMUv3, driven over qtest. What
 * an access reached comes from QEMU's own trace, which also tells physical addresses where there is no memory.
 * Events come from the event queue.
 *
 * Most distributions build QEMU without the qtest accelerator. There a processor that waits in a loop under TCG, with the
 * clock tied to the instructions it does not execute, makes the time of the devices' timers pass at once.
 */
import { closeSync, openSync, readSync } from 'node:fs';
import { join } from 'node:path';
import {
  CMDQ,
  DEVICE_SLOTS,
  DEVICE_TREE_SIZE,
  EVTQ,
  QUEUE_LOG2,
  RAM_BASE,
  RAM_SIZE,
  SIDS,
  SMMU_BASE,
  WAIT_LOOP,
} from '../conform-qemu/layout.ts';
import type { IdRegisters } from '../conform-qemu/reference.ts';
import { type AccessOutcome, NO_EVENT, recorded, type Setup, type Subject } from '../conform-qemu/types.ts';
import { InputError } from '../input-error.ts';
import type { Word64 } from '../oracle/decode/fields.ts';
import { qemuAccelerators, qemuVersion, scratchFolder } from './qemu-process.ts';
import { Qtest } from './qemu-qtest.ts';

/** PCI configuration space; the devices' registers are put one MiB apart. */
const ECAM = 0x4010000000;
const BARS = 0x10000000;
const BAR_APART = 0x100000;
const EDU_BUFFER = 0x40000;
const PAGE = 4096;
const CR0 = 0x20;
const EVENTQ_PROD = SMMU_BASE + 0x100a8;
const EVENTQ_CONS = SMMU_BASE + 0x100ac;

/** More than the edu device's timer, in ns. */
const EDU_TIME = 100_000_001;

/** What makes time pass on the board. */
export type Accelerator = 'qtest' | 'tcg';

/** Arguments of the board, but for the socket. Under TCG, `wfi; b .-4` waits at WAIT_LOOP. */
export function boardArguments(accelerator: Accelerator, extra: readonly string[] = []): string[] {
  const waiting = [
    ...['-accel', 'tcg', '-icount', 'shift=10,sleep=off'],
    ...['-device', `loader,addr=0x${WAIT_LOOP.toString(16)},data=0x17ffffffd503207f,data-len=8`],
    ...['-device', `loader,addr=0x${WAIT_LOOP.toString(16)},cpu-num=0`],
  ];
  return [
    ...['-M', 'virt,iommu=smmuv3,gic-version=3', '-cpu', 'cortex-a57', '-m', `${RAM_SIZE / 2 ** 20}M`],
    ...['-nodefaults', '-display', 'none'],
    ...(accelerator === 'qtest' ? ['-accel', 'qtest'] : waiting),
    ...DEVICE_SLOTS.flatMap((slot) => [
      '-device',
      `edu,addr=${slot.toString(16).padStart(2, '0')}.0,dma_mask=0xffffffffffffffff`,
    ]),
    ...extra,
  ];
}

/** One board: its QEMU, its devices, and where its trace was read up to. */
class Board {
  readonly ids: IdRegisters;
  private readonly qtest: Qtest;
  private readonly trace: number;
  private traceAt = 0;
  /** Pages that are not zero. */
  private readonly written = new Set<number>();
  private prod = 0;
  /** Events read so far. */
  private events = 0;
  private readonly accelerator: Accelerator;

  private constructor(accelerator: Accelerator, ids: IdRegisters, qtest: Qtest, trace: number) {
    this.accelerator = accelerator;
    this.ids = ids;
    this.qtest = qtest;
    this.trace = trace;
  }

  static async start(program: string, accelerator: Accelerator): Promise<Board> {
    const folder = scratchFolder();
    const log = join(folder, 'trace');
    const extra = ['-D', log, '-trace', 'enable=smmuv3_translate_*'];
    const qtest = await Qtest.start(program, folder, boardArguments(accelerator, extra));
    try {
      await qtest.clear(RAM_BASE, DEVICE_TREE_SIZE);
      for (const [i, slot] of DEVICE_SLOTS.entries()) {
        const config = ECAM + slot * 0x8000;
        await qtest.write32(config + 0x10, BARS + i * BAR_APART);
        await qtest.write32(config + 4, 6);
      }
      const id = (n: number): Promise<number> => qtest.read32(SMMU_BASE + 4 * n);
      const ids = { idr0: await id(0), idr1: await id(1), idr3: await id(3), idr5: await id(5) };
      let trace: number;
      try {
        trace = openSync(log, 'r');
      } catch {
        throw new InputError({
          file: program,
          expected: 'a QEMU whose trace events go to its log (-D)',
          got: 'one without',
        });
      }
      return new Board(accelerator, ids, qtest, trace);
    } catch (error) {
      await qtest.stop();
      throw error;
    }
  }

  async stop(): Promise<void> {
    closeSync(this.trace);
    await this.qtest.stop();
  }

  async reset(setup: Setup): Promise<void> {
    const { qtest } = this;
    const smmu = (offset: number, value: number): Promise<string> => qtest.write32(SMMU_BASE + offset, value);
    const pending: Promise<string>[] = [smmu(CR0, 0)];
    for (const page of this.written) pending.push(qtest.clear(page, PAGE));
    this.written.clear();
    this.prod = 0;
    this.events = 0;
    const wide = (offset: number, value: number): Promise<string> => qtest.write64(SMMU_BASE + offset, 0, value);
    pending.push(smmu(0x28, 0xd75), smmu(0x2c, setup.cr2));
    pending.push(wide(0x90, CMDQ | QUEUE_LOG2), smmu(0x98, 0), smmu(0x9c, 0));
    pending.push(wide(0xa0, EVTQ | QUEUE_LOG2), smmu(0x100a8, 0), smmu(0x100ac, 0));
    pending.push(smmu(0x88, setup.strtabBaseCfg), wide(0x80, setup.strtabBase), smmu(CR0, 0xd));
    await Promise.all(pending);
    // What was cached before is gone only after this.
    await this.commands([
      [0x04, 0, 31, 0],
      [0x30, 0, 0, 0],
      [0x46, 0, 0, 0],
    ]);
    await qtest.clear(CMDQ, PAGE);
    await this.drain();
  }

  async write(at: number, { hi, lo }: Word64): Promise<void> {
    this.written.add(at - (at % PAGE));
    await this.qtest.write64(at, hi, lo);
  }

  async commands(commands: readonly (readonly number[])[]): Promise<void> {
    const { qtest } = this;
    const pending: Promise<string>[] = [];
    for (const [lo0, hi0, lo1, hi1] of commands) {
      const at = CMDQ + 16 * (this.prod % 2 ** QUEUE_LOG2);
      pending.push(qtest.write64(at, hi0!, lo0!), qtest.write64(at + 8, hi1!, lo1!));
      this.prod = (this.prod + 1) % 2 ** (QUEUE_LOG2 + 1);
    }
    pending.push(qtest.write32(SMMU_BASE + 0x98, this.prod));
    await Promise.all(pending);
    const cons = await qtest.read32(SMMU_BASE + 0x9c);
    if (cons !== this.prod)
      throw new Error(`QEMU did not take the commands: CMDQ_CONS is 0x${(cons >>> 0).toString(16)}`);
  }

  async dma(sid: number, iova: number, write: boolean): Promise<AccessOutcome> {
    const { qtest } = this;
    const bar = BARS + SIDS.indexOf(sid) * BAR_APART;
    const hi = Math.floor(iova / 2 ** 32);
    const lo = iova % 2 ** 32;
    const memory = write ? 0x88 : 0x80;
    const pending: Promise<unknown>[] = [
      qtest.write64(bar + memory, hi, lo),
      qtest.write64(bar + (write ? 0x80 : 0x88), 0, EDU_BUFFER),
      qtest.write64(bar + 0x90, 0, 4),
      qtest.write64(bar + 0x98, 0, write ? 3 : 1),
    ];
    if (this.accelerator === 'qtest') pending.push(qtest.send(`clock_step ${EDU_TIME}`));
    let prod = 0;
    for (let tries = 0; ; tries++) {
      const busy = qtest.send(`readq 0x${(bar + 0x98).toString(16)}`);
      const produced = qtest.read32(EVENTQ_PROD);
      await Promise.all(pending.splice(0));
      prod = await produced;
      if (Number(await busy) % 2 === 0) break;
      if (tries > 100_000) throw new Error('a DMA of the edu device never ended');
    }
    const event = await this.takeEvents(prod);
    return reached(await this.drain(), write) ?? event;
  }

  /** The first event since the last call, up to PROD; the others are those of the same access. */
  private async takeEvents(prod: number): Promise<AccessOutcome> {
    if (prod === this.events) return NO_EVENT;
    const { qtest } = this;
    const at = EVTQ + 32 * (this.events % 2 ** QUEUE_LOG2);
    this.events = prod;
    const words = [0, 8, 16, 24].map((offset) => qtest.send(`readq 0x${(at + offset).toString(16)}`));
    await qtest.write32(EVENTQ_CONS, prod);
    return recorded((await Promise.all(words)).flatMap(halves));
  }

  /** Everything that the trace has gained. */
  private async drain(): Promise<string> {
    const bytes = Buffer.alloc(65536);
    let text = '';
    for (;;) {
      const read = readSync(this.trace, bytes, 0, bytes.length, this.traceAt);
      this.traceAt += read;
      text += bytes.toString('latin1', 0, read);
      if (read < bytes.length) return text;
    }
  }
}

/**
 * QEMU as the other side. It is two boards, one for each format of the stream table: QEMU goes on reading a two-level
 * table after STRTAB_BASE_CFG.FMT has returned to linear, and then no program would stand alone.
 */
export class QemuSubject implements Subject {
  readonly version: string;
  readonly accelerator: Accelerator;
  readonly ids: IdRegisters;
  private readonly boards: readonly [Board, Board];
  private board: Board;

  private constructor(version: string, accelerator: Accelerator, boards: readonly [Board, Board]) {
    this.version = version;
    this.accelerator = accelerator;
    this.boards = boards;
    this.board = boards[0];
    this.ids = boards[0].ids;
  }

  /** Starts the boards, under qtest where the program has it and nothing else is wanted. @throws InputError when the program is no QEMU, or one without what is needed */
  static async start(program: string, wanted: Accelerator | null = null): Promise<QemuSubject> {
    const version = qemuVersion(program);
    if (version === null) {
      throw new InputError({ file: program, expected: 'a QEMU program', got: 'nothing that answers --version' });
    }
    const accelerator = wanted ?? (qemuAccelerators(program).includes('qtest') ? 'qtest' : 'tcg');
    const linear = await Board.start(program, accelerator);
    try {
      return new QemuSubject(version, accelerator, [linear, await Board.start(program, accelerator)]);
    } catch (error) {
      await linear.stop();
      throw error;
    }
  }

  async stop(): Promise<void> {
    for (const board of this.boards) await board.stop();
  }

  reset(setup: Setup): Promise<void> {
    this.board = this.boards[((setup.strtabBaseCfg >>> 16) & 3) === 1 ? 1 : 0];
    return this.board.reset(setup);
  }

  write(at: number, value: Word64): Promise<void> {
    return this.board.write(at, value);
  }

  commands(commands: readonly (readonly number[])[]): Promise<void> {
    return this.board.commands(commands);
  }

  dma(sid: number, iova: number, write: boolean): Promise<AccessOutcome> {
    return this.board.dma(sid, iova, write);
  }
}

/** Where the trace lines of one access say that it went; null when it did not pass. */
function reached(text: string, write: boolean): AccessOutcome | null {
  const hit = /smmuv3_translate_success .*translated=(0x[0-9a-f]+) perm=(0x[0-9a-f]+)/.exec(text);
  if (hit !== null && (Number(hit[2]) & (write ? 2 : 1)) !== 0) return { ok: true, pa: Number(hit[1]) };
  const through = /smmuv3_translate_(?:bypass|disable) .*iova:(0x[0-9a-f]+)/.exec(text);
  return through === null ? null : { ok: true, pa: Number(through[1]) };
}

/** Low and high half of the 64-bit number that qtest answers with. */
function halves(text: string): [number, number] {
  const word = Number(text.length > 10 ? text.slice(0, -8) : 0);
  return [Number(`0x${text.slice(2).slice(-8)}`) | 0, word | 0];
}
