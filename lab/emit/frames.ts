/**
 * What crossed the boundary while a scenario ran: the registers of each call before and after. For files that other tools
 * read.
 */
import { decodeFunction, getNumber, type Hypervisor, type Profile } from '#hypercall-abi';
import type { Machine } from '#machine';
import type { HypervisorFactory } from '../session/session.ts';

const PAGE = 4096;
const LINKS_MAX = 4096;

/** One crossing, with x0 to x7 as (low, high) words. */
export interface Crossing {
  readonly cpu: number;
  readonly isGuest: boolean;
  readonly before: Int32Array;
  readonly after: Int32Array;
  /** The list of pages that a refill names, as the host has written it: address, and the 64-bit word there. */
  readonly links: readonly (readonly [pa: number, hi: number, lo: number])[];
}

/** The factory, with each crossing written to `log` when it has ended. */
export function logged(factory: HypervisorFactory, log: Crossing[]): HypervisorFactory {
  return (machine: Machine, profile?: Profile): Hypervisor => {
    const inner = factory(machine, profile);
    const crossed = <T>(cpu: number, isGuest: boolean, x: Int32Array, run: () => T): T => {
      const before = x.slice();
      const links = isGuest ? [] : linksOf(machine, before, profile);
      const result = run();
      log.push({ cpu, isGuest, before, after: x.slice(), links });
      return result;
    };
    return {
      identity: inner.identity,
      ...(inner.profile !== undefined && { profile: inner.profile }),
      boot: (parameters) => inner.boot(parameters),
      abort: (...access) => inner.abort(...access),
      hvc: (cpu, x) => crossed(cpu, false, x, () => inner.hvc(cpu, x)),
      ...(inner.guestHvc !== undefined && {
        guestHvc: (cpu: number, x: Int32Array) => crossed(cpu, true, x, () => inner.guestHvc!(cpu, x)),
      }),
    };
  };
}

/** The words that link the chunks of a refill, the last one first: in the order in which a host writes them. */
function linksOf({ memory }: Machine, x: Int32Array, profile?: Profile): Crossing['links'] {
  const spec = decodeFunction(x, profile);
  if (spec?.name !== 'alloc_mgt_refill') return [];
  const links: [number, number, number][] = [];
  const count = Math.min(getNumber(x, 3), LINKS_MAX);
  for (let head = getNumber(x, 2), i = 0; i < count; i++) {
    const pa = head - (head % PAGE);
    if (!memory.isRam(pa)) break;
    const [lo, hi] = [memory.read32(pa), memory.read32(pa + 4)];
    links.unshift([pa, hi, lo]);
    head = (hi >>> 0) * 2 ** 32 + (lo >>> 0);
  }
  return links;
}
