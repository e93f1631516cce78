/** The state of the machine in coarse terms: what a fuzzer counts as different. */

import { PoolId } from '#hypercall-abi';
import type { Facts } from './facts.ts';
import type { Ghost } from './ghost.ts';
import type { LayoutReader } from './layout-reader.ts';
import type { StaleSet } from './stale-set.ts';

/** Domains and VMs that are looked at: those that hosts use first. */
const DOMAINS = 6;
const VMS = 4;

/** 0, 1, 2 to 3, 4 to 7, more. */
function few(count: number): number {
  return count < 2 ? count : count < 4 ? 2 : count < 8 ? 3 : 4;
}

/**
 * A 32-bit hash of: per domain its kind, how many streams and leaves it has; per VM its life, whether it is loaded and
 * how many pages it has; per SMMU its power and identity streams; per pool what is left; how much waits for an
 * invalidation. Counts go in few classes.
 */
export function abstractState(facts: Facts, ghost: Ghost, reader: LayoutReader, stale: StaleSet): number {
  let hash = 0x811c9dc5;
  const add = (value: number): void => {
    hash = Math.imul(hash ^ value, 0x01000193);
  };
  for (let id = 1; id <= DOMAINS; id++) {
    if (!ghost.domainUsed(id)) add(0xff);
    else add(few(ghost.domainAttached(id)) * 64 + few(ghost.domainLeaves(id)) * 8 + ghost.domainStage(id) + 1);
  }
  for (let slot = 0; slot < VMS; slot++) {
    add(
      ghost.vmLife(slot) * 64 +
        few(ghost.vmPages(slot)) * 8 +
        ghost.vmLoads(slot) * 2 +
        Number(ghost.vmProtected(slot)),
    );
  }
  for (let smmu = 0; smmu < facts.description.smmus.length; smmu++) {
    add(few(ghost.identityStreams(smmu)) * 2 + Number(ghost.smmuOff(smmu)));
  }
  add(few(reader.poolFreePages(PoolId.heap)) * 8 + few(reader.poolFreePages(PoolId.iommu)));
  add(few(stale.size));
  return hash;
}
