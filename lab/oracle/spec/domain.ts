/** alloc_domain and free_domain (docs/abi-sources.md, section 3). */

import type { Call } from './call.ts';
import { accept, type CallRules, lack, refuse } from './row.ts';

const alloc = 'alloc_domain';
const domains = (c: Call) => c.facts.profile.domains;
const stageOf = (c: Call): number => (c.i32(4) === c.facts.profile.domainTypes.s1 ? 1 : 2);
const smmu = (c: Call) => c.facts.description.smmus[c.u32(2)];
/** There is one driver. */
const DRIVER = 0;

export const allocDomain: CallRules = {
  prepare: () => {},
  rows: [
    refuse(alloc, 'ENODEV', (c) => c.u32(1) !== DRIVER, 'driver'),
    refuse(alloc, 'EINVAL', (c) => c.u32(3) >= domains(c).hostCount, 'id'),
    refuse(alloc, 'EINVAL', (c) => c.ghost.domainUsed(c.u32(3)), 'in-use'),
    refuse(alloc, 'EPERM', (c) => c.u32(3) === domains(c).identity),
    refuse(alloc, 'ENODEV', (c) => smmu(c) === undefined, 'iommu'),
    refuse(alloc, 'EINVAL', (c) => c.i32(4) < 0 || c.i32(4) >= c.facts.profile.domainTypeLimit, 'type'),
    // Deviation: upstream learns what stages there are while it makes the table.
    refuse(alloc, 'EINVAL', (c) => !(stageOf(c) === 1 ? smmu(c)!.stage1 : smmu(c)!.stage2), 'stage'),
    // Deviation: upstream tags with what the hardware leaves of the id.
    refuse(alloc, 'ERANGE', (c) => c.u32(3) >= 2 ** ((stageOf(c) === 1 ? smmu(c)!.asid16 : smmu(c)!.vmid16) ? 16 : 8)),
    accept(alloc, 'ok', {
      apply: (c) => {
        if (c.u32(3) >= domains(c).count || smmu(c) === undefined || c.ghost.domainUsed(c.u32(3))) return;
        c.ghost.makeDomain(c.u32(3), stageOf(c), c.u32(2));
        c.monitor.touched.domains.add(c.u32(3));
      },
      shortages: [
        lack(alloc, 'iommu', {
          pages: (c) => 2 ** Math.ceil(Math.log2(c.facts.geometry(c.u32(2), stageOf(c)).rootPages)),
        }),
      ],
    }),
  ],
};

const free = 'free_domain';

export const freeDomain: CallRules = {
  prepare: () => {},
  rows: [
    refuse(free, 'EINVAL', (c) => c.u32(1) >= domains(c).count, 'id'),
    refuse(free, 'ENODEV', (c) => !c.ghost.domainUsed(c.u32(1))),
    refuse(free, 'EINVAL', (c) => c.ghost.domainOwner(c.u32(1)) !== 0, 'owner'),
    refuse(free, 'EINVAL', (c) => c.ghost.domainAttached(c.u32(1)) !== 0, 'attached'),
    refuse(free, 'ETIMEDOUT', (c) => c.domainIsUnanswered(c.u32(1))),
    accept(free, 'ok', {
      apply: (c) => {
        const id = c.u32(1);
        if (id >= domains(c).count || !c.ghost.domainUsed(id)) return;
        c.ghost.freeDomain(id, c.touch);
        c.monitor.touched.domains.add(id);
      },
    }),
  ],
};
