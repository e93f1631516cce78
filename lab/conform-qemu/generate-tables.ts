/** The tables of one address space, for programs: a few addresses, and random descriptors on the way to each. */
import type { Word64 } from '../oracle/decode/fields.ts';
import { SIZE_BITS } from '../oracle/decode/fields.ts';
import type { Prng } from '../random/prng.ts';
import { DATA, EMPTY, RAM_BASE, RAM_SIZE, TABLES } from './layout.ts';

/** An address that leads somewhere, with where its descriptors lie. */
export interface Address {
  readonly input: number;
  /** The descriptors on its way as they were first written, by level. */
  readonly at: readonly { readonly level: number; readonly pa: number }[];
  /** Where it was made to lead, because tables of stage 1 lie there; null when anywhere. */
  readonly wanted: number | null;
}

/** The tables of one context descriptor, or of one stage 2. */
export interface Space {
  readonly index: number;
  readonly stage: 1 | 2;
  /** ASID, or VMID. */
  readonly tag: number;
  readonly vmid: number;
  readonly startLevel: number;
  readonly granuleBits: number;
  readonly inputBits: number;
  /** IPS or S2PS, encoded. */
  readonly ips: number;
  /** The access flag does not count; hierarchical permissions do not count. */
  readonly affd: boolean;
  readonly had: boolean;
  /** Address of the start table, as the stage above says it: an IPA below a stage 2. */
  readonly root: number;
  /** The stage 2 below a stage 1; null when its tables are at physical addresses. */
  readonly under: Space | null;
  /** Addresses to access, and those of tables of a stage 1 above. */
  readonly addresses: readonly Address[];
  /** Makes sure that descriptors are on the way to an address: to `wanted`, or to anything when that is null. */
  cover(address: number, wanted: number | null): Address;
  /** Stage 2: where it shows what lies at a physical address. */
  ipaOf(pa: number): number;
  /** Writes another descriptor on the way to `address`, and says at which level. */
  change(random: Prng, address: Address, put: Put): number;
}

export type Put = (at: number, value: Word64, what: string) => void;

/** What is asked of an address space. */
export interface SpaceWish {
  readonly index: number;
  readonly stage: 1 | 2;
  /** The stage 2 that a stage 1 is above. */
  readonly under?: Space;
  /** VMID of a stage 1 above none; 0 when left out. */
  readonly vmid?: number;
  /** A stage 2 that has a stage 1 above it: nothing but what is covered leads anywhere. */
  readonly beneath?: boolean;
}

/** A number below 2^53 as a 64-bit word. */
export function word(value: number): Word64 {
  return { hi: Math.floor(value / 2 ** 32) | 0, lo: (value % 2 ** 32) | 0 };
}

/** Bits of the offsets in memory. */
const MEMORY_BITS = Math.log2(RAM_SIZE);

interface Shape {
  readonly granuleBits: number;
  readonly startLevel: number;
  readonly inputBits: number;
}

function shapeOf(random: Prng, stage: 1 | 2, beneath: boolean): Shape {
  const granuleBits = random.pick([12, 12, 12, 14, 16]);
  const stride = granuleBits - 3;
  if (stage === 1) {
    const inputBits = 64 - random.pick([16, 16, 20, 25, 25, 28, 32, 39, random.between(16, 39)]);
    return { granuleBits, startLevel: 4 - Math.ceil((inputBits - granuleBits) / stride), inputBits };
  }
  // 44 bits at most; up to 16 tables side by side at the start level.
  const startLevel = granuleBits === 12 ? random.pick([0, 1, 1, 2]) : random.pick([1, 2, 2, 3]);
  const shift = granuleBits + (3 - startLevel) * stride;
  const least = Math.max(beneath ? MEMORY_BITS : 25, shift + 1);
  const most = Math.min(44, shift + stride + (beneath && random.chance(80) ? 0 : 4));
  if (least > most) return shapeOf(random, stage, beneath);
  return { granuleBits, startLevel, inputBits: random.between(least, most) };
}

/** Makes the tables of an address space. */
export function makeSpace(random: Prng, wish: SpaceWish, put: Put): Space {
  const { index, stage, under = null, beneath = false } = wish;
  const { granuleBits, startLevel, inputBits } = shapeOf(random, stage, beneath);
  const stride = granuleBits - 3;
  const shiftOf = (level: number): number => granuleBits + (3 - level) * stride;
  // An IPA is what memory's offset is, plus this.
  const windows = [0, MEMORY_BITS, 30, 32, 36, 40].filter((bits) => bits === 0 || bits < inputBits);
  const window = beneath ? random.pick(windows.map((bits) => (bits === 0 ? 0 : 2 ** bits))) : 0;
  const ips = sizeOf(random, beneath ? inputBits : under === null ? 0 : under.ipaOf(DATA));
  let next = TABLES + index * 0x1000000;
  const fresh = (): number => {
    const at = next;
    next += 2 ** granuleBits;
    return at;
  };
  const seenAt = (pa: number): number => (under === null ? pa : under.ipaOf(pa));
  const root = fresh();
  // Tables side by side.
  next = root + Math.max(2 ** granuleBits, 8 * 2 ** (inputBits - shiftOf(startLevel)));
  // With two stages there is twice as much on the way: less of it ends the access.
  const both = beneath || under !== null;
  const tables = both ? 90 : 78;
  const rights = {
    flag: both ? 95 : 88,
    first: both ? 93 : 85,
    second: stage === 1 ? (both ? 15 : 25) : both ? 85 : 75,
  };
  /** By the address of a descriptor: the table below it, and the limits in its upper half, which stay. */
  const children = new Map<number, { readonly table: number; readonly limits: number }>();
  const written = new Set<number>();
  const write = (to: Put, place: number, value: Word64, level: number): void => {
    written.add(place);
    to(place, value, `descriptor, level ${level}`);
  };

  function pointer(place: number): Word64 {
    let child = children.get(place);
    if (child === undefined) {
      child = { table: fresh(), limits: stage === 1 && random.chance(15) ? random.below(32) << 27 : 0 };
      children.set(place, child);
    }
    // Sometimes a table outside memory, or beyond the output size.
    const far = random.chance(beneath ? 1 : 3) ? 2 ** random.pick(EMPTY) : 0;
    const value = word(seenAt(child.table) + far);
    return { hi: value.hi | child.limits, lo: value.lo | 3 };
  }

  /** A descriptor of any kind. */
  function descriptor(level: number, place: number): Word64 {
    const kind = random.below(100);
    if (level < 3 && kind < tables) return pointer(place);
    if (kind >= 96) return { hi: 0, lo: random.below(2 ** 31) & ~1 };
    if (kind >= 94) return { hi: 0, lo: random.below(2 ** 12) | 1 };
    const pa = under === null ? target(random) : ipaTarget(random, under);
    return leaf(level, pa, rights);
  }

  /** A page or block; chances in percent of the access flag and of the two permission bits. */
  function leaf(level: number, pa: number, chance: { flag: number; first: number; second: number }): Word64 {
    const size = 2 ** shiftOf(level);
    const value = word(pa - (pa % size));
    const hi = (random.chance(10) ? random.below(4) << 21 : 0) | value.hi;
    let lo = value.lo & ~0xfff;
    lo |=
      (random.below(stage === 1 ? 8 : 16) << 2) | (random.below(4) << 8) | (stage === 1 ? random.below(2) << 11 : 0);
    // Stage 1: unprivileged access and write protection. Stage 2: reads and writes.
    if (random.chance(chance.first)) lo |= 0x40;
    if (random.chance(chance.second)) lo |= 0x80;
    if (random.chance(chance.flag)) lo |= 0x400;
    return { hi, lo: lo | (level === 3 ? 3 : 1) };
  }

  /** A descriptor on the way from an IPA to the tables that lie at `pa`. */
  function towards(level: number, place: number, ipa: number, pa: number): Word64 {
    const fits = (pa - ipa) % 2 ** shiftOf(level) === 0;
    const blocks = level > (granuleBits === 12 ? 0 : 1);
    if (level < 3 && !(fits && blocks && random.chance(15))) return pointer(place);
    return leaf(level, pa, { flag: 98, first: 98, second: 90 });
  }

  const tag = random.chance(beneath ? 85 : 70) ? index + 1 : 1;
  const addresses: Address[] = [];
  function cover(input: number, wanted: number | null): Address {
    const at: { level: number; pa: number }[] = [];
    let table: number | undefined = root;
    for (let level = startLevel; level <= 3 && table !== undefined; level++) {
      const size = 2 ** shiftOf(level);
      const entries = level === startLevel ? 2 ** (inputBits - shiftOf(level)) : 2 ** stride;
      const place: number = table + 8 * (Math.floor(input / size) % entries);
      at.push({ level, pa: place });
      under?.cover(under.ipaOf(place), place);
      const anew = !children.has(place) && !(beneath && written.has(place));
      if (wanted !== null ? anew : anew || random.chance(beneath ? 3 : 20)) {
        const value = wanted === null ? descriptor(level, place) : towards(level, place, input, wanted);
        write(put, place, value, level);
        if (under !== null) coverTarget(under, value, level, input % size);
      }
      table = children.get(place)?.table;
    }
    const address = { input, at, wanted };
    addresses.push(address);
    return address;
  }

  const space: Space = {
    ...{ index, stage, startLevel, granuleBits, inputBits, ips, under, addresses, cover },
    tag,
    vmid: stage === 2 ? tag : (under?.vmid ?? wish.vmid ?? 0),
    affd: random.chance(50),
    had: random.chance(15),
    root: seenAt(root),
    ipaOf: (pa) => pa - RAM_BASE + window,
    change(chooser, address, to) {
      const { level, pa } = chooser.chance(75) ? address.at.at(-1)! : chooser.pick(address.at);
      const kind = address.wanted === null ? 0 : chooser.below(100);
      // Tables of stage 1 come back, or move to where others are, or nothing is.
      const away = kind < 65 ? 0 : kind < 90 ? 4096 * chooser.between(-2, 4) : 2 ** chooser.pick(EMPTY);
      const value = kind < 30 ? descriptor(level, pa) : towards(level, pa, address.input, (address.wanted ?? 0) + away);
      write(to, pa, value, level);
      if (under !== null) coverTarget(under, value, level, address.input % 2 ** shiftOf(level));
      return level;
    },
  };
  /** Stage 2 leads somewhere from where a leaf of stage 1 leads. */
  function coverTarget(below: Space, { hi, lo }: Word64, level: number, offset: number): void {
    const leads = level === 3 ? (lo & 3) === 3 : (lo & 3) === 1;
    const size = 2 ** shiftOf(level);
    const base = ((hi & 0xffff) >>> 0) * 2 ** 32 + (lo >>> 0);
    const ipa = base - (base % size) + offset;
    if (leads && ipa < 2 ** below.inputBits) below.cover(ipa - (ipa % 4096), null);
  }
  if (!beneath) fill(random, space, random.between(3, 8));
  return space;
}

function fill(random: Prng, space: Space, count: number): void {
  const { inputBits, granuleBits, addresses } = space;
  for (let i = 0; i < count; i++) {
    const near = addresses.length > 0 && random.chance(50) ? random.pick(addresses).input : null;
    const input =
      near === null ? anywhere(random, inputBits, granuleBits) : neighbour(random, near, granuleBits, inputBits);
    space.cover(input, null);
  }
}

/** An output size, encoded; mostly one that holds `least`: bits, or an address. */
function sizeOf(random: Prng, least: number): number {
  const any = random.pick([0, 1, 2, 3, 4, 5, 5]);
  if (least === 0 || random.chance(10)) return any;
  const bits = least < 64 ? least : Math.ceil(Math.log2(least));
  return random.pick([0, 1, 2, 3, 4, 5].filter((encoded) => SIZE_BITS[encoded]! >= bits));
}

/** An address to access: mostly one that leads somewhere, at any word of its page. */
export function addressOf(random: Prng, space: Space): number {
  const known = space.addresses.filter(({ wanted }) => wanted === null);
  if (known.length === 0 || random.chance(4)) return anywhere(random, 48, 12) + 4;
  const { input } = random.pick(known);
  const page = 2 ** space.granuleBits;
  return input - (input % page) + 4 * random.below(page / 4);
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

/** An IPA for stage 1 to lead to: mostly where stage 2 shows data, sometimes anywhere below it or beyond. */
function ipaTarget(random: Prng, under: Space): number {
  const kind = random.below(20);
  if (kind < 17) return under.ipaOf(DATA + random.below(0x7000) * 4096);
  return kind < 19 ? anywhere(random, under.inputBits, 12) : 2 ** random.between(28, 47);
}
