import {
  type ArgumentValue,
  type CallName,
  callNamed,
  encodeCall,
  type LifeCycleTracker,
  makeRegisters,
  setNumber,
} from '#hypercall-abi';

/** What a call left in its registers: x0 and x1 as numbers, and others where a call has them. */
export interface Registers {
  readonly x0?: number;
  readonly x1?: number;
  readonly x2?: number;
  readonly x3?: number;
}

/** Tells the tracker that a call was made and what it returned; all registers are 0 unless said. */
export function outcome(
  tracker: LifeCycleTracker,
  name: CallName,
  args: readonly ArgumentValue[],
  { x0 = 0, x1 = 0, x2 = 0, x3 = 0 }: Registers = {},
  cpu = 0,
): void {
  const spec = callNamed(name);
  const before = makeRegisters();
  const after = makeRegisters();
  encodeCall(before, spec, args);
  [x0, x1, x2, x3].forEach((value, n) => {
    setNumber(after, n, value);
  });
  tracker.crossed(spec, cpu, before, after);
}
