/** How a story speaks of addresses: by the names that the scenario gave its pages, else in hexadecimal. */

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

/** Names from bindings of the form name → address of the first page, run length in pages. */
export function pageNames(
  bindings: Iterable<readonly [string, { readonly pa: number; readonly pages: number }]>,
): NameOf {
  const runs = [...bindings];
  return (pa) => {
    for (const [name, run] of runs) {
      const offset = pa - run.pa;
      if (offset < 0 || offset >= run.pages * PAGE_SIZE) continue;
      const page = Math.floor(offset / PAGE_SIZE);
      return page === 0 ? `page ${name}` : `page ${name}+${page}`;
    }
    return `the page at ${hex(pa)}`;
  };
}
