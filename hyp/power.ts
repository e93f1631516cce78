/**
 * Power: the host switches an SMMU off and on through a power domain (android17's hvc_pd). Off, CR0 is 0 and GBPA aborts
 * every access (boot made sure of that); changes of tables and entries need no commands then, and none are issued. On,
 * everything that the SMMU may have kept is invalidated before it translates again.
 *
 * As upstream, registers and queues are taken to survive; what else a real SMMU loses is not modelled.
 */

import { err, POWER_DOMAIN_COUNT } from '#hypercall-abi';
import type { Steps } from '#machine';
import type { Hyp } from './context.ts';
import { lock, unlock } from './lock.ts';
import { disable, POWER, PowerState, resetSmmu, SMMU_LOCK, smmuRecord } from './smmu.ts';

/**
 * hvc_pd. @returns 0; -E2BIG no such power domain; -ENOENT no SMMU is in it; -ETIMEDOUT the SMMU does not answer: it is
 * off when it was to be on (upstream answers 0 whatever happened)
 */
export function* switchPower(h: Hyp, device: number, on: boolean): Steps<number> {
  if (device >= POWER_DOMAIN_COUNT) return err('E2BIG');
  const index = h.smmus.findIndex(({ powerDomain }) => powerDomain === device);
  if (index < 0) return err('ENOENT');
  const smmu = smmuRecord(h, index);
  yield* lock(h, smmu + SMMU_LOCK);
  const result = on ? yield* powerOn(h, smmu) : yield* powerOff(h, smmu);
  yield* unlock(h, smmu + SMMU_LOCK);
  return result;
}

function* powerOff(h: Hyp, smmu: number): Steps<number> {
  const result = yield* disable(h, smmu);
  if (result === 0) h.memory.write32(smmu + POWER, PowerState.off);
  return result;
}

function* powerOn(h: Hyp, smmu: number): Steps<number> {
  // Nobody else looks before the lock is released: from here on commands are issued again.
  h.memory.write32(smmu + POWER, PowerState.on);
  const result = yield* resetSmmu(h, smmu);
  if (result === 0) return 0;
  yield* disable(h, smmu);
  h.memory.write32(smmu + POWER, PowerState.off);
  return result;
}
