/** Commands for programs: invalidations that fit what was changed, or do not. */
import { Opcode } from '../oracle/decode/command.ts';
import type { Prng } from '../random/prng.ts';
import type { Address, Space } from './generate-tables.ts';
import type { Step } from './types.ts';

function batch(random: Prng, commands: number[][]): Step {
  // Without SYNC nothing is complete, but it may well have happened.
  return { kind: 'commands', commands: random.chance(90) ? [...commands, [Opcode.SYNC, 0, 0, 0]] : commands };
}

/** What an STE's change asks for. */
export function afterSte(random: Prng, sid: number): Step {
  return batch(random, [[Opcode.CFGI_STE, sid, 1, 0]]);
}

/** What a CD's change asks for. */
export function afterCd(random: Prng, sid: number): Step {
  return batch(random, [[random.pick([Opcode.CFGI_CD, Opcode.CFGI_CD_ALL]), sid, 1, 0]]);
}

/** An invalidation out of the blue. */
export function someInvalidation(random: Prng, sid: number, space: Space): Step {
  const which = space.under !== null && random.chance(40) ? space.under : space;
  return tlbInvalidation(random, sid, which, random.pick(which.addresses), random.between(0, 3));
}

/** A TLB invalidation, mostly one that covers `address`. */
export function tlbInvalidation(random: Prng, sid: number, space: Space, address: Address, level: number): Step {
  const tag = random.chance(85) ? space.tag : random.below(4);
  const one = space.stage === 1;
  const vmid = random.chance(90) ? space.vmid : random.below(3);
  const hi0 = one ? (tag << 16) | vmid : tag;
  const page = Math.floor(address.input / 4096);
  const granule = { 12: 1, 14: 2, 16: 3 }[space.granuleBits]!;
  const hi1 = Math.floor(page / 2 ** 20);
  const lo1 = (page % 2 ** 20) * 4096;
  const leaf = level === 3 && random.chance(50) ? 1 : 0;
  const byAddress = one ? Opcode.TLBI_NH_VA : Opcode.TLBI_S2_IPA;
  const byTag = one ? Opcode.TLBI_NH_ASID : Opcode.TLBI_S12_VMALL;
  // What TLBI_S2_IPA leaves of a translation of both stages.
  const combined = [Opcode.TLBI_NH_ALL, hi0 & 0xffff, 0, 0];
  const here = [byAddress, hi0, lo1 | leaf | 0, hi1];
  switch (random.below(8)) {
    case 0:
      return batch(random, [one ? combined : [byTag, hi0, 0, 0]]);
    case 1:
      return batch(random, [[Opcode.TLBI_NSNH_ALL, 0, 0, 0]]);
    case 2:
      return batch(random, [[byTag, hi0, 0, 0]]);
    case 3:
      return batch(random, [[one ? Opcode.TLBI_NH_VAA : byAddress, one ? vmid : hi0, lo1 | leaf | 0, hi1]]);
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
      return batch(random, one || random.chance(50) ? [here] : [here, combined]);
  }
}
