/**
 * The life of a page of RAM, as calls of the host and of guests move it (docs/abi-sources.md section 2). How often it
 * is mapped for DMA, and with how many guests it is shared, is counted outside: the statechart is told of first and last
 * apart.
 *
 * Left out: pages that a guest shares or gives back while it runs, and device pages (device.ts).
 */

import { setup } from 'xstate';
import type { LifeCycleMeta } from './meta.ts';

const rules = {
  MAP_FIRST: 'A page may be mapped for DMA only while it is the host’s alone.',
  MAP: 'A page may be mapped for DMA only while it is the host’s alone.',
  UNMAP: 'Only a mapped page may be unmapped.',
  UNMAP_LAST: 'Only a mapped page may be unmapped.',
  SHARE_HYP: 'A page may be shared with the hypervisor only while it is the host’s alone.',
  UNSHARE_HYP: 'Only a page that is shared with the hypervisor may be taken back from sharing.',
  DONATE_HYP: 'A page may be donated to the hypervisor only while it is the host’s alone.',
  RETURN_HOST: 'The hypervisor gives back only a page that it owns.',
  DONATE_GUEST: 'A page may be donated to a guest only while it is the host’s alone.',
  RECLAIM_GUEST: 'Only a page that a guest owns may be reclaimed.',
  GUEST_MAP_FIRST: 'A guest maps only pages of its own for DMA.',
  GUEST_MAP: 'A guest maps only pages of its own for DMA.',
  GUEST_UNMAP: 'A guest unmaps only a page that it has mapped.',
  GUEST_UNMAP_LAST: 'A guest unmaps only a page that it has mapped.',
  SHARE_GUEST_FIRST:
    'A page may be shared with a guest only while it is the host’s, and not shared with the hypervisor.',
  SHARE_GUEST: 'A page may be shared with a guest only while it is the host’s, and not shared with the hypervisor.',
  UNSHARE_GUEST: 'Only a page that is shared with a guest may be taken back from sharing.',
  UNSHARE_GUEST_LAST: 'Only a page that is shared with a guest may be taken back from sharing.',
};

export type PageEvent = keyof typeof rules;

const whileMapped = 'A page that a device may reach must not change hands: it is unmapped everywhere first.';
const mapped = {
  SHARE_HYP: whileMapped,
  DONATE_HYP: whileMapped,
  DONATE_GUEST: whileMapped,
  SHARE_GUEST_FIRST: whileMapped,
  SHARE_GUEST: whileMapped,
};
const noDevice = (whose: string) => `No device of the host may reach a page that ${whose}.`;

export const pageMachine = setup({
  types: { events: {} as { type: PageEvent }, meta: {} as LifeCycleMeta },
}).createMachine({
  id: 'page',
  description: 'A page of RAM: whose it is, and whether its owner’s devices reach it.',
  initial: 'hostOwned',
  meta: { rules },
  states: {
    hostOwned: {
      description: 'The host’s alone, and not mapped for DMA.',
      on: {
        MAP_FIRST: 'hostDma',
        SHARE_HYP: 'sharedHyp',
        DONATE_HYP: 'hypOwned',
        DONATE_GUEST: 'guestOwned',
        SHARE_GUEST_FIRST: 'sharedGuest',
      },
    },
    hostDma: {
      description: 'The host’s alone, and mapped for DMA at least once.',
      on: { MAP: 'hostDma', UNMAP: 'hostDma', UNMAP_LAST: 'hostOwned' },
      meta: { rules: mapped },
    },
    sharedHyp: {
      description: 'The host’s, and the hypervisor may read and write it.',
      on: { UNSHARE_HYP: 'hostOwned' },
    },
    hypOwned: {
      description: 'The hypervisor’s alone: a table, a queue, or a free page of one of its pools.',
      on: { RETURN_HOST: 'hostOwned' },
      meta: {
        rules: { MAP_FIRST: noDevice('the hypervisor owns'), MAP: noDevice('the hypervisor owns') },
      },
    },
    guestOwned: {
      description: 'A protected guest’s alone.',
      on: { RECLAIM_GUEST: 'hostOwned', GUEST_MAP_FIRST: 'guestDma' },
      meta: { rules: { MAP_FIRST: noDevice('a guest owns'), MAP: noDevice('a guest owns') } },
    },
    guestDma: {
      description: 'A protected guest’s alone, and mapped for DMA of its devices at least once.',
      on: { GUEST_MAP: 'guestDma', GUEST_UNMAP: 'guestDma', GUEST_UNMAP_LAST: 'guestOwned' },
      meta: {
        rules: {
          MAP_FIRST: noDevice('a guest owns'),
          MAP: noDevice('a guest owns'),
          RECLAIM_GUEST: 'A page that a device of a guest may reach stays the guest’s until it is unmapped everywhere.',
        },
      },
    },
    sharedGuest: {
      description: 'The host’s, and mapped by at least one guest that is not protected.',
      on: { SHARE_GUEST: 'sharedGuest', UNSHARE_GUEST: 'sharedGuest', UNSHARE_GUEST_LAST: 'hostOwned' },
    },
  },
});
