/**
 * The life of one register range of a device that a guest may be given (docs/abi-sources.md, host_donate_hyp_mmio): from
 * the host to the hypervisor and back. A page of it that was mapped for DMA once is marked for good.
 */

import { setup } from 'xstate';
import type { LifeCycleMeta } from './meta.ts';

const rules = {
  DONATE: 'Registers are donated only by the host that has them.',
  RECLAIM: 'Registers are taken back only from the hypervisor.',
  MAP: 'Registers are mapped for DMA only while they are the host’s.',
  ACCESS: 'The host reaches only registers that are its own.',
};

export type DeviceEvent = keyof typeof rules;

export const deviceMachine = setup({
  types: { events: {} as { type: DeviceEvent }, meta: {} as LifeCycleMeta },
}).createMachine({
  id: 'device',
  description: 'One register range of a device: whose it is.',
  initial: 'hostOwned',
  meta: { rules },
  states: {
    hostOwned: {
      description: 'The host’s, and never mapped for DMA.',
      on: { DONATE: 'hypOwned', MAP: 'tainted', ACCESS: 'hostOwned' },
    },
    hypOwned: {
      description: 'The hypervisor’s: neither the host nor its devices reach it, and no guest does yet.',
      on: { RECLAIM: 'hostOwned' },
    },
    tainted: {
      description: 'The host’s, and mapped for DMA at least once: it never changes hands again.',
      on: { MAP: 'tainted', ACCESS: 'tainted' },
      meta: { rules: { DONATE: 'Registers that devices may have been told of are never given away.' } },
    },
  },
});
