/** Defects of the published drivers that no card has, and why. */

export interface OutOfScope {
  readonly id: string;
  readonly title: string;
  readonly cves: readonly string[];
  readonly reason: string;
}

export const outOfScope: readonly OutOfScope[] = [
  {
    id: 'Z06',
    title: 'Handles of FF-A transfers of host and guests are mixed up',
    cves: ['CVE-2026-0037', 'CVE-2025-40266'],
    reason: 'FF-A, the protocol by which pages are lent to the secure world, is not modelled.',
  },
  {
    id: 'Z07b',
    title: 'Tracing buffer, start of a VM, pvmfw and MTE',
    cves: ['CVE-2025-48638', 'CVE-2026-0029', 'CVE-2025-48610', 'CVE-2026-0038'],
    reason:
      'Tracing, the firmware of protected VMs and memory tags are not modelled; how the start of a VM went wrong is not public.',
  },
  {
    id: 'Z37',
    title: 'A CMD_SYNC of the host is made harmless in a copy that is not sent',
    cves: [],
    reason: 'The driver here is the paravirtual one: it sends no commands of the host.',
  },
  {
    id: 'Z38',
    title: 'Tables and queues are read through another cache attribute than the hardware uses',
    cves: [],
    reason: 'The caches of CPUs are not modelled.',
  },
];
