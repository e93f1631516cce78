import type { DefectCard } from '../card.ts';

/** A stage-2 detach frees a table of descriptors that there never was. */
export const z43: DefectCard = {
  id: 'Z43',
  title: 'Detach frees what it has no pointer to',
  kind: 'SRC',
  upstream: {
    commits: [],
    reference:
      'On the stage-2 path the pointer to the table of descriptors is not set, and freed all the same. What it ' +
      'holds is not defined; here it is the top-level table of the domain.',
  },
  breaks: 'A table is freed when nothing leads to it any more.',
  attack:
    'The host detaches a stage-2 stream: the hypervisor frees an arbitrary page, here one that the domain ' +
    'still translates through.',
  profile: 'rfc-v2',
  cpus: 1,
  machine: 'tiny',
  property: 'structure',
  edits: [
    {
      file: 'hyp/attach.ts',
      function: 'detachS2',
      before: '  return yield* clearSte(h, smmu, sid, ste);',
      after: [
        '  const { root } = domainPageTable(h, domainRecord(h, id), id);',
        '  const result = yield* clearSte(h, smmu, sid, ste);',
        '  if (result === 0) yield* freeCdTable(h, root, 0);',
        '  return result;',
      ].join('\n'),
    },
  ],
};
