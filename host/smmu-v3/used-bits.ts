/**
 * Which bits of an entry hardware looks at, given what the entry says, and which may change on a live entry in any
 * order. The entry writer relies on both.
 */

import { structures } from '#machine/host-view';
import { ENTRY_INTS, type Entry, join, narrowAddress } from './entry.ts';

const { CD, STE, SteConfig, getField, maskOf } = structures;

const V = maskOf(STE, 'V');
const ANY = maskOf(STE, 'V', 'Config');
const STAGE1 = maskOf(
  STE,
  'S1Fmt',
  'S1ContextPtr',
  'S1CDMax',
  'S1DSS',
  'S1CIR',
  'S1COR',
  'S1CSH',
  'S1STALLD',
  'STRW',
  'EATS',
  'MEV',
  'S2VMID',
);
const STAGE2 = maskOf(
  STE,
  'S2FWB',
  'EATS',
  'SHCFG',
  'MEV',
  'S2VMID',
  'S2T0SZ',
  'S2SL0',
  'S2IR0',
  'S2OR0',
  'S2SH0',
  'S2TG',
  'S2PS',
  'S2AA64',
  'S2ENDI',
  'S2PTW',
  'S2S',
  'S2R',
  'S2TTB',
);
const SHCFG = maskOf(STE, 'SHCFG');
narrowAddress(STAGE1, STE.field.S1ContextPtr);
narrowAddress(STAGE2, STE.field.S2TTB);

const CD_V = maskOf(CD, 'V');
const CD_ALL = new Int32Array(ENTRY_INTS).fill(-1);
const CD_HALF0 = maskOf(CD, 'T0SZ', 'TG0', 'IR0', 'OR0', 'SH0', 'TTB0');
narrowAddress(CD_HALF0, CD.field.TTB0);

const S1DSS_BYPASS = 1;
const EATS_SPLIT = 2;

/** The bits of an STE that hardware looks at. */
export function usedOfSte(ste: Entry, used: Entry): void {
  if ((ste[0]! & V[0]!) === 0) {
    used.set(V);
    return;
  }
  used.set(ANY);
  const config = getField(ste, STE.field.Config);
  if (config < SteConfig.bypass) return;
  const stage1 = (config & 1) !== 0;
  const stage2 = (config & 2) !== 0;
  if (stage1) join(used, STAGE1);
  if (stage2) join(used, STAGE2);
  if (config === SteConfig.bypass || (stage1 && getField(ste, STE.field.S1DSS) === S1DSS_BYPASS)) join(used, SHCFG);
}

/** The bits of a CD that hardware looks at: all, but for TTB0's half when it is not walked. */
export function usedOfCd(cd: Entry, used: Entry): void {
  if ((cd[0]! & CD_V[0]!) === 0) {
    used.set(CD_V);
    return;
  }
  used.set(CD_ALL);
  if (getField(cd, CD.field.EPD0) === 1) for (let i = 0; i < ENTRY_INTS; i++) used[i]! &= ~CD_HALF0[i]!;
}

const MEV = maskOf(STE, 'MEV');
/** EATS from off to full, or back. */
const EATS_FULL_LO = 1 << STE.field.EATS.low;

/**
 * The bits of an STE that may change while the entry is live. Merging of events is harmless. ATS may be switched,
 * because the device itself uses it only while its entry says so before and after; not where EATS is judged together
 * with other words (split ATS, or stalls of stage 2), since a mix of old and new words could then be ILLEGAL.
 */
export function safeForSte(from: Entry, to: Entry, safe: Entry): void {
  safe.set(MEV);
  const { EATS, S2S } = STE.field;
  const split = (getField(from, EATS) | getField(to, EATS)) & EATS_SPLIT;
  if (split === 0 && getField(from, S2S) === 0 && getField(to, S2S) === 0) safe[2 * EATS.word]! |= EATS_FULL_LO;
}

/** No bit of a CD is safe. */
export function safeForCd(_from: Entry, _to: Entry, safe: Entry): void {
  safe.fill(0);
}
