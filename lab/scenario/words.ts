/** Words that stand for numbers in a scenario: domain types, protections, pools, flags. */

import {
  type ArgumentUnit,
  AttachFlag,
  type CallName,
  defaultProfile,
  PageResponse,
  PoolId,
  type Profile,
  Prot,
} from '#hypercall-abi';

type Words = Readonly<Record<string, number>>;

const pools: Words = PoolId;
const switches: Words = { off: 0, on: 1 };
const dmaProt: Words = Prot;
/** map_guest takes the protection bits of a stage-2 mapping. */
const guestProt: Words = { exec: 1, write: 2, read: 4 };

/** How numbers of one argument may be written. */
export interface WordSet {
  readonly words: Words;
  /** Words may be joined by `|`. */
  readonly isBits: boolean;
}

/** The words for an argument of that unit of that call, if it has any. */
export function wordsFor(unit: ArgumentUnit, call: CallName | null, profile: Profile = defaultProfile): WordSet | null {
  if (unit === 'domainType') return { words: { ...profile.domainTypes }, isBits: false };
  if (unit === 'switch') return { words: switches, isBits: false };
  if (unit === 'pool') return { words: pools, isBits: false };
  if (unit === 'prot') return { words: call === 'map_guest' ? guestProt : dmaProt, isBits: true };
  if (unit === 'attachFlags') return { words: AttachFlag, isBits: true };
  if (unit === 'pageResponse') return { words: PageResponse, isBits: false };
  return null;
}

/** The number that `text` stands for, or null. */
export function numberOfWords({ words, isBits }: WordSet, text: string): number | null {
  if (!isBits) return Object.hasOwn(words, text) ? words[text]! : null;
  let bits = 0;
  for (const word of text.split('|')) {
    if (!Object.hasOwn(words, word)) return null;
    bits |= words[word]!;
  }
  return bits;
}

/** The words for a number, or null where there are none for it. */
export function wordsOfNumber({ words, isBits }: WordSet, value: number): string | null {
  if (!isBits) return Object.keys(words).find((word) => words[word] === value) ?? null;
  const chosen = Object.keys(words).filter((word) => (value & words[word]!) !== 0);
  const covered = chosen.reduce((sum, word) => sum + words[word]!, 0);
  return value > 0 && covered === value ? chosen.join('|') : null;
}
