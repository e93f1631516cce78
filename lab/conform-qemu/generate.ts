/**
 * Makes a program out of a seed: a stream table with an entry for every device, context descriptors, tables with every
 * kind of descriptor on the way to a few addresses; then accesses, changes of all of these, and invalidations that fit,
 * or do not. One stage or the other, the lower half of the address space, all three granules.
 *
 * Never made: what ends QEMU itself (in some versions an STE with stage 2 and S2AA64 0, and IPS of 52 bits and above),
 * commands that are ILLEGAL, tables in MMIO.
 */
import { Opcode } from '../oracle/decode/command.ts';
import type { Word64 } from '../oracle/decode/fields.ts';
import { Prng } from '../random/prng.ts';
import { type Address, addressOf, makeSpace, type Space, word } from './generate-tables.ts';
import { CDS, EMPTY, SIDS, STRTAB } from './layout.ts';
import type { Program, Setup, Step } from './types.ts';

/** What programs are about. */
export interface Features {
  /** The stage that translates. */
  readonly stage: 1 | 2;
  /** May entries name stage 2? Where it exists they must also say AArch64. */
  readonly stage2: boolean;
}

/** The program of a seed. */
export function generate(seed: number, features: Features): Program {
  const random = new Prng(seed);
  const steps: Step[] = [];
  const put = (at: number, value: Word64, what: string): void => {
    steps.push({ kind: 'write', at, value, what });
  };
  const { stage } = features;
  const spaces = Array.from({ length: 3 }, (_, i) => makeSpace(random, i, stage, put));
  if (stage === 1) for (const space of spaces) writeCd(random, CDS + 64 * space.index, space, put);
  const { setup, steAt } = makeStreamTable(random, put);
  const owner = new Map<number, Space>();
  const give = (sid: number): void => {
    const space = random.pick(spaces);
    owner.set(sid, space);
    if (stage === 1) writeSte1(random, steAt(sid), space, features, put);
    else writeSte2(random, steAt(sid), space, put);
  };
  for (const sid of SIDS) give(sid);
  const rounds = random.between(20, 60);
  for (let i = 0; i < rounds; i++) {
    const sid = random.pick(SIDS);
    const space = owner.get(sid)!;
    const choice = random.below(100);
    if (choice < 72) {
      steps.push({ kind: 'dma', sid, iova: addressOf(random, space), write: random.chance(50) });
    } else if (choice < 84) {
      const address = random.pick(space.addresses);
      const level = space.change(random, address, put);
      if (random.chance(70)) steps.push(invalidation(random, sid, space, address, level));
    } else if (choice < 90) {
      give(sid);
      if (random.chance(70)) steps.push(batch(random, [[Opcode.CFGI_STE, sid, 1, 0]]));
    } else if (choice < 94 && stage === 1) {
      writeCd(random, CDS + 64 * space.index, space, put);
      const opcode = random.pick([Opcode.CFGI_CD, Opcode.CFGI_CD_ALL]);
      if (random.chance(70)) steps.push(batch(random, [[opcode, sid, 1, 0]]));
    } else {
      steps.push(invalidation(random, sid, space, random.pick(space.addresses), random.between(0, 3)));
    }
  }
  return { seed, setup, steps };
}

type Put = (at: number, value: Word64, what: string) => void;

function batch(random: Prng, commands: number[][]): Step {
  // Without SYNC nothing is complete, but it may well have happened.
  return { kind: 'commands', commands: random.chance(90) ? [...commands, [Opcode.SYNC, 0, 0, 0]] : commands };
}

/** A TLB invalidation, mostly one that covers `address`. */
function invalidation(random: Prng, sid: number, space: Space, address: Address, level: number): Step {
  const tag = random.chance(85) ? space.tag : random.below(4);
  const one = space.stage === 1;
  const hi0 = one ? tag << 16 : tag;
  const page = Math.floor(address.iova / 4096);
  const granule = { 12: 1, 14: 2, 16: 3 }[space.granuleBits]!;
  const hi1 = Math.floor(page / 2 ** 20);
  const lo1 = (page % 2 ** 20) * 4096;
  const leaf = level === 3 && random.chance(50) ? 1 : 0;
  const byAddress = one ? Opcode.TLBI_NH_VA : Opcode.TLBI_S2_IPA;
  const byTag = one ? Opcode.TLBI_NH_ASID : Opcode.TLBI_S12_VMALL;
  switch (random.below(8)) {
    case 0:
      return batch(random, [one ? [Opcode.TLBI_NH_ALL, 0, 0, 0] : [byTag, hi0, 0, 0]]);
    case 1:
      return batch(random, [[Opcode.TLBI_NSNH_ALL, 0, 0, 0]]);
    case 2:
      return batch(random, [[byTag, hi0, 0, 0]]);
    case 3:
      return batch(random, [[one ? Opcode.TLBI_NH_VAA : byAddress, one ? 0 : hi0, lo1 | leaf | 0, hi1]]);
    case 4: {
      // A range; SCALE 0 with TTL 0 and NUM 0 would be reserved.
      const num = random.between(1, 7);
      const scale = random.below(3);
      const low = lo1 - (lo1 % 2 ** space.granuleBits);
      return batch(random, [[byAddress | (num << 12) | (scale << 20), hi0, low | (granule << 10) | leaf | 0, hi1]]);
    }
    case 5:
      return batch(random, [[Opcode.CFGI_STE_RANGE, 0, 31, 0]]);
    case 6:
      return batch(random, [
        [Opcode.CFGI_STE, sid, 1, 0],
        [byTag, hi0, 0, 0],
      ]);
    default:
      return batch(random, [[byAddress, hi0, lo1 | leaf | 0, hi1]]);
  }
}

function makeStreamTable(random: Prng, put: Put): { setup: Setup; steAt: (sid: number) => number } {
  // SIDs reach 0xf0: with fewer bits some streams are beyond the table.
  const log2 = random.chance(85) ? 8 : random.between(5, 7);
  const cr2 = random.chance(50) ? 2 : 0;
  if (random.chance(50)) {
    return { setup: { strtabBase: STRTAB, strtabBaseCfg: log2, cr2 }, steAt: (sid) => STRTAB + 64 * sid };
  }
  const split = random.pick([6, 6, 8, 10]);
  const level2 = (i: number): number => STRTAB + 0x10000 * (i + 1);
  for (let i = 0; i < Math.max(1, 2 ** (log2 - split)); i++) {
    const full = Math.min(split, 8) + 1;
    const span = random.chance(80) ? full : random.pick([0, full - 1, Math.max(1, full - 2)]);
    put(STRTAB + 8 * i, word(level2(i) + span), 'L1STD');
  }
  const setup = { strtabBase: STRTAB, strtabBaseCfg: log2 | (split << 6) | (1 << 16), cr2 };
  return { setup, steAt: (sid) => level2(Math.floor(sid / 2 ** split)) + 64 * (sid % 2 ** split) };
}

function writeSte1(random: Prng, at: number, space: Space, features: Features, put: Put): void {
  const kind = random.below(100);
  const config = kind < 80 ? 5 : kind < 86 ? 4 : kind < 92 ? random.below(4) : kind < 95 ? 5 : features.stage2 ? 5 : 6;
  let lo0 = 1 | (config << 1) | (CDS + 64 * space.index) | 0;
  let hi0 = 0;
  let lo1 = 0xd4;
  switch (random.below(30)) {
    case 0:
      lo0 &= ~1;
      break;
    case 1:
      hi0 = 1 << random.between(27, 31);
      break;
    case 2:
      lo1 |= 1 << random.pick([27, 30, 31]);
      break;
    case 3:
      // A context pointer outside memory.
      hi0 = 1 << (random.pick(EMPTY) - 32);
      break;
    default:
      break;
  }
  put(at, { hi: hi0, lo: lo0 }, 'STE');
  put(at + 8, { hi: 0, lo: lo1 }, 'STE');
  for (let i = 2; i < 8; i++) put(at + 8 * i, { hi: 0, lo: 0 }, 'STE');
}

/** An STE of stage 2. */
function writeSte2(random: Prng, at: number, space: Space, put: Put): void {
  const kind = random.below(100);
  const config = kind < 88 ? 6 : kind < 93 ? 4 : random.below(4);
  const granule = { 12: 0, 14: 2, 16: 1 }[space.granuleBits]!;
  const sl0 = space.granuleBits === 12 ? 2 - space.startLevel : 3 - space.startLevel;
  let vtcr = (64 - space.inputBits) | (sl0 << 6) | (granule << 14) | (space.ips << 16) | (1 << 19);
  if (space.affd) vtcr |= 1 << 21;
  if (random.chance(85)) vtcr |= 1 << 26;
  let ttb = space.root;
  let lo0 = 1 | (config << 1);
  switch (random.below(30)) {
    case 0:
      lo0 &= ~1;
      break;
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
    default:
      break;
  }
  put(at, { hi: 0, lo: lo0 }, 'STE');
  put(at + 8, { hi: 0, lo: 0 }, 'STE');
  put(at + 16, { hi: vtcr, lo: space.tag }, 'STE');
  put(at + 24, word(ttb), 'STE');
  for (let i = 4; i < 8; i++) put(at + 8 * i, { hi: 0, lo: 0 }, 'STE');
}

function writeCd(random: Prng, at: number, space: Space, put: Put): void {
  const granule = { 12: 0, 14: 2, 16: 1 }[space.granuleBits]!;
  let lo = (64 - space.inputBits) | (granule << 6) | (1 << 8) | (1 << 10) | (3 << 12) | (1 << 30) | (1 << 31);
  // R, A, AA64. What decides how a leaf is judged (IPS, AFFD, HAD) never changes: that needs a TLB invalidation which the
  // model does not ask for.
  let hi = space.ips | (1 << 9) | (random.chance(85) ? 1 << 13 : 0) | (1 << 14) | (1 << 15) | (space.tag << 16);
  if (space.affd) hi |= 1 << 3;
  let ttb = space.root;
  switch (random.below(30)) {
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
    default:
      break;
  }
  // EPD1 is 1 unless case 0 took it away: then TTB1 must be looked at too.
  put(at, { hi, lo }, 'CD');
  put(at + 8, word(ttb + (space.had ? 2 : 0)), 'CD');
  for (let i = 2; i < 8; i++) put(at + 8 * i, { hi: 0, lo: 0 }, 'CD');
}
