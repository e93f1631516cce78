/**
 * The invalidation array of a domain: what has to be invalidated when something is unmapped from it, on every SMMU and
 * for every device that it is attached to. Sorted, with a count of users. Readers go through it without a lock: a new
 * array is published before a device is attached, and an entry without users ("trash") stays until the next copy.
 */

/** What an entry invalidates, in the order of the array. */
export const InvalidationType = {
  /** Stage 1, by ASID. */
  S1_ASID: 0,
  /** Stage 2, by VMID. */
  S2_VMID: 1,
  /** What is cached of the guest's stage 1 over a stage 2, by VMID. */
  S2_VMID_S1_CLEAR: 2,
  /** A device's own cache, by address. */
  ATS: 3,
  /** A device's own cache, all of it: the addresses are the guest's. */
  ATS_FULL: 4,
} as const;
export type InvalidationType = (typeof InvalidationType)[keyof typeof InvalidationType];

/** What distinguishes an entry, most significant first. */
export interface InvalidationKey {
  /** Index of the SMMU. */
  readonly smmu: number;
  readonly type: InvalidationType;
  /** ASID, VMID or StreamID. */
  readonly id: number;
  /** PASID, of ATS entries. */
  readonly ssid: number;
  /** log2 of the smallest page, of entries by ASID or VMID. Not part of the order. */
  readonly pageShift: number;
}

export interface Invalidation extends InvalidationKey {
  /** Attachments that need it; 0 for trash. */
  users: number;
}

export interface InvalidationArray {
  readonly entries: Invalidation[];
  /** Number of entries without users. */
  trash: number;
  /** Some entry is of a device with ATS: readers must wait for such a device to be attached. */
  readonly hasAts: boolean;
}

const isAts = ({ type }: InvalidationKey) => type >= InvalidationType.ATS;

/** Order of the array. */
export function compareInvalidations(a: InvalidationKey, b: InvalidationKey): number {
  return a.smmu - b.smmu || a.type - b.type || a.id - b.id || a.ssid - b.ssid;
}

function arrayOf(entries: Invalidation[]): InvalidationArray {
  return { entries, trash: 0, hasAts: entries.some(isAts) };
}

/** An array with nothing in it. */
export function emptyInvalidations(): InvalidationArray {
  return arrayOf([]);
}

/** A new array without trash in which each key of `added` (sorted, no key twice) has one user more. */
export function mergeInvalidations(array: InvalidationArray, added: readonly InvalidationKey[]): InvalidationArray {
  const entries: Invalidation[] = [];
  let next = 0;
  for (const entry of array.entries) {
    if (entry.users === 0) continue;
    while (next < added.length && compareInvalidations(added[next]!, entry) < 0)
      entries.push({ ...added[next++]!, users: 1 });
    const same = next < added.length && compareInvalidations(added[next]!, entry) === 0;
    if (same) next++;
    entries.push({ ...entry, users: entry.users + Number(same) });
  }
  while (next < added.length) entries.push({ ...added[next++]!, users: 1 });
  return arrayOf(entries);
}

/**
 * Takes one user from each key of `removed` (sorted), in place: this cannot fail. Trash at the end is cut off, other
 * trash stays. A key that has no user is passed over.
 * @returns for each key whether someone still uses it; where nobody does, its ASID or VMID is to be flushed as a whole
 */
export function unrefInvalidations(array: InvalidationArray, removed: readonly InvalidationKey[]): boolean[] {
  const { entries } = array;
  const used = removed.map(() => false);
  let i = 0;
  removed.forEach((key, j) => {
    while (i < entries.length && compareInvalidations(entries[i]!, key) < 0) i++;
    const entry = entries[i];
    if (entry === undefined || entry.users === 0 || compareInvalidations(entry, key) !== 0) return;
    entry.users--;
    used[j] = entry.users > 0;
    if (entry.users === 0) array.trash++;
  });
  while (entries.at(-1)?.users === 0) {
    entries.pop();
    array.trash--;
  }
  return used;
}

/** A copy without trash; null when there is none. */
export function purgeInvalidations(array: InvalidationArray): InvalidationArray | null {
  if (array.trash === 0) return null;
  return arrayOf(array.entries.filter(({ users }) => users > 0).map((entry) => ({ ...entry })));
}
