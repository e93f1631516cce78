/**
 * Makes a program out of a seed: a stream table with an entry for every device, context descriptors, tables with every
 * kind of descriptor on the way to a few addresses; then accesses, changes of all of these, and invalidations that fit,
 * or do not. One stage or the other, or stage 1 over stage 2; then CDs and stage-1 tables lie in IPA space. The lower
 * half of the address space, all three granules.
 *
 * Never made: what ends QEMU itself (in some versions an STE with stage 2 and S2AA64 0, and IPS of 52 bits and above),
 * commands that are ILLEGAL, tables in MMIO.
 */
import { Prng } from '../random/prng.ts';
import { cdAt, makeStreamTable, type SteWish, writeCd, writeSte } from './generate-entries.ts';
import { afterCd, afterSte, someInvalidation, tlbInvalidation } from './generate-invalidations.ts';
import { addressOf, makeSpace, type Put, type Space } from './generate-tables.ts';
import { SIDS } from './layout.ts';
import type { Program, StageName, Step } from './types.ts';

/** What programs are about. */
export interface Features {
  /** What translates. */
  readonly stage: StageName;
  /** May entries name stage 2? Where it exists they must also say AArch64. */
  readonly stage2: boolean;
}

/** VMID of streams without a stage 2 where others have one: they must not share it. */
const PLAIN_VMID = 9;

/** The program of a seed. */
export function generate(seed: number, features: Features): Program {
  const random = new Prng(seed);
  const steps: Step[] = [];
  const put: Put = (at, value, what) => {
    steps.push({ kind: 'write', at, value, what });
  };
  const { stage } = features;
  const spaces = stage === 'nested' ? nestedSpaces(random, put) : makeSpaces(random, stage, put);
  for (const space of spaces) if (space.stage === 1) writeCd(random, space, false, put);
  const { setup, steAt } = makeStreamTable(random, stage === 'nested', put);
  const owner = new Map<number, Space>();
  const give = (sid: number): void => {
    const { space, ...wish } = stage === 'nested' ? nestedWish(random, spaces) : plainWish(random, spaces, features);
    owner.set(sid, space);
    writeSte(random, steAt(sid), wish, put);
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
      // The tables of either stage.
      const changed = space.under !== null && random.chance(50) ? space.under : space;
      const ofCd = changed === space ? undefined : changed.addresses.find(({ wanted }) => wanted === cdAt(space));
      const address = ofCd !== undefined && random.chance(30) ? ofCd : random.pick(changed.addresses);
      const level = changed.change(random, address, put);
      if (random.chance(70)) steps.push(tlbInvalidation(random, sid, changed, address, level));
    } else if (choice < 90) {
      give(sid);
      if (random.chance(70)) steps.push(afterSte(random, sid));
    } else if (choice < 94 && space.stage === 1) {
      writeCd(random, space, true, put);
      if (random.chance(70)) steps.push(afterCd(random, sid));
    } else {
      steps.push(someInvalidation(random, sid, space));
    }
  }
  return { seed, setup, steps };
}

function makeSpaces(random: Prng, stage: 1 | 2, put: Put): Space[] {
  return Array.from({ length: 3 }, (_, index) => makeSpace(random, { index, stage }, put));
}

/** Two stages 2, three stages 1 above them, and one stage 1 alone. */
function nestedSpaces(random: Prng, put: Put): Space[] {
  const second = [0, 1].map((index) => makeSpace(random, { index, stage: 2, beneath: true }, put));
  const first = [2, 3, 4].map((index) => {
    const space = makeSpace(random, { index, stage: 1, under: random.pick(second) }, put);
    space.under!.cover(space.under!.ipaOf(cdAt(space)), cdAt(space));
    return space;
  });
  return [...second, ...first, makeSpace(random, { index: 5, stage: 1, vmid: PLAIN_VMID }, put)];
}

type Given = SteWish & { readonly space: Space };

function plainWish(random: Prng, spaces: readonly Space[], { stage, stage2 }: Features): Given {
  const space = random.pick(spaces);
  const kind = random.below(100);
  if (stage === 2) {
    const config = kind < 88 ? 6 : kind < 93 ? 4 : random.below(4);
    return { config, first: null, second: space, space };
  }
  const config = kind < 80 ? 5 : kind < 86 ? 4 : kind < 92 ? random.below(4) : kind < 95 ? 5 : stage2 ? 5 : 6;
  return { config, first: space, second: null, space };
}

function nestedWish(random: Prng, spaces: readonly Space[]): Given {
  const kind = random.below(100);
  const first = random.pick(spaces.filter(({ under }) => under !== null));
  const second = first.under!;
  if (kind < 76) return { config: 7, first, second, space: first };
  if (kind < 86) return { config: 6, first: null, second, space: second };
  const plain = spaces.at(-1)!;
  const config = kind < 94 ? 5 : random.below(5);
  return { config, first: plain, second: null, space: plain };
}
