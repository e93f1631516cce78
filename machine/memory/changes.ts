/** What the journal of a memory says has changed since a mark. */

import type { PhysicalMemory } from './physical-memory.ts';
import { PAGE_SIZE, WORDS_PER_PAGE, type WordChange } from './types.ts';

/** Words written since `mark`, by index in the order of their first write, with what they held at `mark`. */
export function writtenSince(memory: PhysicalMemory, mark: number): Map<number, number> {
  // The log is read backwards. A word met again is older: it takes the place of what was met before, so that in the end
  // each has its oldest value and the last one in is the one written first.
  const oldest = new Map<number, number>();
  memory.eachLogged(mark, (index, old) => {
    oldest.delete(index);
    oldest.set(index, old);
  });
  return new Map([...oldest].reverse());
}

/** Words whose content now differs from what it was at `mark`, in the order of their first write. */
export function changesSince(memory: PhysicalMemory, mark: number): WordChange[] {
  const changes: WordChange[] = [];
  for (const [index, old] of writtenSince(memory, mark)) {
    const now = memory.words[index]!;
    if (old === now) continue;
    const page = memory.paOfSlot(Math.floor(index / WORDS_PER_PAGE));
    changes.push({ pa: page < 0 ? -1 : page + ((4 * index) % PAGE_SIZE), index, old, now });
  }
  return changes;
}
