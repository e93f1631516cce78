/** hvc_pd (docs/abi-sources.md, section 3). Deviation: upstream answers 0 whatever came of it. */

import { POWER_DOMAIN_COUNT } from '#hypercall-abi';
import type { Call } from './call.ts';
import { accept, type CallRules, refuse } from './row.ts';

const call = 'hvc_pd';

/** Number of the SMMU in the power domain of x1, or -1. */
function smmuOf(c: Call): number {
  return c.facts.description.smmus.findIndex(({ powerDomain }) => powerDomain === c.number(1));
}

const isOn = (c: Call): boolean => c.lo(2) !== 0 || c.hi(2) !== 0;

/** Whether the SMMU would leave the commands of its reset unanswered. */
const hangs = (c: Call): boolean => !c.facts.answers(smmuOf(c));

const switchTo = (off: boolean) => (c: Call) => {
  if (smmuOf(c) >= 0) c.ghost.setSmmuOff(smmuOf(c), off);
};

export const hvcPd: CallRules = {
  prepare: () => {},
  rows: [
    refuse(call, 'E2BIG', (c) => c.hi(1) !== 0 || c.u32(1) >= POWER_DOMAIN_COUNT),
    refuse(call, 'ENOENT', (c) => smmuOf(c) < 0),
    { ...refuse(call, 'ETIMEDOUT', (c) => isOn(c) && hangs(c)), apply: switchTo(true) },
    accept(call, 'off', { when: (c) => !isOn(c), apply: switchTo(true) }),
    accept(call, 'on', { apply: (c) => switchTo(!isOn(c))(c) }),
  ],
};
