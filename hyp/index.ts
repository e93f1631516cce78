/**
 * The hypervisor: EL2 of a protected machine. All it remembers is in simulated memory (layout.ts); this module puts its
 * parts behind one object. Written once as generators; the plain twin (`#hyp/plain`) is the same source without the
 * points where another CPU could step in.
 */

import { type AbortOutcome, type BootParameters, defaultProfile, type GuestExit, type Profile } from '#hypercall-abi';
import { configurePageTable, type PageTableLayout } from '#io-pgtable';
import type { Machine, Steps } from '#machine';
import { boot } from './boot.ts';
import type { Hyp } from './context.ts';
import { pageTableConfig } from './domain-record.ts';
import { enterGuest } from './entry/guest.ts';
import { entryOf } from './entry/index.ts';
import { mapHostOnDemand } from './host-stage2.ts';
import { identityLayout, identityOps } from './identity.ts';
import { hypLayout } from './layout.ts';
import { lock, unlock } from './lock.ts';
import { forwardAccess, NOT_FORWARDED } from './mmio.ts';
import { pageTableOps } from './page-table-ops.ts';
import { dropRequest } from './request.ts';

/** Name of this implementation, as reports and scenarios name it. */
export const identity = 'postern';

/** The hypervisor on one machine. */
export interface HypervisorInstance {
  readonly identity: string;
  readonly profile: Profile;
  readonly boot: (parameters: BootParameters) => Steps<number>;
  readonly hvc: (cpu: number, x: Int32Array) => Steps<void>;
  readonly guestHvc: (cpu: number, x: Int32Array) => Steps<GuestExit | null>;
  readonly abort: (cpu: number, ipa: number, write: boolean, width?: number, value?: number) => Steps<AbortOutcome>;
}

function tableLayouts(machine: Machine): (PageTableLayout | null)[] {
  return machine.description.smmus.flatMap((smmu) =>
    [1, 2].map((stage) => {
      if (!(stage === 1 ? smmu.stage1 : smmu.stage2)) return null;
      const layout = configurePageTable(pageTableConfig(smmu, stage));
      if (typeof layout === 'number') throw new RangeError(`smmu ${smmu.name}: no page table fits its stage ${stage}`);
      return layout;
    }),
  );
}

/**
 * Put a hypervisor on `machine` that keeps the contract of `profile`. Nothing happens to the machine before {@link HypervisorInstance.boot}.
 * @throws RangeError when the carve-out is too small, or an SMMU's geometry allows no page table
 */
export function createHypervisor(machine: Machine, profile: Profile = defaultProfile): HypervisorInstance {
  const layout = hypLayout(machine.description, profile);
  const enter = entryOf(profile);
  const layouts = tableLayouts(machine);
  const identityShape = identityLayout(machine.description.smmus);
  const contexts = machine.cpus.map((_, cpu): Hyp => {
    const h = {
      profile,
      memory: machine.memory,
      bus: machine.bus,
      cpu,
      cpus: machine.cpus,
      machine: machine.description,
      smmus: machine.description.smmus,
      layout,
      x: new Int32Array(16),
      domain: 0,
      domainId: 0,
      domainBase: 0,
      gather: { start: 0, end: 0, granule: 0 },
      element: new Int32Array(8),
      records: new Int32Array(1024),
      unmapCacheCount: 0,
      invalidated: true,
      mapResult: 0,
      pageTableOps: {} as Hyp['pageTableOps'],
      tableLayouts: layouts,
      identityLayout: identityShape,
      identityOps: {} as Hyp['identityOps'],
    };
    h.pageTableOps = pageTableOps(h);
    h.identityOps = identityOps(h);
    return h;
  });
  return {
    identity,
    profile,
    boot: function* (parameters: BootParameters): Steps<number> {
      return yield* boot(contexts[0]!, parameters);
    },
    hvc: function* (cpu: number, x: Int32Array): Steps<void> {
      const h = contexts[cpu]!;
      h.x = x;
      h.gather.granule = 0;
      h.unmapCacheCount = 0;
      h.invalidated = true;
      yield* enter(h);
    },
    guestHvc: function* (cpu: number, x: Int32Array): Steps<GuestExit | null> {
      const h = contexts[cpu]!;
      h.x = x;
      h.gather.granule = 0;
      h.unmapCacheCount = 0;
      h.invalidated = true;
      return yield* enterGuest(h);
    },
    abort: function* (cpu: number, ipa: number, write: boolean, width = 4, value = 0): Steps<AbortOutcome> {
      const h = contexts[cpu]!;
      const forwarded = yield* forwardAccess(h, ipa, write, width, value);
      if (forwarded !== NOT_FORWARDED) return { value: forwarded };
      yield* lock(h, layout.hostLock);
      const result = yield* mapHostOnDemand(h, ipa);
      yield* unlock(h, layout.hostLock);
      if (result !== 0) yield* dropRequest(h);
      return result === 0 ? 'retry' : 'inject';
    },
  };
}
