/** What the oracles are given of a machine: its memory, its description, and its registers to read. */

import { type Machine, SystemRegister } from '#machine';
import type { OracleMachine } from '../oracle/index.ts';

/** The machine as an oracle looks at it. Nothing in it has side effects. */
export function oracleView({ memory, description, smmus, cpus }: Machine): OracleMachine {
  return {
    memory,
    description,
    answers: (smmu) => smmus[smmu]!.answers,
    smmuRegister: (smmu, offset) => smmus[smmu]!.get(offset),
    systemRegister: (cpu, name) => {
      const register = SystemRegister[name];
      return { hi: cpus[cpu]!.systemHi(register), lo: cpus[cpu]!.systemLo(register) };
    },
  };
}
