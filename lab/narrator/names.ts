/** How a story speaks of addresses and amounts. */

/** Name of a physical address, for a sentence. */
export type NameOf = (pa: number) => string;

const PAGE_SIZE = 4096;

/** `0x` and hexadecimal digits. */
export function hex(value: number): string {
  return `0x${value.toString(16)}`;
}

/** Bytes as pages, blocks or bytes. */
export function amount(bytes: number): string {
  if (bytes === PAGE_SIZE) return 'one page';
  if (bytes % PAGE_SIZE === 0) return `${bytes / PAGE_SIZE} pages`;
  return `${bytes} bytes`;
}

/** What a DMA mapping lets a device do. */
export function mappingRights(prot: number): string {
  const words = [
    (prot & 1) !== 0 ? 'read' : null,
    (prot & 2) !== 0 ? 'write' : null,
    (prot & 16) !== 0 ? 'device memory' : null,
  ].filter((word) => word !== null);
  return words.length === 0 ? 'without any right' : `for ${words.join(' and ')}`;
}
