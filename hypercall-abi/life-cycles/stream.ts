/**
 * The life of a stream's attachment: one StreamID of one IOMMU, with its PASID where that is not 0. Whose page table it
 * translates through is remembered outside; the statechart is told whether a detach names that domain or another.
 */

import { setup } from 'xstate';
import type { LifeCycleMeta } from './meta.ts';

const rules = {
  ATTACH: 'A stream translates through one domain at a time: it is detached before it is attached again.',
  DETACH: 'Only a stream that is attached may be detached.',
  DETACH_OTHER: 'A stream is detached only by naming the domain that it is attached to.',
};

export type StreamEvent = keyof typeof rules;

export const streamMachine = setup({
  types: { events: {} as { type: StreamEvent }, meta: {} as LifeCycleMeta },
}).createMachine({
  id: 'stream',
  description: 'The attachment of a stream: the accesses of a device under one StreamID.',
  initial: 'blocked',
  meta: { rules },
  states: {
    blocked: {
      description: 'Every access aborts. So do all streams from the moment the hypervisor takes over.',
      on: { ATTACH: 'attached' },
    },
    attached: {
      description: 'Accesses translate through the page table of one domain, be it the identity domain.',
      on: { DETACH: 'blocked' },
    },
  },
});
