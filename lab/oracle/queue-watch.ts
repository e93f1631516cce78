/**
 * The command queues, as the hypervisor fills them: commands are read when the record of PROD moves, or, where stores may
 * wait in a CPU, when hardware is told of them.
 */

import { type PhysicalMemory, StateClass } from '#machine/memory';
import { CommandCheck } from './commands.ts';
import { COMMAND_BYTES, commandOpcode, Opcode } from './decode/index.ts';
import { type Facts, PAGE } from './facts.ts';
import { type Findings, hex } from './findings.ts';
import type { LayoutReader } from './layout-reader.ts';
import type { Reach } from './reach.ts';
import type { Sometimes } from './sometimes.ts';
import type { StaleSet } from './stale-set.ts';
import type { Touched } from './touched.ts';

export class QueueWatch {
  /** Told of states that no call tells. */
  sometimes: Sometimes | null = null;
  private readonly facts: Facts;
  private readonly memory: PhysicalMemory;
  private readonly findings: Findings;
  private readonly reader: LayoutReader;
  private readonly reach: Reach;
  private readonly stale: StaleSet;
  private readonly touched: Touched;
  private readonly commands: CommandCheck;
  /** A word per SMMU: 1 while its last SYNC is not answered. */
  private readonly waiting: number;
  /** Moves of PROD whose commands hardware has not been told of, while stores may wait. */
  private deferred: { readonly smmu: number; readonly before: number; readonly after: number }[] | null = null;

  constructor(facts: Facts, findings: Findings, reader: LayoutReader, reach: Reach, stale: StaleSet, touched: Touched) {
    this.facts = facts;
    this.memory = facts.memory;
    this.findings = findings;
    this.reader = reader;
    this.reach = reach;
    this.stale = stale;
    this.touched = touched;
    this.commands = new CommandCheck(facts, findings);
    this.waiting = this.memory.allocFile(facts.description.smmus.length, StateClass.derived);
  }

  /** Whether the last SYNC of some SMMU has not been answered. */
  get isWaiting(): boolean {
    const { waiting, memory } = this;
    for (let i = 0; i < this.facts.description.smmus.length; i++) if (memory.words[waiting + i] !== 0) return true;
    return false;
  }

  /** Whether stores may wait in a CPU. */
  get isDeferring(): boolean {
    return this.deferred !== null;
  }

  /** The hypervisor's record of PROD has moved. */
  producerMoved(smmu: number, before: number, after: number): void {
    if (this.deferred === null) this.queued(smmu, before, after);
    else this.deferred.push({ smmu, before, after });
  }

  /**
   * While stores of a CPU wait, commands are not in memory when the hypervisor's record of PROD moves: from now on they are
   * looked at when {@link visible} says that hardware does.
   */
  defer(): void {
    this.deferred ??= [];
  }

  /** The register PROD of an SMMU was written: what was queued there is what hardware finds in memory now. */
  visible(smmu: number): void {
    const due = this.deferred?.filter((one) => one.smmu === smmu) ?? [];
    this.deferred = this.deferred?.filter((one) => one.smmu !== smmu) ?? null;
    for (const { before, after } of due) this.queued(smmu, before, after);
  }

  /** Stores are visible at once again. @param forget whether what waits is never looked at */
  undefer(forget: boolean): void {
    const due = this.deferred ?? [];
    this.deferred = null;
    if (!forget) for (const { smmu, before, after } of due) this.queued(smmu, before, after);
  }

  private queued(smmu: number, before: number, after: number): void {
    const log2 = this.reader.commandQueueLog2(smmu);
    const mask = (2 << log2) - 1;
    const base = this.reader.commandQueue(smmu);
    if (((before ^ after) & (1 << log2)) !== 0) this.sometimes?.saw('command-queue-wrapped');
    for (let index = before & mask; index !== (after & mask); index = (index + 1) & mask) {
      const i = this.memory.indexOf(base + (index & (mask >>> 1)) * COMMAND_BYTES);
      const { words } = this.memory;
      this.commands.queued(smmu, words, i);
      if (commandOpcode(words[i]!) === Opcode.SYNC) {
        // Hardware that does not answer has not got there: what waits for it goes on waiting.
        const answers = this.facts.answers(smmu);
        this.memory.put(this.waiting + smmu, answers ? 0 : 1);
        if (!answers) continue;
        this.reach.sync(smmu);
        this.touched.synced[smmu] = (index + 1) & mask;
        this.touched.hasSynced = true;
      } else if (commandOpcode(words[i]!) === Opcode.RESUME) {
        this.touched.resumed.push(smmu, words[i + 1]! >>> 0, words[i + 2]! & 0xffff, (words[i]! >>> 12) & 3);
      } else {
        this.stale.command(smmu, words[i + 1]!, words[i]!, words[i + 3]!, words[i + 2]!);
      }
    }
  }

  /** A page that the hypervisor gives away must not be one of a command queue. */
  checkGivenAway(page: number): void {
    const pa = this.facts.paOf(page);
    this.facts.description.smmus.forEach(({ name }, i) => {
      const offset = pa - this.reader.commandQueue(i);
      if (offset <= -PAGE || offset >= COMMAND_BYTES * 2 ** this.reader.commandQueueLog2(i)) return;
      const text = `the page ${hex(pa)} of the command queue of ${name} is given back to the host`;
      this.findings.add('structure', 'command-queue', text, { pa });
    });
  }
}
