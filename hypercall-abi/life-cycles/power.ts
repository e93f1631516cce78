/**
 * The life of an SMMU's power (docs/abi-sources.md, hvc_pd): the host switches it through a power domain, as often as it
 * likes. What the SMMU may have kept while it was off is invalidated before it translates again; the oracle judges that.
 */

import { setup } from 'xstate';
import type { LifeCycleMeta } from './meta.ts';

const rules = {
  SWITCH_OFF: 'An SMMU may be switched off at any time.',
  SWITCH_ON: 'An SMMU may be switched on at any time.',
  SWITCH_ON_UNANSWERED: 'An SMMU that does not answer may be told to come on at any time.',
  COMMAND: 'Commands are given only to an SMMU that is on.',
  TRANSLATE: 'Devices are let through only by an SMMU that is on.',
};

export type PowerEvent = keyof typeof rules;

export const powerMachine = setup({
  types: { events: {} as { type: PowerEvent }, meta: {} as LifeCycleMeta },
}).createMachine({
  id: 'power',
  description: 'The power of an SMMU that is in a power domain; any other is on for good.',
  initial: 'on',
  meta: { rules },
  states: {
    on: {
      description: 'It translates, and takes commands.',
      on: { SWITCH_OFF: 'off', SWITCH_ON: 'on', SWITCH_ON_UNANSWERED: 'off', COMMAND: 'on', TRANSLATE: 'on' },
    },
    off: {
      description: 'Every access of a device behind it aborts. Changes of tables need no commands, and give none.',
      on: { SWITCH_OFF: 'off', SWITCH_ON: 'on', SWITCH_ON_UNANSWERED: 'off' },
    },
  },
});
