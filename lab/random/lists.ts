/**
 * Random steps about lists that the hypervisor reads from memory: the host shares a page, writes a list into it word by
 * word, and makes the call. In between, or afterwards, other steps may come to the same page.
 */

import { ScatterElement } from '#hypercall-abi';
import type { PageRef, Step, Value } from '../scenario/index.ts';
import { callStep } from './call-step.ts';
import { BLOCK, PAGE, type Picks } from './picks.ts';

/** Pages of lists: the second is seldom shared. */
const LIST_PAGES = ['sg', 'sg', 'sg', 'sg', 'p0'];

export class ListSteps {
  private readonly picks: Picks;
  /** Steps that come next. */
  private readonly pending: Step[] = [];

  constructor(picks: Picks) {
    this.picks = picks;
  }

  /** Begin a run anew. */
  reset(): void {
    this.pending.length = 0;
  }

  save(): readonly Step[] {
    return [...this.pending];
  }

  restore(steps: readonly Step[]): void {
    this.pending.splice(0, this.pending.length, ...steps);
  }

  /** A step of a list that was begun, if there is one. */
  next(): Step | null {
    return this.pending.shift() ?? null;
  }

  /** Steps that belong together, one after the other, behind those of a list that was begun. @returns what comes next, if anything */
  begin(steps: readonly Step[]): Step | null {
    this.pending.push(...steps);
    return this.next();
  }

  /** Share a page, or write a list of up to four ranges there and map it. */
  mapList(): Step | null {
    const { prng, world } = this.picks;
    const domain = this.picks.domain();
    if (domain === null) return null;
    const page = prng.pick(LIST_PAGES);
    if (page === 'sg' && world.pages.get(page) !== 'shared') {
      return callStep(world.profile, 0, 'host_share_hyp', { pfn: { page } });
    }
    const count = prng.between(1, 4);
    const first = prng.chance(90) ? 8 * prng.below(8) : PAGE - ScatterElement.size;
    for (let i = 0; i < count; i++) this.writeElement({ page, byte: first + i * ScatterElement.size });
    const iova = prng.chance(50) ? PAGE * prng.between(0, 31) : BLOCK * prng.between(1, 3) - PAGE * prng.below(4);
    this.pending.push(
      callStep(world.profile, this.picks.cpu(), 'map_sg', {
        domain: { name: domain.name },
        iova,
        sg: { page, byte: first },
        nent: prng.chance(95) ? count : prng.pick([0, count + 1, 170, 171, 0xffffffff]),
        prot: this.picks.prot(),
      }),
    );
    return this.next();
  }

  private writeElement(at: PageRef): void {
    const { prng } = this.picks;
    const isBlock = prng.chance(4);
    const pgcount = isBlock ? 1 : prng.chance(85) ? prng.between(1, 3) : prng.pick([0, 512, 2 ** 20, 0xffffffff]);
    const phys: Value = isBlock ? { page: 'huge', run: 512 } : this.picks.pages(Math.min(pgcount, 4));
    this.write(at, ScatterElement.phys, phys);
    if (prng.chance(3)) this.write(at, ScatterElement.phys + 4, 0xffffffff);
    this.write(
      at,
      ScatterElement.pgsize,
      isBlock ? BLOCK : prng.chance(93) ? PAGE : prng.pick([0, 0x800, 0x2000, BLOCK]),
    );
    this.write(at, ScatterElement.pgcount, pgcount);
  }

  private write({ page, byte = 0 }: PageRef, offset: number, value: Value): void {
    // What lies beyond the page is somebody else's: such a list has its last element cut off.
    if (byte + offset < PAGE) this.pending.push({ kind: 'write', cpu: 0, at: { page, byte: byte + offset }, value });
  }
}
