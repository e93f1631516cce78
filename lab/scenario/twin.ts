/**
 * Performs steps on two machines in lock step, which differ only in what the host must not know, and reports where it
 * could tell them apart (lab/oracle/non-interference.ts). The second machine has no oracles of its own.
 */

import { hex, type MachineDescription } from '#machine';
import { NonInterference, type TwinDifference } from '../oracle/index.ts';
import { Session, type SessionOptions, type Violation } from '../session/session.ts';
import { CannotDo } from './bind.ts';
import { outcomeText } from './compare.ts';
import { Executor, type Outcome, type Savepoint } from './execute.ts';
import type { Step } from './types.ts';

/** Options of a session, and whether its runs are made on two machines. */
export interface RunSessionOptions extends SessionOptions {
  /** Make each step on a second machine, too, that differs only in what the host must not know. */
  readonly twin?: boolean;
}

/** An executor on a session of its own, or on two. */
export function makeExecutor(options: RunSessionOptions): { readonly session: Session; readonly executor: Executor } {
  const session = new Session(options);
  if (!options.twin) return { session, executor: new Executor(session) };
  return { session, executor: new TwinExecutor(session, new Session({ ...options, unchecked: true })) };
}

export class TwinExecutor extends Executor {
  private readonly sessions: readonly [Session, Session];
  private readonly other: Executor;
  private readonly twins: NonInterference;
  private readonly interrupts: string[][];
  private readonly differences: Violation[] = [];
  private seenDifferences = 0;

  /**
   * @param session with oracles: they say whose each page is
   * @param other the same, booted the same way
   * @throws RangeError when the first one has no oracles
   */
  constructor(session: Session, other: Session) {
    const twins = twinsOf(session, other);
    // Before the executors take their marks: going back to boot must not take the first secrets away.
    twins.plant();
    super(session);
    this.sessions = [session, other];
    this.other = new Executor(other);
    this.twins = twins;
    this.interrupts = this.sessions.map(recordInterrupts);
  }

  override reset(): void {
    super.reset();
    this.other.reset();
    this.wentBack();
  }

  override save(): Savepoint {
    return { ...super.save(), other: this.other.save() };
  }

  override restore(savepoint: Savepoint): void {
    super.restore(savepoint);
    this.other.restore(savepoint.other!);
    this.wentBack();
  }

  private wentBack(): void {
    this.twins.look();
    this.differences.length = 0;
    this.seenDifferences = 0;
  }

  override get hasNewViolations(): boolean {
    return super.hasNewViolations || this.differences.length !== this.seenDifferences;
  }

  override newViolations(): Violation[] {
    const found = [...super.newViolations(), ...this.differences.slice(this.seenDifferences)];
    this.seenDifferences = this.differences.length;
    return found;
  }

  override perform(step: Step): Outcome {
    for (const list of this.interrupts) list.length = 0;
    this.twins.begin();
    const outcome = this.performFirst(step);
    const outcomes: [Outcome, Outcome] = [outcome, this.other.perform(step)];
    const difference = this.compareStep(step, outcomes) ?? this.twins.compare();
    if (difference !== null) this.report(difference);
    this.twins.plant();
    return outcome;
  }

  /** What the machine cannot do both must leave at the same place. */
  private performFirst(step: Step): Outcome {
    try {
      return super.perform(step);
    } catch (error) {
      if (!(error instanceof CannotDo)) throw error;
      this.failOther(step);
      throw error;
    }
  }

  private failOther(step: Step): void {
    try {
      this.other.perform(step);
    } catch (error) {
      if (error instanceof CannotDo) return;
      throw error;
    }
    throw new Error('one of two machines in lock step can do what the other cannot');
  }

  private report({ rule, text }: TwinDifference): void {
    if (this.sessions[0].reports('non-interference'))
      this.differences.push({ property: 'non-interference', rule, text });
  }

  private compareStep(step: Step, outcomes: readonly [Outcome, Outcome]): TwinDifference | null {
    const [left, right] = outcomes.map((outcome) => this.visible(step, outcome));
    if (JSON.stringify(left) !== JSON.stringify(right)) {
      const [mine, others] = outcomes.map((outcome) => this.told(outcome));
      return { rule: 'result', text: `the step comes to ${mine}, and to ${others} with another secret` };
    }
    for (let cpu = 0; cpu < this.boundary.cpus; cpu++) {
      const mine = this.boundary.registers(cpu);
      const others = this.other.boundary.registers(cpu);
      const n = mine.findIndex((word, i) => word !== others[i]);
      if (n >= 0) return { rule: 'registers', text: `x${n >>> 1} of CPU ${cpu} depends on the secret` };
    }
    const [signalled, other] = this.interrupts.map((list) => list.join(', '));
    if (signalled === other) return null;
    return { rule: 'interrupts', text: `interrupts depend on the secret: ${signalled}; or ${other}` };
  }

  /** What the host or its device learns of a step. What a guest's device reads is the guest's. */
  private visible(step: Step, outcome: Outcome): unknown {
    if (outcome.kind === 'call' || outcome.kind === 'guest') return outcome.result;
    if (outcome.kind !== 'dma' || step.kind !== 'dma' || !this.isGuests(step.device)) return outcome;
    return { ...outcome, data: undefined };
  }

  private told(outcome: Outcome): string {
    const text = outcomeText(outcome, this.names);
    return outcome.kind === 'dma' && outcome.data !== undefined ? `${text} (${hex(outcome.data >>> 0)})` : text;
  }

  private isGuests(device: string): boolean {
    const stream = this.streamNamed(device);
    const { smmu, sid } = this.sessions[0].devices[stream.device]!.streams[stream.stream]!;
    return this.sessions[0].oracle!.isGuestsStream(smmu, sid);
  }
}

function twinsOf(session: Session, other: Session): NonInterference {
  const { oracle } = session;
  if (oracle === null) throw new RangeError('two machines in lock step need an oracle that says whose each page is');
  const description: MachineDescription = session.machine.description;
  const machineOf = ({ machine }: Session) => ({
    memory: machine.memory,
    smmuRegister: (smmu: number, offset: number) => machine.smmus[smmu]!.get(offset),
  });
  const owner = (pa: number): number => oracle.ownerOf(pa);
  return new NonInterference([machineOf(session), machineOf(other)], owner, description.ram, description.smmus.length);
}

/** From now on the interrupts of a session's SMMUs are kept as text. */
function recordInterrupts({ machine }: Session): string[] {
  const list: string[] = [];
  for (const smmu of machine.smmus) {
    smmu.observer = {
      ...smmu.observer,
      interrupt: (which, address, data) => {
        list.push(`${which} ${address} ${data}`);
      },
    };
  }
  return list;
}
