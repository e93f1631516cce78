/** Stream tables, their entries and context descriptors for programs: mostly legal, sometimes with one thing wrong. */
import type { Prng } from '../random/prng.ts';
import { type Put, type Space, word } from './generate-tables.ts';
import { CDS, EMPTY, STRTAB } from './layout.ts';
import type { Setup } from './types.ts';

/** Kinds that a structure may be of, nearly all legal; more where a stream has three structures. */
const WILD = 30;
const CALM = 80;

/** The stream table of a program, and where the entry of each stream is. With `calm`, fewer streams have none. */
export function makeStreamTable(
  random: Prng,
  calm: boolean,
  put: Put,
): { setup: Setup; steAt: (sid: number) => number } {
  // SIDs reach 0xf0: with fewer bits some streams are beyond the table.
  const log2 = random.chance(calm ? 96 : 85) ? 8 : random.between(5, 7);
  const cr2 = random.chance(50) ? 2 : 0;
  if (random.chance(50)) {
    return { setup: { strtabBase: STRTAB, strtabBaseCfg: log2, cr2 }, steAt: (sid) => STRTAB + 64 * sid };
  }
  const split = random.pick([6, 6, 8, 10]);
  const level2 = (i: number): number => STRTAB + 0x10000 * (i + 1);
  for (let i = 0; i < Math.max(1, 2 ** (log2 - split)); i++) {
    const full = Math.min(split, 8) + 1;
    const span = random.chance(calm ? 95 : 80) ? full : random.pick([0, full - 1, Math.max(1, full - 2)]);
    put(STRTAB + 8 * i, word(level2(i) + span), 'L1STD');
  }
  const setup = { strtabBase: STRTAB, strtabBaseCfg: log2 | (split << 6) | (1 << 16), cr2 };
  return { setup, steAt: (sid) => level2(Math.floor(sid / 2 ** split)) + 64 * (sid % 2 ** split) };
}

/** What an STE is to do: its Config, the address space of its stage 1, and that of its stage 2. */
export interface SteWish {
  readonly config: number;
  readonly first: Space | null;
  readonly second: Space | null;
}

/** Writes a stream table entry. */
export function writeSte(random: Prng, at: number, { config, first, second }: SteWish, put: Put): void {
  const one = stage1Words(random, config, first);
  const two = second === null ? null : stage2Words(random, config, second);
  const valid = random.chance(97) ? 1 : 0;
  put(at, { hi: one.hi0, lo: valid | (config << 1) | one.lo0 }, 'STE');
  put(at + 8, { hi: 0, lo: one.lo1 }, 'STE');
  put(at + 16, { hi: two === null ? 0 : two.vtcr, lo: (second ?? first)?.vmid ?? 0 }, 'STE');
  put(at + 24, word(two === null ? 0 : two.ttb), 'STE');
  for (let i = 4; i < 8; i++) put(at + 8 * i, { hi: 0, lo: 0 }, 'STE');
}

/** Where the CD of an address space lies. */
export function cdAt(space: Space): number {
  return CDS + 64 * space.index;
}

function stage1Words(random: Prng, config: number, space: Space | null): { lo0: number; hi0: number; lo1: number } {
  let pointer = 0;
  if (space !== null) pointer = space.under === null ? cdAt(space) : space.under.ipaOf(cdAt(space));
  let hi0 = 0;
  let lo1 = config === 6 ? 0 : 0xd4;
  switch (random.below(config === 7 ? CALM : WILD)) {
    case 1:
      hi0 = 1 << random.between(27, 31);
      break;
    case 2:
      lo1 |= 1 << random.pick([27, 30, 31]);
      break;
    case 3:
      // A context pointer outside memory.
      if (space !== null) pointer += 2 ** random.pick(EMPTY);
      break;
    default:
      break;
  }
  const { hi, lo } = word(pointer);
  return { lo0: lo, hi0: hi0 | hi, lo1 };
}

function stage2Words(random: Prng, config: number, space: Space): { vtcr: number; ttb: number } {
  const granule = { 12: 0, 14: 2, 16: 1 }[space.granuleBits]!;
  const sl0 = space.granuleBits === 12 ? 2 - space.startLevel : 3 - space.startLevel;
  let vtcr = (64 - space.inputBits) | (sl0 << 6) | (granule << 14) | (space.ips << 16) | (1 << 19);
  // S2AFFD and S2PTW are those of the address space: they say how its leaves are judged. S2R.
  if (space.affd) vtcr |= 1 << 21;
  if (space.had) vtcr |= 1 << 22;
  if (random.chance(85)) vtcr |= 1 << 26;
  let ttb = space.root;
  const startShift = space.granuleBits + (3 - space.startLevel) * (space.granuleBits - 3);
  switch (random.below(config === 7 ? CALM : WILD)) {
    case 1:
      // Big endian, hardware updates, stalls.
      vtcr |= 1 << random.pick([20, 23, 24, 25]);
      break;
    case 2:
      vtcr = (vtcr & ~63) | random.pick([0, 16, 19, 40, 63]);
      break;
    case 3:
      vtcr |= 3 << 14;
      break;
    case 4:
      vtcr |= 3 << 6;
      break;
    case 5:
      ttb += 2 ** random.pick([36, 41, 43, 45]);
      break;
    case 6:
      // A start level above the one that is needed.
      vtcr = (vtcr & ~63) | (64 - Math.max(25, startShift - random.below(3)));
      break;
    default:
      break;
  }
  return { vtcr, ttb };
}

/** Writes the context descriptor of an address space; `again` for one that was there before. */
export function writeCd(random: Prng, space: Space, again: boolean, put: Put): void {
  const at = cdAt(space);
  const granule = { 12: 0, 14: 2, 16: 1 }[space.granuleBits]!;
  let lo = (64 - space.inputBits) | (granule << 6) | (1 << 8) | (1 << 10) | (3 << 12) | (1 << 30) | (1 << 31);
  // R, A, AA64. What decides how a leaf is judged (IPS, AFFD, HAD) never changes: that needs a TLB invalidation which the
  // model does not ask for.
  let hi = space.ips | (1 << 9) | (random.chance(85) ? 1 << 13 : 0) | (1 << 14) | (1 << 15) | (space.tag << 16);
  if (space.affd) hi |= 1 << 3;
  let ttb = space.root;
  let ttb1 = 0;
  switch (random.below(again || space.under === null ? WILD : CALM)) {
    case 0:
      lo &= ~(1 << random.pick([31, 30]));
      break;
    case 1:
      hi ^= 1 << random.pick([9, 10, 11, 12, 14]);
      break;
    case 2:
      lo |= 1 << random.pick([14, 15]);
      break;
    case 3:
      lo = (lo & ~63) | random.pick([0, 15, 40, 63]);
      break;
    case 4:
      lo |= 3 << 6;
      break;
    case 5:
      ttb += 2 ** random.pick([36, 41, 43, 45]);
      break;
    case 6:
    case 7:
      // An upper half, which no program goes to: of 16K, 4K or 64K granules, with a table here or there.
      lo = (lo & ~(1 << 30)) | (random.pick([15, 16, 25, 39]) << 16) | (random.between(1, 3) << 22);
      ttb1 = random.pick([space.root, space.root, space.root + 0x10000, 2 ** random.pick(EMPTY)]);
      break;
    case 8:
      // The lower half is off.
      lo |= 1 << 14;
      break;
    default:
      break;
  }
  // EPD1 is 1 unless case 0 took it away: then TTB1 must be looked at too.
  put(at, { hi, lo }, 'CD');
  put(at + 8, word(ttb + (space.had ? 2 : 0)), 'CD');
  put(at + 16, word(ttb1), 'CD');
  for (let i = 3; i < 8; i++) put(at + 8 * i, { hi: 0, lo: 0 }, 'CD');
}
