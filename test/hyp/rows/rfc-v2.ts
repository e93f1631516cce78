/** The shortest way to every row of RFC v2. */

import { tiny } from '#machine';
import { older } from './older.ts';
import { attach, attached, domain, hang, SID, s1, two } from './older-rig.ts';
import type { Ways } from './way.ts';

/** What the row is called where map_pages says no errno. */
const silently = (id: string): string => id.replace(/^map_pages\/E/, 'map_pages/0-E').replace('0-ENOMEM', 'ENOMEM');

const mine: Ways = {
  'attach_dev/EINVAL-type': {
    machine: { ...tiny, smmus: [{ ...tiny.smmus[0]!, stage1: false }] },
    run: (rig) => {
      domain(rig, 1, s1(rig));
      attach(rig, 1);
    },
  },
  'attach_dev/EINVAL-other-iommu': {
    machine: two,
    run: (rig) => {
      attached(rig);
      attach(rig, 1, SID, 0, 1);
    },
  },
  'free_domain/ETIMEDOUT': (rig) => {
    attached(rig);
    rig.call('detach_dev', 0, 1, SID, 0);
    hang(rig);
    rig.call('free_domain', 1);
  },
  'alloc_domain/ENOMEM-id': (rig) => rig.call('alloc_domain', 65536, s1(rig)),
};

/** Every row of RFC v2. */
export const rfcV2Ways: Ways = {
  ...Object.fromEntries(Object.entries(older).map(([id, way]) => [silently(id), way])),
  ...mine,
};
