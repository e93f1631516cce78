/**
 * The life of a stream's attachment: one StreamID of one IOMMU. Its other PASIDs have a life cycle of their own
 * (pasid.ts); how many are attached is counted outside, and the statechart is told of the first and the last one apart.
 * Whose page table the stream translates through is remembered outside, too: the statechart is told whether a detach
 * names that domain or another.
 */

import { setup } from 'xstate';
import type { LifeCycleMeta } from './meta.ts';

const rules = {
  ATTACH: 'A stream translates through one domain at a time: it is detached before it is attached again.',
  DETACH: 'Only a stream that is attached may be detached.',
  DETACH_OTHER: 'A stream is detached only by naming the domain that it is attached to.',
  PASID_FIRST: 'A stream is attached itself before any PASID of it is.',
  PASID: 'A further PASID is attached only where there is one already.',
  PASID_GONE: 'A PASID other than the last is detached only where there are several.',
  PASID_LAST: 'A PASID is detached only from a stream that has one.',
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
      description:
        'Accesses translate through the page table of one domain, be it the identity domain; those with a PASID abort.',
      on: { DETACH: 'blocked', PASID_FIRST: 'withPasids' },
    },
    withPasids: {
      description: 'At least one PASID of the stream translates through a domain of its own.',
      on: { PASID: 'withPasids', PASID_GONE: 'withPasids', PASID_LAST: 'attached' },
      meta: { rules: { DETACH: 'A stream is detached after all its PASIDs.' } },
    },
  },
});
