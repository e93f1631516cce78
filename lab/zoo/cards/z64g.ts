import type { DefectCard } from '../card.ts';

/** The number of vCPUs is read again after it was checked. */
export const z64g: DefectCard = {
  id: 'Z64g',
  title: 'A shared buffer is read twice',
  kind: 'CLS',
  upstream: {
    commits: [],
    reference: 'A buffer that the host shares stays writable: what is checked must be what is used.',
  },
  breaks: 'A VM has at least one vCPU, and as many as were checked.',
  attack:
    'The host changes the number of vCPUs on another CPU between the check and the use, and makes a VM that ' +
    'must not exist.',
  profile: 'android17',
  cpus: 2,
  machine: 'tiny',
  interleaved: 'cpus',
  property: 'ownership',
  edits: [
    {
      file: 'hyp/vm.ts',
      function: 'makeVm',
      before: '    h.memory.write32(at + VCPUS, vcpus);',
      after: '    h.memory.write32(at + VCPUS, yield* fetchWord(h, kvm + VmDescription.vcpus));',
    },
  ],
};
