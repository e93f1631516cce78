/** Random steps that give the hypervisor memory: for its pools, in memcaches, or for a call that asked for some. */

import { type CallName, Memcache } from '#hypercall-abi';
import type { Step, Value } from '../scenario/index.ts';
import type { GuestSteps } from './guests.ts';
import type { Asked } from './known.ts';
import type { Picks } from './picks.ts';

export class MemorySteps {
  private readonly picks: Picks;
  private readonly guests: GuestSteps;
  private readonly allowed: ReadonlySet<CallName>;
  /** The page with the memcaches, 0 where there is none. */
  private readonly memcaches: number;

  /** @param taken as for the generator */
  constructor(picks: Picks, guests: GuestSteps, allowed: ReadonlySet<CallName>, taken: readonly number[]) {
    this.picks = picks;
    this.guests = guests;
    this.allowed = allowed;
    this.memcaches = picks.world.profile.request === 'needs-page' ? (taken.at(-1) ?? 0) : 0;
  }

  /** Whether there are memcaches. */
  get hasMemcaches(): boolean {
    return this.memcaches !== 0;
  }

  /** What the host does about a wish; null when it may not. */
  serve({ step: { cpu }, request, ipa }: Asked): Step | null {
    if (request !== null && this.allowed.has('alloc_mgt_refill')) {
      const { pool, pages } = request;
      // Now and then more than that, so that the calls that follow need not ask.
      const more = this.picks.prng.chance(40) ? this.picks.prng.between(1, 8) : 0;
      if (pool !== 1) return { kind: 'topup', cpu, pool: 'heap', chunks: pages + more, order: 0 };
      const order = Math.ceil(Math.log2(pages));
      return { kind: 'topup', cpu, pool: 'iommu', chunks: order === 0 ? 1 + more : 1, order };
    }
    return ipa === null || !this.allowed.has('map_guest')
      ? null
      : this.guests.mapGuestAt(cpu, Math.floor(ipa / 0x1000));
  }

  fillMemcache(): Step {
    return { kind: 'topup', cpu: 0, pool: 'iommu', chunks: this.picks.prng.between(1, 4), order: 0 };
  }

  /** The host writes what it likes where the hypervisor looks for pages. */
  spoilMemcache(): Step {
    const { prng } = this.picks;
    const value: Value = prng.chance(60) ? { page: `p${prng.below(4)}` } : prng.next();
    const at = this.memcaches + (prng.chance(50) ? Memcache.head : Memcache.pages) + (prng.chance(20) ? 4 : 0);
    return { kind: 'write', cpu: 0, at, value };
  }

  topup(): Step {
    const { prng } = this.picks;
    const pool = prng.chance(85) ? 'iommu' : 'heap';
    const order = pool === 'iommu' && prng.chance(20) ? prng.between(1, 2) : 0;
    return { kind: 'topup', cpu: 0, pool, chunks: prng.between(1, order > 0 ? 1 : 3), order };
  }
}
