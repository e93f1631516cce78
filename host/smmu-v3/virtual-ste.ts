/**
 * Nesting: the two words of a stream table entry that a guest gives for its device, checked before any of it reaches
 * hardware. A guest chooses its stage 1 and nothing else.
 */

import { Errno } from '#hypercall-abi';
import { structures } from '#machine/host-view';
import { narrowAddress } from './entry.ts';

const { STE, SteConfig, getField, maskOf, setField } = structures;
const f = STE.field;

const EATS_OFF = 0;
const EATS_FULL = 1;

/** Words 0 and 1 of a guest's STE, and what was learnt of them. */
export interface VirtualSte {
  /** (lo, hi) of word 0, then of word 1. Checked in place: an accepted entry holds only what may reach hardware. */
  readonly words: Int32Array;
  /** The guest wants ATS. */
  ats: boolean;
}

const allowed = maskOf(STE, 'V', 'Config', 'S1Fmt', 'S1ContextPtr', 'S1CDMax');
const allowedInWord1 = maskOf(STE, 'S1DSS', 'S1CIR', 'S1COR', 'S1CSH', 'S1STALLD', 'EATS');
narrowAddress(allowed, f.S1ContextPtr);
for (let i = 0; i < allowed.length; i++) allowed[i]! |= allowedInWord1[i]!;

/**
 * Checks and cleans what a guest gave. An entry that is not valid becomes all zero. EATS is taken out: it becomes the
 * wish for ATS, and the host sets the field.
 * @returns 0, or -EIO: the entry has bits that a guest must not set, or asks for something else than abort, bypass or
 *   stage 1, or for split ATS
 */
export function validateVirtualSte(guest: VirtualSte): number {
  const { words } = guest;
  guest.ats = false;
  if ((words[0]! & 1) === 0) {
    words.fill(0);
    return 0;
  }
  for (let i = 0; i < 4; i++) if ((words[i]! & ~allowed[i]!) !== 0) return -Errno.EIO;
  const config = getField(words, f.Config);
  if (config !== SteConfig.abort && config !== SteConfig.bypass && config !== SteConfig.stage1) return -Errno.EIO;
  const eats = getField(words, f.EATS);
  setField(words, f.EATS, 0);
  if (eats !== EATS_OFF && eats !== EATS_FULL) return -Errno.EIO;
  guest.ats = config === SteConfig.stage1 && eats === EATS_FULL;
  return 0;
}
