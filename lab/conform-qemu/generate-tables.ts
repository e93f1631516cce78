/** The tables of one address space, for programs: a few addresses, and random descriptors on the way to each. */
import type { Word64 } from '../oracle/decode/fields.ts';
import type { Prng } from '../random/prng.ts';
import { target } from './generate.ts';
import { TABLES } from './layout.ts';

/** An address that leads somewhere, with where its descriptors lie. */
export interface Address {
  readonly iova: number;
  /** The descriptors on its way as they were first written, by level. */
  readonly at: readonly { readonly level: number; readonly pa: number }[];
}

/** One context descriptor's tables. */
export interface Space {
  readonly index: number;
  readonly asid: number;
  readonly granuleBits: number;
  readonly inputBits: number;
  /** IPS, encoded. */
  readonly ips: number;
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
export function makeSpace(random: Prng, index: number, put: Put): Space {
  const granuleBits = random.pick([12, 12, 12, 14, 16]);
  const stride = granuleBits - 3;
  const inputBits = 64 - random.pick([16, 16, 20, 25, 25, 28, 32, 39, random.between(16, 39)]);
  const start = 4 - Math.ceil((inputBits - granuleBits) / stride);
  const ips = random.pick([0, 1, 2, 4, 5, 5, 6]);
  const area = TABLES + index * 0x1000000;
  let next = area;
  const fresh = (): number => {
    const at = next;
    next += 2 ** granuleBits;
    return at;
  };
  const root = fresh();
  const children = new Map<number, number>();

  function descriptor(level: number, place: number): Word64 {
    const kind = random.below(100);
    const shift = granuleBits + (3 - level) * stride;
    if (level < 3 && kind < 78) {
      let child = children.get(place);
      if (child === undefined) {
        child = fresh();
        children.set(place, child);
      }
      let hi = 0;
      if (random.chance(15)) hi |= random.below(32) << 27;
      // Sometimes a table outside memory, or beyond the output size.
      const far = random.chance(3) ? 2 ** random.between(33, 46) : 0;
      const value = word(child + far);
      return { hi: value.hi | hi, lo: value.lo | 3 };
    }
    if (kind >= 96) return { hi: 0, lo: random.below(2 ** 31) & ~1 };
    if (kind >= 94) return { hi: 0, lo: random.below(2 ** 12) | 1 };
    const pa = target(random);
    const value = word(shift >= 32 ? pa : pa - (pa % 2 ** shift));
    const hi = (random.chance(10) ? random.below(4) << 21 : 0) | value.hi;
    let lo = value.lo & ~0xfff;
    lo |= (random.below(8) << 2) | (random.below(4) << 8) | (random.below(2) << 11);
    if (random.chance(85)) lo |= 0x40;
    if (random.chance(25)) lo |= 0x80;
    if (random.chance(88)) lo |= 0x400;
    return { hi, lo: lo | (level === 3 ? 3 : 1) };
  }

  const addresses: Address[] = [];
  const count = random.between(3, 8);
  for (let i = 0; i < count; i++) {
    const near = addresses.length > 0 && random.chance(50) ? random.pick(addresses).iova : null;
    const iova = near === null ? anywhere(random, inputBits, granuleBits) : neighbour(random, near, granuleBits, inputBits);
    const at: { level: number; pa: number }[] = [];
    let table: number | undefined = root;
    for (let level = start; level <= 3 && table !== undefined; level++) {
      const shift = granuleBits + (3 - level) * stride;
      const entries = level === start ? 2 ** (inputBits - shift) : 2 ** stride;
      const place: number = table + 8 * (Math.floor(iova / 2 ** shift) % entries);
      at.push({ level, pa: place });
      if (!children.has(place) || random.chance(20)) put(place, descriptor(level, place), `descriptor, level ${level}`);
      table = children.get(place);
    }
    addresses.push({ iova, at });
  }
  return {
    index,
    asid: random.chance(70) ? index + 1 : 1,
    granuleBits,
    inputBits,
    ips,
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
