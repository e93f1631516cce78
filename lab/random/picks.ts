/** What a random step is about: a domain, a stream, a CPU, pages, a range of addresses; mostly one that means something. */

import { Prot } from '#hypercall-abi';
import type { MachineDescription } from '#machine';
import { type NamedStream, namedStreams, type Value } from '../scenario/index.ts';
import type { Choices } from './choices.ts';
import type { Domain, Mapping } from './known.ts';
import type { World } from './world.ts';

export const PAGE = 0x1000;
export const BLOCK = 0x200000;
const GIB = 0x40000000;
/** Single pages and their names, and the runs of pages that are mapped in pieces. */
export const SINGLES = 8;
const RUN = 16;

export const PASIDS = [1, 2, 3, 7, 64];

const PROTS = [
  Prot.read | Prot.write,
  Prot.read | Prot.write | Prot.cache,
  Prot.read,
  Prot.write,
  Prot.read | Prot.write | Prot.priv,
  Prot.read | Prot.noexec,
  Prot.read | Prot.write | Prot.mmio,
];

export class Picks {
  readonly machine: MachineDescription;
  readonly world: World;
  readonly streams: readonly NamedStream[];
  /** Whether it matters which IOMMU or PASID a call names. */
  readonly isVaried: boolean;
  /** Where the decisions come from. */
  prng: Choices;

  constructor(machine: MachineDescription, world: World, prng: Choices) {
    this.machine = machine;
    this.world = world;
    this.streams = namedStreams(machine);
    this.isVaried = machine.smmus.length > 1 || machine.smmus.some(({ ssidBits }) => ssidBits > 0);
    this.prng = prng;
  }

  usedIova(domain: Domain): number {
    const { prng } = this;
    const gone = domain.unmapped.length > 0 && prng.chance(35);
    const range = gone ? prng.pick(domain.unmapped) : this.mapping(domain);
    if (range === null) return PAGE * prng.between(0, 15);
    return range.iova + PAGE * prng.below(Math.max(1, Math.floor(range.size / PAGE)));
  }

  mapping({ mappings }: Domain): Mapping | null {
    const { prng } = this;
    if (mappings.length === 0) return null;
    // The youngest most of the time: unmap soon after map.
    return prng.chance(50) ? mappings.at(-1)! : prng.pick(mappings);
  }

  /** A live domain most of the time. */
  domain(): Domain | null {
    const { prng } = this;
    const { domains } = this.world;
    const live = domains.filter((domain) => domain.live);
    if (live.length > 0 && prng.chance(97)) return prng.pick(live);
    return domains.length > 0 && prng.chance(20) ? prng.pick(domains) : null;
  }

  /** Where `pgcount` contiguous pages begin. */
  pages(pgcount: number): Value {
    const { prng } = this;
    if (pgcount > 1 && prng.chance(85)) {
      const offset = prng.below(Math.max(1, RUN - pgcount + 1));
      return { page: 'run', run: RUN, ...(offset > 0 && { offset }) };
    }
    if (this.machine.mmio.length > 0 && prng.chance(6)) return prng.pick(this.machine.mmio).base;
    const held = [...this.world.pages.keys()];
    // Pages that are no longer the host's alone are the ones worth an attack.
    if (held.length > 0 && prng.chance(15)) return { page: prng.pick(held) };
    return { page: `p${prng.below(SINGLES)}` };
  }

  /** Protection bits that mean something. */
  prot(): number {
    return this.prng.chance(70) ? PROTS[0]! : this.prng.pick(PROTS);
  }

  /** An IOVA at which another table begins. */
  border(): number {
    const { prng } = this;
    return prng.chance(80) ? BLOCK * prng.between(1, 3) : GIB * prng.between(1, 2);
  }

  /** The CPU of a step: the first, most of the time. */
  cpu(): number {
    return this.prng.chance(90) ? 0 : this.prng.below(this.machine.cpus);
  }

  iommu(): number {
    return this.prng.below(this.machine.smmus.length);
  }

  /** The SMMU that the stream is behind, most of the time. */
  iommuOf({ iommu }: NamedStream): number {
    const any = this.iommu();
    return this.machine.smmus.length > 1 && this.prng.chance(90) ? iommu : any;
  }

  /** A PASID of the stream, as it comes; 0 where there are none. */
  pasidOf({ ssidBits }: NamedStream): number {
    return ssidBits > 0 && this.prng.chance(40) ? this.prng.pick(PASIDS) : 0;
  }

  /** A stream behind the domain's IOMMU, most of the time. */
  streamFor(domain: Domain): NamedStream {
    if (!this.isVaried || this.prng.chance(15)) return this.stream();
    const streams = this.streams.filter(({ iommu }) => iommu === domain.iommu);
    return streams.length > 0 ? this.prng.pick(streams) : this.stream();
  }

  /** The same, and one that is not attached, most of the time. */
  freeStreamFor(domain: Domain): NamedStream {
    const stream = this.streamFor(domain);
    const { domains, identity } = this.world;
    const isFree = ({ name }: NamedStream): boolean =>
      !identity.includes(name) && domains.every(({ attached }) => attached.every((one) => one.name !== name));
    if (isFree(stream) || this.prng.chance(25)) return stream;
    const free = this.streams.filter((one) => one.iommu === stream.iommu && isFree(one));
    return free.length > 0 ? this.prng.pick(free) : stream;
  }

  stream(): NamedStream {
    return this.prng.pick(this.streams);
  }

  named(name: string): NamedStream {
    return this.streams.find((stream) => stream.name === name)!;
  }
}
