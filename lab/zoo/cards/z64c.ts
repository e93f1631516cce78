import type { DefectCard } from '../card.ts';

/** Detaching a stream that is detached already succeeds. */
export const z64c: DefectCard = {
  id: 'Z64c',
  title: 'A stream can be detached twice',
  kind: 'CLS',
  upstream: {
    commits: [],
    reference: 'A detach that finds nothing to do must not count as one.',
  },
  breaks: 'The reference count of a domain is one and the number of its streams.',
  attack:
    'The host attaches two streams, detaches one of them twice, and frees the domain while the other one ' +
    'translates through it.',
  profile: 'android17',
  cpus: 1,
  machine: 'tiny',
  property: 'spec',
  edits: [
    {
      file: 'hyp/attach.ts',
      function: 'detachS2',
      before: "  yield { kind: 'readDescriptor', at: ste };",
      after: ["  yield { kind: 'readDescriptor', at: ste };", '  if (steLo(h, ste, 0) === 0) return 0;'].join('\n'),
    },
  ],
};
