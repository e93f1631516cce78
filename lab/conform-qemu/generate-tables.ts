/** The tables of one address space, for programs: a few addresses, and random descriptors on the way to each. */
import type { Word64 } from '../oracle/decode/fields.ts';
import type { Prng } from '../random/prng.ts';
import { DATA, EMPTY, RAM_BASE, RAM_SIZE, TABLES } from './layout.ts';

/** An address that leads somewhere, with where its descriptors lie. */
export interface Address {
  readonly iova: number;
  /** The descriptors on its way as they were first written, by level. */
  readonly at: readonly { readonly level: number; readonly pa: number }[];
}

/** The tables of one context descriptor, or of one stage 2. */
export interface Space {
  readonly index: number;
  readonly stage: 1 | 2;
  /** ASID, or VMID. */
  readonly tag: number;
  readonly startLevel: number;
  readonly granuleBits: number;
  readonly inputBits: number;
  /** IPS or S2PS, encoded. */
  readonly ips: number;
  /** The access flag does not count; hierarchical permissions do not count. */
  readonly affd: boolean;
  readonly had: boolean;
  readonly root: number;
  readonly addresses: readonly Address[];
  /** Writes another descriptor on the way to `address`, and says at which level. */
  change(random: Prng, address: Address, put: Put): number;
}

type Put = (at: number, value: Word64, what: string) => void;

/** A number below 2^53 as a 64-bit word. */
export function word(value: number): Word64 {
  return { hi: Math.floor(value / 2 ** 32) | 0, lo: (value % 2 ** 32) | 0 };
}

/** Makes the tables of address space `index`. */
export function makeSpace(random: Prng, index: number, stage: 1 | 2, put: Put): Space {
  const granuleBits = random.pick([12, 12, 12, 14, 16]);
  const stride = granuleBits - 3;
  let inputBits = 64 - random.pick([16, 16, 20, 25, 25, 28, 32, 39, random.between(16, 39)]);
  let start = 4 - Math.ceil((inputBits - granuleBits) / stride);
  if (stage === 2) {
    // 44 bits at most; up to 16 tables side by side at the start level.
    start = granuleBits === 12 ? random.pick([0, 1, 1, 2]) : random.pick([1, 2, 2, 3]);
    const shift = granuleBits + (3 - start) * stride;
    const least = Math.max(25, shift + 1);
    const most = Math.min(44, shift + stride + 4);
    if (least > most) return makeSpace(random, index, stage, put);
    inputBits = random.between(least, most);
  }
  const ips = random.pick([0, 1, 2, 3, 4, 5, 5]);
  const area = TABLES + index * 0x1000000;
  let next = area;
  const fresh = (): number => {
    const at = next;
    next += 2 ** granuleBits;
    return at;
  };
  const root = fresh();
  // Tables side by side.
  next = root + Math.max(2 ** granuleBits, 8 * 2 ** (inputBits - granuleBits - (3 - start) * stride));
  /** By the address of a descriptor: the table below it, and the limits in its upper half, which stay. */
  const children = new Map<number, { readonly table: number; readonly limits: number }>();

  function descriptor(level: number, place: number): Word64 {
    const kind = random.below(100);
    const shift = granuleBits + (3 - level) * stride;
    if (level < 3 && kind < 78) {
      let child = children.get(place);
      if (child === undefined) {
        child = { table: fresh(), limits: stage === 1 && random.chance(15) ? random.below(32) << 27 : 0 };
        children.set(place, child);
      }
      // Sometimes a table outside memory, or beyond the output size.
      const far = random.chance(3) ? 2 ** random.pick(EMPTY) : 0;
      const value = word(child.table + far);
      return { hi: value.hi | child.limits, lo: value.lo | 3 };
    }
    if (kind >= 96) return { hi: 0, lo: random.below(2 ** 31) & ~1 };
    if (kind >= 94) return { hi: 0, lo: random.below(2 ** 12) | 1 };
    const pa = target(random);
    const value = word(shift >= 32 ? pa : pa - (pa % 2 ** shift));
    const hi = (random.chance(10) ? random.below(4) << 21 : 0) | value.hi;
    let lo = value.lo & ~0xfff;
    lo |= (random.below(8) << 2) | (random.below(4) << 8) | (stage === 1 ? random.below(2) << 11 : 0);
    // Stage 1: unprivileged access and write protection. Stage 2: reads and writes.
    if (random.chance(85)) lo |= 0x40;
    if (random.chance(stage === 1 ? 25 : 75)) lo |= 0x80;
    if (random.chance(88)) lo |= 0x400;
    return { hi, lo: lo | (level === 3 ? 3 : 1) };
  }

  const addresses: Address[] = [];
  const count = random.between(3, 8);
  for (let i = 0; i < count; i++) {
    const near = addresses.length > 0 && random.chance(50) ? random.pick(addresses).iova : null;
    const iova =
      near === null ? anywhere(random, inputBits, granuleBits) : neighbour(random, near, granuleBits, inputBits);
    const at: { level: number; pa: number }[] = [];
    let table: number | undefined = root;
    for (let level = start; level <= 3 && table !== undefined; level++) {
      const shift = granuleBits + (3 - level) * stride;
      const entries = level === start ? 2 ** (inputBits - shift) : 2 ** stride;
      const place: number = table + 8 * (Math.floor(iova / 2 ** shift) % entries);
      at.push({ level, pa: place });
      if (!children.has(place) || random.chance(20)) put(place, descriptor(level, place), `descriptor, level ${level}`);
      table = children.get(place)?.table;
    }
    addresses.push({ iova, at });
  }
  return {
    index,
    stage,
    tag: random.chance(70) ? index + 1 : 1,
    startLevel: start,
    granuleBits,
    inputBits,
    ips,
    affd: random.chance(50),
    had: random.chance(15),
    root,
    addresses,
    change(chooser, address, write) {
      const { level, pa } = chooser.chance(75) ? address.at.at(-1)! : chooser.pick(address.at);
      write(pa, descriptor(level, pa), `descriptor, level ${level}`);
      return level;
    },
  };
}

/** An address to access: mostly one that leads somewhere, at any word of its page. */
export function addressOf(random: Prng, space: Space): number {
  if (random.chance(4)) return anywhere(random, 48, 12) + 4;
  const { iova } = random.pick(space.addresses);
  return iova + 4 * random.below(2 ** (space.granuleBits - 2));
}

function anywhere(random: Prng, bits: number, granuleBits: number): number {
  const value = random.next() * 2 ** 21 + random.below(2 ** 21);
  const page = 2 ** granuleBits;
  const inside = value % 2 ** bits;
  return inside - (inside % page);
}

/** An address that shares tables with `iova`. */
function neighbour(random: Prng, iova: number, granuleBits: number, inputBits: number): number {
  const step = 2 ** (granuleBits + random.below(4) * (granuleBits - 3));
  const other = iova + step * random.between(1, 3);
  return other < 2 ** inputBits ? other : iova;
}

/** An address that devices may touch, aligned; mostly memory, sometimes nothing at all. */
function target(random: Prng): number {
  const kind = random.below(10);
  if (kind < 8) return DATA + random.below(0x7000) * 4096;
  return kind === 8
    ? RAM_BASE + RAM_SIZE + random.below(2 ** 20) * 4096
    : 2 ** random.between(40, 47) + random.below(2 ** 20) * 4096;
}
