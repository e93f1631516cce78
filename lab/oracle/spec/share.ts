/** host_share_hyp and host_unshare_hyp (docs/abi-sources.md, section 2). x1 is a page number of 64 bits. */

import { PAGE } from '../facts.ts';
import { Owner } from '../ghost-pages.ts';
import type { Call } from './call.ts';
import { accept, type CallRules, refuse } from './row.ts';

/** The page that x1 numbers, or -1. A number is never taken modulo the address space. */
function preparePage(c: Call): void {
  c.page = c.facts.pageOf(c.number(1) * PAGE);
}

const share = 'host_share_hyp';
const unshare = 'host_unshare_hyp';

export const hostShareHyp: CallRules = {
  prepare: preparePage,
  rows: [
    refuse(share, 'EINVAL', (c) => c.page < 0, 'range'),
    refuse(share, 'EPERM', (c) => !c.ghost.pages.isHostAlone(c.page)),
    refuse(share, 'EINVAL', (c) => c.ghost.pages.references(c.page) !== 0, 'mapped'),
    accept(share, 'ok', {
      apply: (c) => {
        if (c.page < 0 || c.ghost.pages.owner(c.page) !== Owner.host) return;
        c.ghost.pages.setSharedWithHyp(c.page, true);
        c.touch(c.page);
      },
    }),
  ],
};

export const hostUnshareHyp: CallRules = {
  prepare: preparePage,
  rows: [
    refuse(unshare, 'EINVAL', (c) => c.page < 0),
    refuse(unshare, 'EPERM', (c) => !c.ghost.pages.isSharedWithHyp(c.page)),
    refuse(unshare, 'EBUSY', (c) => c.ghost.pages.references(c.page) !== 0),
    accept(unshare, 'ok', {
      apply: (c) => {
        if (c.page < 0) return;
        c.ghost.pages.setSharedWithHyp(c.page, false);
        c.touch(c.page);
      },
    }),
  ],
};
