import type { DefectCard } from '../card.ts';

/** An attach to a domain that is not the guest's releases a lock that it has released already. */
export const z51a: DefectCard = {
  id: 'Z51a',
  title: 'An error path releases a lock twice',
  kind: 'FIX',
  upstream: {
    commits: ['f0a3950f0fa3'],
    reference: 'An error path of the paravirtual IOMMU released a lock that it had never taken.',
  },
  breaks: 'A lock is released once, by who holds it.',
  attack:
    'A guest attaches a device to an id that it was not given: the lock of the domain table is open while ' +
    'another CPU works under it.',
  profile: 'android17',
  cpus: 1,
  machine: 'two-smmus',
  property: 'panic',
  edits: [
    {
      file: 'hyp/guest-domain.ts',
      function: 'attachGuestStream',
      before: '  if (result !== 0) return result;',
      after: ['  if (result !== 0) {', '    yield* unlock(h, h.layout.domainLock);', '    return result;', '  }'].join(
        '\n',
      ),
    },
  ],
};
