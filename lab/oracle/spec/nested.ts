/**
 * attach_dev_nested, iotlb_inv_nested_domain and nested_cfg_sync (docs/abi-sources.md, section 3): the driver of this
 * generation has none of these operations, so every row refuses.
 */

import { PAGE } from '../facts.ts';
import type { Call } from './call.ts';
import { type CallRules, refuse } from './row.ts';
import { isForeign } from './stream.ts';

/** First page and number of pages of the buffer at x[at] with x[at + 1] bytes: in page and planned; page -1 for no RAM. */
function prepareBuffer(c: Call, at: number): void {
  const address = c.number(at);
  const end = Math.ceil((address + c.number(at + 1)) / PAGE);
  const first = Math.floor(address / PAGE);
  c.planned = end - first;
  c.page = c.facts.ramRange(first * PAGE, Math.max(1, c.planned));
}

function isShared(c: Call): boolean {
  for (let i = 0; i < c.planned; i++) if (!c.ghost.pages.isSharedWithHyp(c.page + i)) return false;
  return true;
}

/** Whether the domain in x[n] is in use, by the host. */
function isUsed(c: Call, n: number): boolean {
  const id = c.u32(n);
  return id < c.facts.profile.domains.count && c.ghost.domainUsed(id) && c.ghost.domainOwner(id) === 0;
}

const attach = 'attach_dev_nested';

export const attachDevNested: CallRules = {
  prepare: (c) => prepareBuffer(c, 6),
  rows: [
    refuse(attach, 'EPERM', (c) => isForeign(c), 'context'),
    refuse(attach, 'EINVAL', (c) => c.page < 0, 'range'),
    refuse(attach, 'EPERM', (c) => !isShared(c), 'pin'),
    refuse(attach, 'EINVAL', (c) => !isUsed(c, 2), 'domain'),
    refuse(attach, 'ENODEV', () => true),
  ],
};

const invalidate = 'iotlb_inv_nested_domain';

export const iotlbInvNestedDomain: CallRules = {
  prepare: () => {},
  rows: [refuse(invalidate, 'EINVAL', (c) => !isUsed(c, 1)), refuse(invalidate, 'ENODEV', () => true)],
};

const sync = 'nested_cfg_sync';

export const nestedCfgSync: CallRules = {
  prepare: (c) => prepareBuffer(c, 3),
  rows: [
    refuse(sync, 'EINVAL', (c) => c.page < 0),
    refuse(sync, 'EPERM', (c) => !isShared(c)),
    refuse(sync, 'ENODEV', () => true),
  ],
};
