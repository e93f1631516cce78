import type { DefectCard } from '../card.ts';

/** The range whose states are checked is cut off to 32 bits, the range that is changed is not. */
export const z03b: DefectCard = {
  id: 'Z03b',
  title: 'The size of a checked range overflows',
  kind: 'CVE',
  upstream: {
    commits: [],
    cve: 'CVE-2026-0030',
    reference:
      'The check of the states of a range of pages summed address and size without looking for an overflow, so ' +
      'that it looked at a small range where the transition was for a large one. Modelled where a map counts ' +
      'its pages, with 32 bits: 64 are tested at the entry.',
  },
  breaks: 'What is checked of a range is all that is changed of it.',
  attack:
    'The host maps 2^20 + 1 pages: one of them is checked, and the count of all of them is raised, over the ' +
    "end of the vmemmap into the hypervisor's own memory.",
  profile: 'android17',
  cpus: 1,
  machine: 'tiny',
  property: 'panic',
  edits: [
    {
      file: 'hyp/ownership.ts',
      function: 'useRam',
      before: [
        "  if (pages !== 1 && !isRamRange(h, pa, pages)) return err('EINVAL');",
        '  for (let done = 0; done < pages; ) {',
        '    const count = yield* readHypPages(h, first + HypPage.size * done, pages - done);',
      ].join('\n'),
      after: [
        '  const checked = ((pages * PAGE_SIZE) >>> 0) / PAGE_SIZE;',
        "  if (checked !== 1 && !isRamRange(h, pa, checked)) return err('EINVAL');",
        '  for (let done = 0; done < checked; ) {',
        '    const count = yield* readHypPages(h, first + HypPage.size * done, checked - done);',
      ].join('\n'),
    },
  ],
};
