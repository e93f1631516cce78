/**
 * The life of a paravirtual IOMMU of a VM (docs/abi-sources.md, section 7), by the address of the VM's description and its
 * own number: made and given virtual StreamIDs before there is the VM, fixed when the VM is made, gone with it.
 */

import { setup } from 'xstate';
import type { LifeCycleMeta } from './meta.ts';

const rules = {
  ATTACH: 'An IOMMU is promised only to a VM that is not made yet.',
  ADD_VSID: 'Virtual StreamIDs are added only until the VM is made.',
  ADD_VSID_AGAIN: 'A virtual StreamID stands for one stream.',
  FIX: 'What a VM finds is fixed once, when it is made.',
  RESOLVE: 'A guest finds only the virtual StreamIDs that it was promised.',
  VM_GONE: 'An IOMMU goes with the VM that it was made for.',
};

export type PvIommuEvent = keyof typeof rules;

export const pviommuMachine = setup({
  types: { events: {} as { type: PvIommuEvent }, meta: {} as LifeCycleMeta },
}).createMachine({
  id: 'pviommu',
  description: 'A paravirtual IOMMU that a VM is promised, by the address of the VM’s description and its number.',
  initial: 'none',
  meta: { rules },
  states: {
    none: { description: 'Nobody was promised it.', on: { ATTACH: 'open' } },
    open: {
      description: 'The host may still say which streams its virtual StreamIDs stand for.',
      on: { ATTACH: 'open', ADD_VSID: 'open', FIX: 'fixed' },
    },
    fixed: {
      description: 'The VM is made: its guest finds the streams, and the host changes nothing of it any more.',
      on: { RESOLVE: 'fixed', VM_GONE: 'none' },
    },
  },
});
