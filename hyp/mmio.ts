/**
 * SMMU registers after boot: they are the hypervisor's, so every access of the host aborts. Events and errors are the
 * host's business all the same: the few registers that this needs are accessed on its behalf (android17's abort
 * handler of the paravirtual driver). Everything else is a fault like any other, and becomes an abort in the host.
 */

import type { Steps } from '#machine';
import type { Hyp } from './context.ts';
import { Register } from './smmu.ts';
import { SMMU_MMIO_SIZE } from './stage2.ts';

const WIDTH = 4;
/** GERROR.CMDQ_ERR and its bit in GERRORN. */
const CMDQ_ERR = 1;
/** What {@link forwardAccess} says of an access that is not forwarded. */
export const NOT_FORWARDED = -1;

/**
 * Perform an access of the host at `ipa` if it is one of those that are forwarded: 32 bits wide and aligned, to
 * EVENTQ_PROD, EVENTQ_CONS or GERRORN, or a read of GERROR. Errors of the command queue are not the host's to acknowledge.
 * @param width bytes; @param value what is written
 * @returns the register as an unsigned word, 0 for a write; {@link NOT_FORWARDED} when nothing was done
 */
export function* forwardAccess(h: Hyp, ipa: number, write: boolean, width: number, value: number): Steps<number> {
  if (width !== WIDTH || ipa % WIDTH !== 0) return NOT_FORWARDED;
  const smmu = h.smmus.find(({ base }) => ipa >= base && ipa < base + SMMU_MMIO_SIZE);
  if (smmu === undefined || !isForwarded(ipa - smmu.base, write)) return NOT_FORWARDED;
  yield { kind: 'register', at: ipa };
  if (!write) return h.bus.read32(ipa) >>> 0;
  // To acknowledge an error that is not there makes it active: the host would stop the hypervisor's command queue.
  const kept = ipa - smmu.base === Register.GERRORN ? CMDQ_ERR : 0;
  h.bus.write32(ipa, kept === 0 ? value : (value & ~kept) | (h.bus.read32(ipa) & kept));
  return 0;
}

function isForwarded(offset: number, write: boolean): boolean {
  switch (offset) {
    case Register.EVENTQ_PROD:
    case Register.EVENTQ_CONS:
    case Register.GERRORN:
      return true;
    case Register.GERROR:
      return !write;
    default:
      return false;
  }
}
