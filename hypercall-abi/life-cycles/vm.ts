/**
 * The life of a VM, by its handle (docs/abi-sources.md, section 2). On how many CPUs a vCPU of it is loaded is counted
 * outside: the statechart is told of the first and the last one apart. What becomes of its pages is told in page.ts.
 */

import { setup } from 'xstate';
import type { LifeCycleMeta } from './meta.ts';

const rules = {
  RESERVE: 'A handle is reserved only while it is free.',
  UNRESERVE: 'Only a handle that never became a VM is given back.',
  INIT: 'A VM is made only of a reserved handle.',
  CREATE: 'Where nothing is reserved before, a VM is made of a free handle.',
  LOAD_FIRST: 'Only a vCPU of a live VM may be loaded.',
  LOAD: 'A further vCPU is loaded only where there is one already.',
  PUT: 'A vCPU other than the last is put only where there are several.',
  PUT_LAST: 'Only a loaded vCPU may be put.',
  GIVE: 'Pages are given only to the VM whose vCPU is loaded.',
  CALL: 'Only a guest whose vCPU is loaded makes calls.',
  START_TEARDOWN: 'Only a live VM of which no vCPU is loaded may be torn down.',
  RECLAIM: 'Pages are reclaimed only from a VM that is being torn down.',
  FINALIZE: 'Only a VM that is being torn down may be finished.',
};

export type VmEvent = keyof typeof rules;

export const vmMachine = setup({
  types: { events: {} as { type: VmEvent }, meta: {} as LifeCycleMeta },
}).createMachine({
  id: 'vm',
  description: 'A VM, by its handle.',
  initial: 'free',
  meta: { rules },
  states: {
    free: { description: 'Nobody uses the handle.', on: { RESERVE: 'reserved', CREATE: 'live' } },
    reserved: {
      description: 'The host has the handle, and there is no VM yet.',
      on: { UNRESERVE: 'free', INIT: 'live' },
    },
    live: {
      description: 'The VM has a stage 2 of its own; none of its vCPUs is loaded.',
      on: { LOAD_FIRST: 'loaded', START_TEARDOWN: 'dying' },
    },
    loaded: {
      description: 'A vCPU of it is loaded on at least one CPU, so it cannot go away.',
      on: { LOAD: 'loaded', PUT: 'loaded', PUT_LAST: 'live', GIVE: 'loaded', CALL: 'loaded' },
      meta: { rules: { START_TEARDOWN: 'A VM is not torn down while a vCPU of it is loaded.' } },
    },
    dying: {
      description: 'No vCPU can be loaded any more; the host takes its pages back one by one.',
      on: { RECLAIM: 'dying', FINALIZE: 'free' },
    },
  },
});
