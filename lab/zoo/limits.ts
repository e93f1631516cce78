/** What no engine can find that makes one call after the other. */

import type { DefectCard } from './card.ts';

const REASONS = {
  cpus: 'it shows only while two CPUs are in the middle of calls, and this engine makes one call after the other',
  stores: 'it shows only where stores become visible late, and to this engine every store is visible at once',
} as const;

/** The limit of engines whose calls do not overlap; null where there is none. */
export function between({ interleaved }: DefectCard): string | null {
  return interleaved === undefined ? null : REASONS[interleaved];
}
