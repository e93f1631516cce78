/**
 * The life of one register range of a device that a guest may be given, and of the device with it (docs/abi-sources.md,
 * section 7): from the host to the hypervisor, from there to the guest that asks for it, and back to the host when the
 * guest's VM goes. A page of it that was mapped for DMA once is marked for good. A device without registers is as one
 * whose registers have been given up. Of a device with several ranges, and of a group, all go to the guest at once.
 */

import { setup } from 'xstate';
import type { LifeCycleMeta } from './meta.ts';

const rules = {
  DONATE: 'Registers are donated only by the host that has them.',
  RECLAIM: 'Registers are taken back only from the hypervisor.',
  MAP: 'Registers are mapped for DMA only while they are the host’s.',
  ACCESS: 'The host reaches only registers that are its own.',
  HOST_USE: 'The host attaches and detaches only streams of devices that no guest has.',
  CLAIM: 'A guest gets a device only when the host has given up all registers of its group.',
  CLAIM_AGAIN: 'A guest that asks again must have the device.',
  CLAIM_OTHERS: 'A device that a guest has is no other guest’s.',
  CLAIM_ATTACHED: 'A guest gets a device only while every stream of its group is blocked.',
  GUEST_USE: 'A guest attaches and detaches only streams of devices that it has.',
  VM_GONE: 'A device goes back to the host with the VM that has it.',
};

export type DeviceEvent = keyof typeof rules;

export const deviceMachine = setup({
  types: { events: {} as { type: DeviceEvent }, meta: {} as LifeCycleMeta },
}).createMachine({
  id: 'device',
  description: 'A device that a guest may be given, and one range of its registers: whose they are.',
  initial: 'hostOwned',
  meta: { rules },
  states: {
    hostOwned: {
      description: 'The host’s, and never mapped for DMA.',
      on: { DONATE: 'hypOwned', MAP: 'tainted', ACCESS: 'hostOwned', HOST_USE: 'hostOwned' },
    },
    hypOwned: {
      description:
        'The registers are the hypervisor’s: neither the host nor its devices reach them, and no guest does yet.',
      on: { RECLAIM: 'hostOwned', HOST_USE: 'hypOwned', CLAIM: 'guestOwned' },
    },
    guestOwned: {
      description: 'A guest has the device; its streams are the guest’s to attach.',
      on: { CLAIM_AGAIN: 'guestOwned', GUEST_USE: 'guestOwned', VM_GONE: 'hostOwned' },
      meta: { rules: { RECLAIM: 'Registers of a device that a guest has are not taken back.' } },
    },
    tainted: {
      description: 'The host’s, and mapped for DMA at least once: it never changes hands again.',
      on: { MAP: 'tainted', ACCESS: 'tainted', HOST_USE: 'tainted' },
      meta: { rules: { DONATE: 'Registers that devices may have been told of are never given away.' } },
    },
  },
});
