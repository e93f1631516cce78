import type { DefectCard } from '../card.ts';

/** The number of pages to share is checked as a number of bytes, which wraps. */
export const z03a: DefectCard = {
  id: 'Z03a',
  title: 'The size of a shared range overflows',
  kind: 'CVE',
  upstream: {
    commits: [],
    cve: 'CVE-2026-0028',
    reference:
      '__pkvm_host_share_guest multiplied the number of pages by 4096 without looking for an overflow, checked ' +
      'the range that came out, and shared as many pages as were named. The repair checks the product and the ' +
      'range of page numbers.',
  },
  breaks: 'What is checked of a range is all that is changed of it.',
  attack:
    'The host shares 2^52 + 1 pages with a guest: the check sees one page, the transition runs over the end ' +
    "of the vmemmap and writes the hypervisor's own memory.",
  profile: 'android17',
  cpus: 1,
  machine: 'tiny',
  property: 'panic',
  edits: [
    {
      file: 'hyp/guest-memory.ts',
      function: 'sizeIsAllowed',
      before: '  return pages === 1 || (pages === BLOCK_PAGES && numbers.every((n) => n % BLOCK_PAGES === 0));',
      after: [
        '  const bytes = (pages * PAGE_SIZE) % 2 ** 64;',
        '  return bytes === PAGE_SIZE || (bytes === BLOCK_PAGES * PAGE_SIZE && numbers.every((n) => n % BLOCK_PAGES === 0));',
      ].join('\n'),
    },
    {
      file: 'hyp/guest-memory.ts',
      function: 'shareWithGuest',
      before: [
        "  if (ipa + pages * PAGE_SIZE > IPA_END || !isRamRange(h, pa, pages)) return err('EINVAL');",
        "  if (!(yield* guestHasNone(h, vm, ipa, pages))) return err('EPERM');",
        '  for (let i = 0; i < pages; i++) {',
      ].join('\n'),
      after: [
        '  const checked = ((pages * PAGE_SIZE) % 2 ** 64) / PAGE_SIZE;',
        "  if (ipa + checked * PAGE_SIZE > IPA_END || !isRamRange(h, pa, checked)) return err('EINVAL');",
        "  if (!(yield* guestHasNone(h, vm, ipa, checked))) return err('EPERM');",
        '  for (let i = 0; i < checked; i++) {',
      ].join('\n'),
    },
    {
      file: 'hyp/guest-memory.ts',
      function: 'shareWithGuest',
      before: '  const tables = yield* needGuestTables(h, vm, ipa, pages);',
      after: '  const tables = yield* needGuestTables(h, vm, ipa, checked);',
    },
  ],
};
