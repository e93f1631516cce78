import type { DefectCard } from '../card.ts';
import { z01a } from './z01a.ts';
import { z01b } from './z01b.ts';
import { z02a } from './z02a.ts';
import { z02b } from './z02b.ts';
import { z02c } from './z02c.ts';
import { z03a } from './z03a.ts';
import { z03b } from './z03b.ts';
import { z04 } from './z04.ts';
import { z05 } from './z05.ts';
import { z07a } from './z07a.ts';
import { z08 } from './z08.ts';
import { z11 } from './z11.ts';
import { z13 } from './z13.ts';
import { z14 } from './z14.ts';
import { z15 } from './z15.ts';
import { z17a } from './z17a.ts';
import { z17b } from './z17b.ts';
import { z18 } from './z18.ts';
import { z19 } from './z19.ts';
import { z21 } from './z21.ts';
import { z22a } from './z22a.ts';
import { z22b } from './z22b.ts';
import { z22c } from './z22c.ts';
import { z22d } from './z22d.ts';
import { z23 } from './z23.ts';
import { z25 } from './z25.ts';
import { z26 } from './z26.ts';
import { z27 } from './z27.ts';
import { z28 } from './z28.ts';
import { z30 } from './z30.ts';
import { z31a } from './z31a.ts';
import { z31b } from './z31b.ts';
import { z32 } from './z32.ts';
import { z33 } from './z33.ts';
import { z34a } from './z34a.ts';
import { z34b } from './z34b.ts';
import { z35 } from './z35.ts';
import { z39a } from './z39a.ts';
import { z39b } from './z39b.ts';
import { z40 } from './z40.ts';
import { z41 } from './z41.ts';
import { z43 } from './z43.ts';
import { z46a } from './z46a.ts';
import { z46b } from './z46b.ts';
import { z46c } from './z46c.ts';
import { z48 } from './z48.ts';
import { z49 } from './z49.ts';
import { z50 } from './z50.ts';
import { z51a } from './z51a.ts';
import { z51b } from './z51b.ts';
import { z51c } from './z51c.ts';
import { z53a } from './z53a.ts';
import { z53b } from './z53b.ts';
import { z55a } from './z55a.ts';
import { z55b } from './z55b.ts';
import { z56 } from './z56.ts';
import { z58 } from './z58.ts';
import { z59a } from './z59a.ts';
import { z59b } from './z59b.ts';
import { z60 } from './z60.ts';
import { z64a } from './z64a.ts';
import { z64b } from './z64b.ts';
import { z64c } from './z64c.ts';
import { z64d } from './z64d.ts';
import { z64e } from './z64e.ts';
import { z64f } from './z64f.ts';
import { z64g } from './z64g.ts';
import { z64h } from './z64h.ts';
import { z65 } from './z65.ts';

/** Every defect of the zoo, in the order of the ids. */
export const cards: readonly DefectCard[] = [
  z01a,
  z01b,
  z02a,
  z02b,
  z02c,
  z03a,
  z03b,
  z04,
  z05,
  z07a,
  z08,
  z11,
  z13,
  z14,
  z15,
  z17a,
  z17b,
  z18,
  z19,
  z21,
  z22a,
  z22b,
  z22c,
  z22d,
  z23,
  z25,
  z26,
  z27,
  z28,
  z30,
  z31a,
  z31b,
  z32,
  z33,
  z34a,
  z34b,
  z35,
  z39a,
  z39b,
  z40,
  z41,
  z43,
  z46a,
  z46b,
  z46c,
  z48,
  z49,
  z50,
  z51a,
  z51b,
  z51c,
  z53a,
  z53b,
  z55a,
  z55b,
  z56,
  z58,
  z59a,
  z59b,
  z60,
  z64a,
  z64b,
  z64c,
  z64d,
  z64e,
  z64f,
  z64g,
  z64h,
  z65,
];
