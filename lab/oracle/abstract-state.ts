/** The state of the machine in coarse terms: what a fuzzer counts as different. */

import type { Facts } from './facts.ts';
import type { Ghost } from './ghost.ts';
import type { StaleSet } from './stale-set.ts';

/** Domains and VMs that are looked at: those that hosts use first. */
const DOMAINS = 6;
const VMS = 4;

/** None, one, more. */
const few = (count: number): number => Math.min(count, 2);
const any = (count: number): number => Number(count > 0);
const mixed = (hash: number, value: number): number => Math.imul(hash ^ value, 0x01000193);

/**
 * A 32-bit hash of what the machine is like as a whole: how many domains there are, streams attached to them and leaves
 * in them; how far the life of a VM has come, and whether one is loaded; whether any stream has identity, any SMMU is
 * off, anything waits for an invalidation. Counts go in few classes and objects have no numbers, so that there are some
 * hundred states: the more there are, the more inputs are kept, and the less often is one of them changed that matters.
 */
export function abstractState(facts: Facts, ghost: Ghost, stale: StaleSet): number {
  let live = 0;
  let attached = 0;
  let leaves = 0;
  for (let id = 1; id <= DOMAINS; id++) {
    if (!ghost.domainUsed(id)) continue;
    live++;
    attached += ghost.domainAttached(id);
    leaves += ghost.domainLeaves(id);
  }
  let life = 0;
  for (let slot = 0; slot < VMS; slot++) life = Math.max(life, ghost.vms.life(slot) * 2 + any(ghost.vms.loads(slot)));
  let off = 0;
  let identity = 0;
  for (let smmu = 0; smmu < facts.description.smmus.length; smmu++) {
    identity += ghost.identityStreams(smmu);
    off += Number(ghost.smmuOff(smmu));
  }
  const hash = mixed(mixed(0x811c9dc5, (few(live) * 3 + few(attached)) * 3 + few(leaves)), life);
  return mixed(hash, any(identity) * 4 + any(off) * 2 + any(stale.size));
}
