/** The trace of a real kernel as the steps of a scenario: what its host did, crossing by crossing and store by store. */

import { createHypervisor } from '#hyp/plain';
import type { Profile } from '#hypercall-abi';
import { getBig } from '#hypercall-abi';
import type { MachineDescription } from '#machine';
import { replay } from '../replay/replay.ts';
import type { Step, Value } from '../scenario/index.ts';
import type { HypervisorFactory } from '../session/session.ts';
import type { OperationLog } from '../trace/operation.ts';

const REGISTERS = 8;

/** Replays a log, and writes down what the host does after boot. */
export async function stepsOfTrace(
  log: OperationLog,
  machine: MachineDescription,
  profile: Profile,
  stage: 1 | 2,
): Promise<Step[]> {
  const steps: Step[] = [];
  await replay(log, { machine, profile, stage, unchecked: true, hypervisor: recorder(steps), now: () => 0 });
  return steps;
}

/** Our hypervisor, and a host whose crossings and stores are written down. */
function recorder(steps: Step[]): HypervisorFactory {
  return (machine, profile) => {
    const inner = createHypervisor(machine, profile);
    let isBooted = false;
    const record = (step: Step): void => void (isBooted && steps.push(step));
    for (const engine of machine.cpus) {
      const { cpu } = engine;
      const write32 = engine.el1Write32.bind(engine);
      const write64 = engine.el1Write64.bind(engine);
      const note = (at: number, value: number): void => record({ kind: 'write', cpu, at, value: value >>> 0 });
      engine.el1Write32 = (ipa, value) => {
        const fault = write32(ipa, value);
        if (fault === null) note(ipa, value);
        return fault;
      };
      engine.el1Write64 = (ipa, hi, lo) => {
        const fault = write64(ipa, hi, lo);
        if (fault === null) {
          note(ipa, lo);
          note(ipa + 4, hi);
        }
        return fault;
      };
    }
    return {
      ...inner,
      boot: (parameters) => {
        const result = inner.boot(parameters);
        isBooted = true;
        return result;
      },
      hvc: (cpu, x) => {
        record({ kind: 'hvc', cpu, registers: registersOf(x) });
        inner.hvc(cpu, x);
      },
    };
  };
}

function registersOf(x: Int32Array): Value[] {
  const values = Array.from({ length: REGISTERS }, (_, n): Value => {
    const big = getBig(x, n);
    return big < 2n ** 53n ? Number(big) : { big: `0x${big.toString(16)}` };
  });
  while (values.at(-1) === 0) values.pop();
  return values;
}
