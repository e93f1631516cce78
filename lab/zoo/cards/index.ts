import type { DefectCard } from '../card.ts';
import { z14 } from './z14.ts';
import { z23 } from './z23.ts';

/** Every defect of the zoo, in the order of the ids. */
export const cards: readonly DefectCard[] = [z14, z23];
