import type { DefectCard } from '../card.ts';

/** The number of a vCPU may be one too large. */
export const z07a: DefectCard = {
  id: 'Z07a',
  title: 'A vCPU that does not exist can be loaded',
  kind: 'CVE',
  upstream: {
    commits: [],
    cve: 'CVE-2025-48623',
    reference:
      'The index of a vCPU was not compared with the number of vCPUs when one was made. Modelled where this ' +
      'model takes such an index: vcpu_load. No matter of IOMMUs: a decoy that the oracles must see all the ' +
      'same.',
  },
  breaks: 'A vCPU that is loaded is one that the VM has.',
  attack: 'The host loads the vCPU behind the last one: the hypervisor works on a record that is not there.',
  profile: 'android17',
  cpus: 1,
  machine: 'tiny',
  property: 'accounting',
  edits: [
    {
      file: 'hyp/vm.ts',
      function: 'vcpuLoad',
      before: '  if (at >= 0 && h.memory.read32(loaded) === 0 && vcpu < h.memory.read32(at + VCPUS) >>> 0) {',
      after: '  if (at >= 0 && h.memory.read32(loaded) === 0 && vcpu <= h.memory.read32(at + VCPUS) >>> 0) {',
    },
  ],
};
