/**
 * The naive reference of the properties: leaves and tables in Maps, one address at a time. It knows the contract, not
 * the descriptors: 4K pages, 2M and 1G blocks, three levels.
 */
import { Errno, Prot } from '#io-pgtable/plain';

export const KIB4 = 2 ** 12;
export const MIB2 = 2 ** 21;
export const GIB1 = 2 ** 30;
const SIZES = [GIB1, MIB2, KIB4];
const PER_TABLE = 512;

export interface ReferenceLeaf {
  readonly pa: number;
  readonly size: number;
}

export class Reference {
  readonly leaves = new Map<number, ReferenceLeaf>();
  /** What has a table below it, as `size:iova`. */
  readonly tables = new Set<string>();

  map(iova: number, pa: number, size: number, count: number, prot: number): number {
    if ((prot & (Prot.READ | Prot.WRITE)) === 0) return Errno.EINVAL;
    for (const larger of SIZES.filter((other) => other > size)) {
      if (this.leaves.get(start(iova, larger))?.size === larger) return Errno.EEXIST;
      this.tables.add(`${larger}:${start(iova, larger)}`);
    }
    const slots = this.slots(iova, size, count);
    for (const slot of slots) {
      if (this.leaves.get(slot)?.size === size) return Errno.EEXIST;
      this.removeBelow(slot, size);
    }
    slots.forEach((slot, i) => {
      this.leaves.set(slot, { pa: pa + i * size, size });
    });
    return slots.length * size;
  }

  unmap(iova: number, size: number, count: number): number {
    if (count === 0) return 0;
    for (const larger of SIZES.filter((other) => other > size)) {
      if (!this.tables.has(`${larger}:${start(iova, larger)}`)) return 0;
    }
    let done = 0;
    for (const slot of this.slots(iova, size, count)) {
      if (this.leaves.get(slot)?.size === size) this.leaves.delete(slot);
      else if (!this.removeBelow(slot, size)) break;
      done += size;
    }
    return done;
  }

  translate(iova: number): number {
    for (const size of SIZES) {
      const leaf = this.leaves.get(start(iova, size));
      if (leaf?.size === size) return leaf.pa + (iova - start(iova, size));
    }
    return 0;
  }

  /** The slots that one call may touch: not beyond the end of their table. */
  private slots(iova: number, size: number, count: number): number[] {
    const end = start(iova, size * PER_TABLE) + size * PER_TABLE;
    return Array.from({ length: count }, (_, i) => iova + i * size).filter((slot) => slot < end);
  }

  /** Removes the table of a slot with all below it; false when there is none. */
  private removeBelow(slot: number, size: number): boolean {
    if (!this.tables.has(`${size}:${slot}`)) return false;
    const isBelow = (iova: number): boolean => start(iova, size) === slot;
    for (const iova of this.leaves.keys()) if (isBelow(iova)) this.leaves.delete(iova);
    for (const name of this.tables) {
      const [tableSize, iova] = name.split(':').map(Number) as [number, number];
      if (tableSize <= size && isBelow(iova)) this.tables.delete(name);
    }
    return true;
  }
}

function start(iova: number, size: number): number {
  return Math.floor(iova / size) * size;
}
