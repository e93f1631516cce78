/**
 * The life of one PASID of a stream, other than 0: that one is the stream itself (stream.ts). Whose page table it
 * translates through is remembered outside; the statechart is told whether a detach names that domain or another.
 */

import { setup } from 'xstate';
import type { LifeCycleMeta } from './meta.ts';

const rules = {
  ATTACH: 'A PASID translates through one domain at a time: it is detached before it is attached again.',
  DETACH: 'Only a PASID that is attached may be detached.',
  DETACH_OTHER: 'A PASID is detached only by naming the domain that it is attached to.',
};

export type PasidEvent = keyof typeof rules;

export const pasidMachine = setup({
  types: { events: {} as { type: PasidEvent }, meta: {} as LifeCycleMeta },
}).createMachine({
  id: 'pasid',
  description: 'One PASID of a stream, other than 0: a context descriptor of its own.',
  initial: 'blocked',
  meta: { rules },
  states: {
    blocked: { description: 'Accesses with this PASID abort.', on: { ATTACH: 'attached' } },
    attached: {
      description: 'Accesses with this PASID translate through the page table of one domain.',
      on: { DETACH: 'blocked' },
    },
  },
});
