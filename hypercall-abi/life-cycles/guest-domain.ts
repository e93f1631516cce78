/**
 * The life of a domain of a guest (docs/abi-sources.md, section 7). Unlike a domain of the host its id is given out, and its
 * page table comes with the first stream, because only then the IOMMU is known. Whose the id is, and how many streams are
 * attached, is remembered outside.
 */

import { setup } from 'xstate';
import type { LifeCycleMeta } from './meta.ts';

const rules = {
  ALLOC: 'A guest is given an id only while nobody has it.',
  FREE: 'Only an own domain to which no stream is attached may be given back.',
  ATTACH_FIRST: 'Only an own domain may be given a stream.',
  ATTACH: 'A further stream is attached only where there is one already.',
  ATTACH_ELSEWHERE: 'A domain takes streams only of the IOMMU that its page table was made for.',
  DETACH: 'A stream other than the last is detached only from a domain with several.',
  DETACH_LAST: 'A stream is detached only from a domain to which one is attached.',
  MAP: 'Pages are mapped only in an own domain that has a page table.',
  UNMAP: 'Pages are unmapped only in an own domain that has a page table.',
  USE_OTHERS: 'A guest uses no domain of another guest.',
  VM_GONE: 'The domains of a guest go with its VM.',
};

export type GuestDomainEvent = keyof typeof rules;

export const guestDomainMachine = setup({
  types: { events: {} as { type: GuestDomainEvent }, meta: {} as LifeCycleMeta },
}).createMachine({
  id: 'guestDomain',
  description: 'A translation domain of a guest, by its id.',
  initial: 'free',
  meta: { rules },
  states: {
    free: { description: 'No guest has the id.', on: { ALLOC: 'fresh' } },
    fresh: {
      description: 'A guest’s, without a page table: it never had a stream.',
      on: { FREE: 'free', ATTACH_FIRST: 'attached', VM_GONE: 'free' },
    },
    idle: {
      description: 'A guest’s, with a page table that no stream uses any more.',
      on: { FREE: 'free', ATTACH_FIRST: 'attached', MAP: 'idle', UNMAP: 'idle', VM_GONE: 'free' },
    },
    attached: {
      description: 'At least one stream of the guest’s devices translates through its page table.',
      on: {
        ATTACH: 'attached',
        DETACH: 'attached',
        DETACH_LAST: 'idle',
        MAP: 'attached',
        UNMAP: 'attached',
        VM_GONE: 'free',
      },
      meta: { rules: { FREE: 'A domain must not be given back while a stream translates through its page table.' } },
    },
    reserved: { description: 'No guest’s to use: the ids of the host, and what is no id at all.' },
  },
});
