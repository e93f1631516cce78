/** The vector runner of the lab, and what other suites of this room use of it. */
import type { Profile } from '#io-pgtable/plain';
import { Tally } from '#lab/conform/tally';
import { checkSequence } from '#lab/conform/vectors/lpae';
import type { Sequence } from '#lab/conform/vectors/lpae-types';

export { Arena, configFrom, configOut } from '#lab/conform/vectors/lpae-arena';
export { word64 } from '#lab/conform/vectors/words';

/** Replays a sequence; returns what differs, in words. Nothing means that all is equal. */
export function replay(sequence: Sequence, profile: Profile): string[] {
  const tally = new Tally(100);
  checkSequence(sequence, profile, tally);
  return tally.shown.map(({ where, what, expected, got }) => `${where}: ${what}: ${got} instead of ${expected}`);
}
