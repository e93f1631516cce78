/**
 * The command queue: software writes 16-byte commands and moves PROD; hardware consumes them up to there and moves CONS.
 * Consumption is immediate here: when PROD is written, when the queue is enabled, and when an error is acknowledged.
 * At a bad command it stops: CONS stays on it and carries the reason, and GERROR.CMDQ_ERR becomes active.
 */

import type { SmmuFeatures } from '../description.ts';
import type { PhysicalMemory } from '../memory/index.ts';
import { type CommandTargets, execute, Opcode } from './commands.ts';
import { queueEntry, queueLog2, type RegisterFile } from './events.ts';
import type { Interrupts } from './interrupts.ts';
import { CERROR_ABT, CERROR_NONE, CONS_ERR_SHIFT, CR0_CMDQEN, GERROR_CMDQ_ERR, Register } from './registers.ts';
import type { SmmuObserver } from './types.ts';

const COMMAND_SIZE = 16;
/** Opcode and CS of a command, and of a CMD_SYNC with CS = SIG_IRQ. */
const SIGNAL_MASK = 0x30ff;
const SYNC_WITH_IRQ = 0x1000 | Opcode.SYNC;

/** Consumes commands until the queue is empty or a command is bad. */
export function consumeCommands(
  memory: PhysicalMemory,
  smmu: SmmuFeatures,
  registers: RegisterFile,
  targets: CommandTargets,
  interrupts: Interrupts,
  observer: SmmuObserver | null,
): void {
  if ((registers.get(Register.CR0) & CR0_CMDQEN) === 0) return;
  const gerror = registers.get(Register.GERROR);
  if (((gerror ^ registers.get(Register.GERRORN)) & GERROR_CMDQ_ERR) !== 0) return;
  const baseHi = registers.get(Register.CMDQ_BASE + 4);
  const baseLo = registers.get(Register.CMDQ_BASE);
  const log2 = queueLog2(baseLo, smmu.cmdqLog2);
  const mask = (2 << log2) - 1;
  const prod = registers.get(Register.CMDQ_PROD) & mask;
  let cons = registers.get(Register.CMDQ_CONS) & mask;
  const base = queueEntry(baseHi, baseLo, log2, 0, COMMAND_SIZE);
  const inRam = memory.isRamRange(base, COMMAND_SIZE << log2);
  while (cons !== prod) {
    const at = base + COMMAND_SIZE * (cons & (mask >>> 1));
    let error: number = CERROR_ABT;
    let hi0 = 0;
    let lo0 = 0;
    let hi1 = 0;
    let lo1 = 0;
    if (inRam || memory.isRamRange(at, COMMAND_SIZE)) {
      const index = memory.indexOf(at);
      const words = memory.words;
      lo0 = words[index]!;
      hi0 = words[index + 1]!;
      lo1 = words[index + 2]!;
      hi1 = words[index + 3]!;
      error = execute(smmu, targets, hi0, lo0, hi1, lo1);
    }
    if (observer?.command !== undefined) observer.command(cons & (mask >>> 1), hi0, lo0, hi1, lo1, error);
    if (error !== CERROR_NONE) {
      registers.put(Register.CMDQ_CONS, cons | (error << CONS_ERR_SHIFT));
      interrupts.raise(GERROR_CMDQ_ERR);
      return;
    }
    if ((lo0 & SIGNAL_MASK) === SYNC_WITH_IRQ) interrupts.sync(hi1, lo1, hi0);
    cons = (cons + 1) & mask;
  }
  registers.put(Register.CMDQ_CONS, cons);
}
