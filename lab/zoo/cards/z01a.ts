import type { DefectCard } from '../card.ts';

/** The StreamID is compared with the number of streams, but not strictly. */
export const z01a: DefectCard = {
  id: 'Z01a',
  title: 'A StreamID may be one too large',
  kind: 'CVE',
  upstream: {
    commits: ['0668e45a4339'],
    cve: 'CVE-2025-48624',
    reference:
      'The getter of stream table entries compared with > instead of >=. The repair compares the index before ' +
      'anything is formed from it.',
  },
  breaks: 'Nothing is written outside the stream table.',
  attack:
    'The host attaches the stream behind the last one and has the hypervisor write an entry past the end of ' +
    'the table, over whatever follows there.',
  profile: 'android17',
  cpus: 1,
  machine: 'tiny',
  property: 'spec',
  edits: [
    {
      file: 'hyp/stream-table.ts',
      function: 'findSte',
      before: '  if (sid >= 2 ** log2) return 0;',
      after: '  if (sid > 2 ** log2) return 0;',
    },
  ],
};
