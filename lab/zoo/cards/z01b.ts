import type { DefectCard } from '../card.ts';

/** The first level of the stream table is indexed by whatever StreamID the host names. */
export const z01b: DefectCard = {
  id: 'Z01b',
  title: 'A StreamID has no bound',
  kind: 'CVE',
  upstream: {
    commits: ['0668e45a4339'],
    cve: 'CVE-2025-48624',
    reference:
      'The allocator of level-2 tables indexed the first level with the StreamID of the host, unchecked; the ' +
      'pointer was formed before any comparison.',
  },
  breaks: 'Nothing is read or written outside the stream table.',
  attack:
    'The host names a StreamID whose level-1 descriptor would lie in a page of its own, or of the hypervisor, ' +
    'and so decides where stream table entries are, or overwrites what is there.',
  profile: 'android17',
  cpus: 1,
  machine: 'two-smmus',
  property: 'spec',
  edits: [{ file: 'hyp/stream-table.ts', function: 'findSte', before: '  if (sid >= 2 ** log2) return 0;', after: '' }],
};
