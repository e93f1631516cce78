/**
 * The same stage-1 page table (Arm LPAE, 4K granule, coherent walker) written the plain way: 64-bit values are bigints,
 * tables are BigUint64Arrays, nothing is journaled. It is what the engine is measured against, and a second opinion on
 * every descriptor: the two are compared in the tests.
 */

const PAGE_BITS = 12n;
const LEVEL_BITS = 9n;
const ENTRIES = 512;
const TABLE_BYTES = 4096n;
const ADDRESS = 0xfffffffff000n;
const VALID = 1n;
const TABLE_OR_PAGE = 3n;
const READ = 1n;
const WRITE = 2n;
const EEXIST = -17n;
const EINVAL = -22n;
const ERANGE = -34n;

/** A stage-1 page table with the levels `start` to 3. */
export class BigintPageTable {
  /** Tables by physical address. */
  readonly tables = new Map<bigint, BigUint64Array>();
  readonly root: bigint;
  private next: bigint;
  private readonly start: bigint;
  private readonly ias: bigint;

  /**
   * @param ias bits of an input address: 39 or 48
   * @param base physical address of the first table; further ones follow, none is used again
   */
  constructor(ias: bigint, base: bigint) {
    this.ias = ias;
    this.start = ias > 39n ? 0n : 1n;
    this.next = base;
    this.root = this.allocate();
  }

  /** Maps up to `count` pages of `size` bytes; returns bytes mapped or a negative errno. */
  map(iova: bigint, pa: bigint, size: bigint, count: bigint, prot: bigint): bigint {
    const leafLevel = levelOf(size);
    if (leafLevel < 0n) return EINVAL;
    if (iova >> this.ias !== 0n || pa >> 48n !== 0n) return ERANGE;
    if ((prot & (READ | WRITE)) === 0n) return EINVAL;
    let table = this.root;
    for (let level = this.start; level < leafLevel; level++) {
      const entries = this.tables.get(table)!;
      const index = indexOf(iova, level);
      const entry = entries[index]!;
      if (entry === 0n) {
        table = this.allocate();
        entries[index] = table | TABLE_OR_PAGE;
      } else if ((entry & TABLE_OR_PAGE) !== TABLE_OR_PAGE) return EEXIST;
      else table = entry & ADDRESS;
    }
    const entries = this.tables.get(table)!;
    const first = indexOf(iova, leafLevel);
    const end = Math.min(ENTRIES, first + Number(count));
    for (let i = first; i < end; i++) {
      const entry = entries[i]!;
      if (entry === 0n) continue;
      if (isLeaf(entry, leafLevel)) return EEXIST;
      entries[i] = 0n;
      this.free(entry & ADDRESS, leafLevel + 1n);
    }
    const attributes = attributesOf(prot) | (leafLevel === 3n ? TABLE_OR_PAGE : VALID);
    for (let i = first; i < end; i++) entries[i] = (pa + BigInt(i - first) * size) | attributes;
    return BigInt(end - first) * size;
  }

  /** Unmaps up to `count` pages of `size` bytes, to the first hole; returns bytes unmapped. */
  unmap(iova: bigint, size: bigint, count: bigint): bigint {
    const leafLevel = levelOf(size);
    if (leafLevel < 0n || count <= 0n || iova >> this.ias !== 0n) return 0n;
    let table = this.root;
    for (let level = this.start; level < leafLevel; level++) {
      const entry = this.tables.get(table)![indexOf(iova, level)]!;
      if ((entry & TABLE_OR_PAGE) !== TABLE_OR_PAGE) return 0n;
      table = entry & ADDRESS;
    }
    const entries = this.tables.get(table)!;
    const first = indexOf(iova, leafLevel);
    const end = Math.min(ENTRIES, first + Number(count));
    let i = first;
    for (; i < end; i++) {
      const entry = entries[i]!;
      if (entry === 0n) break;
      entries[i] = 0n;
      if (!isLeaf(entry, leafLevel)) this.free(entry & ADDRESS, leafLevel + 1n);
    }
    return BigInt(i - first) * size;
  }

  /** The physical address that `iova` translates to; 0 when nothing is mapped. */
  translate(iova: bigint): bigint {
    let table = this.root;
    for (let level = this.start; level < 4n; level++) {
      const entry = this.tables.get(table)![indexOf(iova, level)]!;
      if (isLeaf(entry, level)) return (entry & ADDRESS) | (iova & ((1n << shiftOf(level)) - 1n));
      if (entry === 0n) return 0n;
      table = entry & ADDRESS;
    }
    return 0n;
  }

  /** {@link translate} where tables and output lie behind `below`, which has the tables of this one at their own addresses. */
  translateNested(iova: bigint, below: BigintPageTable): bigint {
    let table = this.root;
    for (let level = this.start; level < 4n; level++) {
      const entries = this.tables.get(below.translate(table));
      const entry = entries === undefined ? 0n : entries[indexOf(iova, level)]!;
      if (isLeaf(entry, level)) return below.translate((entry & ADDRESS) | (iova & ((1n << shiftOf(level)) - 1n)));
      if (entry === 0n) return 0n;
      table = entry & ADDRESS;
    }
    return 0n;
  }

  private allocate(): bigint {
    const table = this.next;
    this.next += TABLE_BYTES;
    this.tables.set(table, new BigUint64Array(ENTRIES));
    return table;
  }

  private free(table: bigint, level: bigint): void {
    if (level < 3n) {
      for (const entry of this.tables.get(table)!) {
        if ((entry & TABLE_OR_PAGE) === TABLE_OR_PAGE) this.free(entry & ADDRESS, level + 1n);
      }
    }
    this.tables.delete(table);
  }
}

function levelOf(size: bigint): bigint {
  for (let level = 3n; level >= 1n; level--) if (size === 1n << shiftOf(level)) return level;
  return -1n;
}

function shiftOf(level: bigint): bigint {
  return PAGE_BITS + LEVEL_BITS * (3n - level);
}

function indexOf(iova: bigint, level: bigint): number {
  return Number((iova >> shiftOf(level)) & BigInt(ENTRIES - 1));
}

function isLeaf(entry: bigint, level: bigint): boolean {
  return (entry & TABLE_OR_PAGE) === (level === 3n ? TABLE_OR_PAGE : VALID);
}

/** nG, AF; AP[2] read-only, AP[1] unprivileged; attribute index, shareability; XN. */
function attributesOf(prot: bigint): bigint {
  const has = (bit: bigint): boolean => (prot & bit) !== 0n;
  let bits = (1n << 11n) | (1n << 10n);
  if (!has(WRITE)) bits |= 1n << 7n;
  if (!has(32n)) bits |= 1n << 6n;
  bits |= (has(16n) ? 2n : has(4n) ? 1n : 0n) << 2n;
  bits |= (has(4n) ? 3n : 2n) << 8n;
  if (has(8n)) bits |= 3n << 53n;
  return bits;
}
