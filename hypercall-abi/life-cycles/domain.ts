/**
 * The life of a domain id (docs/abi-sources.md section 3). How many streams are attached is counted outside: the
 * statechart is told of the first and the last one apart.
 *
 * A domain id is also the tag of its translations in every TLB. A freed id is free at once: the invalidation that stands
 * between two uses of a tag is part of the free, and judged elsewhere.
 */

import { setup } from 'xstate';
import type { LifeCycleMeta } from './meta.ts';

/** The default rule of each event; their names are the events. */
const rules = {
  ALLOC: 'An id is allocated only while it is free.',
  FREE: 'Only an allocated domain to which no stream is attached may be freed.',
  ATTACH_FIRST: 'Only an allocated domain may be given a stream.',
  ATTACH: 'A further stream is attached only where there is one already.',
  ATTACH_ELSEWHERE: 'A domain takes streams only of the IOMMU that it was allocated for.',
  DETACH: 'A stream other than the last is detached only from a domain with several.',
  DETACH_LAST: 'A stream is detached only from a domain to which one is attached.',
  MAP: 'Pages are mapped only in an allocated domain.',
  UNMAP: 'Pages are unmapped only in an allocated domain.',
  TRANSLATE: 'An IOVA has an address only in an allocated domain.',
};

export type DomainEvent = keyof typeof rules;

export const domainMachine = setup({
  types: { events: {} as { type: DomainEvent }, meta: {} as LifeCycleMeta },
}).createMachine({
  id: 'domain',
  description: 'A translation domain, by its id: the host makes it, gives it streams and pages, and frees it.',
  initial: 'free',
  meta: { rules },
  states: {
    free: {
      description: 'Nobody uses the id. It has no page table.',
      on: { ALLOC: 'idle' },
      meta: { rules: { FREE: 'A domain is freed once.' } },
    },
    idle: {
      description: 'Allocated, with a page table of its own that no stream uses.',
      on: { FREE: 'free', ATTACH_FIRST: 'attached', MAP: 'idle', UNMAP: 'idle', TRANSLATE: 'idle' },
    },
    attached: {
      description: 'At least one stream translates through its page table.',
      on: {
        ATTACH: 'attached',
        DETACH: 'attached',
        DETACH_LAST: 'idle',
        MAP: 'attached',
        UNMAP: 'attached',
        TRANSLATE: 'attached',
      },
      meta: { rules: { FREE: 'A domain must not be freed while a stream translates through its page table.' } },
    },
    reserved: {
      description: 'Never the host’s to use: the identity domain, the ids of guests, and what is no id at all.',
      meta: { rules: { ALLOC: 'This id is not the host’s to allocate.' } },
    },
  },
});
