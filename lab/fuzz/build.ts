/** The hypervisor as the fuzzer runs it: built from its sources, with counters in the build that runs. */

import type { HypervisorFactory } from '../session/session.ts';
import { buildHypervisor, type EditSet } from '../zoo/index.ts';

/** A hypervisor, and how often each edge of its code was taken. */
export interface FuzzedHypervisor {
  readonly hypervisor: HypervisorFactory;
  readonly edges: Uint8Array;
}

/** @param interleaved whether calls overlap: then the stepped build runs */
export function fuzzedHypervisor(sets: readonly EditSet[], interleaved = false): FuzzedHypervisor {
  const plain = buildHypervisor(sets, { plain: true, counted: !interleaved });
  const stepped = buildHypervisor(sets, { plain: false, counted: interleaved });
  const create: HypervisorFactory = (machine, profile) => plain.createHypervisor(machine, profile);
  return {
    hypervisor: Object.assign(create, { stepped: () => stepped.createHypervisor }),
    edges: interleaved ? stepped.edges : plain.edges,
  };
}
