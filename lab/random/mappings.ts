/** Random steps about domains, attachments, mappings, and what devices do with them. */

import { AttachFlag, Prot } from '#hypercall-abi';
import type { MachineDescription } from '#machine';
import { type NamedStream, namedStreams, type Step, type Value } from '../scenario/index.ts';
import { callStep } from './call-step.ts';
import type { Choices } from './choices.ts';
import type { Attached, Domain, Mapping, World } from './world.ts';

const PAGE = 0x1000;
const BLOCK = 0x200000;
const GIB = 0x40000000;
/** Domains of one run, single pages and their names, and the runs of pages that are mapped in pieces. */
const DOMAINS_MAX = 4;
const SINGLES = 8;
const RUN = 16;
/** The largest first table of a stage 2. */
const ROOT_PAGES = 16;

const PASIDS = [1, 2, 3, 7, 64];
/** Widths at which the table of descriptors has a page, has more, and is refused. */
const PASID_BITS = [0, 1, 3, 3, 3, 7, 11];

const PROTS = [
  Prot.read | Prot.write,
  Prot.read | Prot.write | Prot.cache,
  Prot.read,
  Prot.write,
  Prot.read | Prot.write | Prot.priv,
  Prot.read | Prot.noexec,
  Prot.read | Prot.write | Prot.mmio,
];

export class MappingSteps {
  private readonly machine: MachineDescription;
  private readonly streams: readonly NamedStream[];
  private readonly world: World;
  /** Whether it matters which IOMMU or PASID a call names. */
  private readonly isVaried: boolean;
  private prng: Choices;

  constructor(machine: MachineDescription, world: World, prng: Choices) {
    this.machine = machine;
    this.streams = namedStreams(machine);
    this.isVaried = machine.smmus.length > 1 || machine.smmus.some(({ ssidBits }) => ssidBits > 0);
    this.world = world;
    this.prng = prng;
  }

  reset(prng: Choices): void {
    this.prng = prng;
  }

  allocDomain(): Step | null {
    const { prng } = this;
    const { domains } = this.world;
    let domain = domains.find(({ live }) => !live);
    if (domain === undefined || (prng.chance(30) && domains.length < DOMAINS_MAX)) {
      if (domains.length >= DOMAINS_MAX) return null;
      domain = { name: `d${domains.length + 1}`, live: false, iommu: 0, attached: [], mappings: [], unmapped: [] };
      domains.push(domain);
    }
    const { s1, s2, ...others } = this.world.profile.domainTypes;
    const more = Object.values(others);
    const other = more.length > 0 && prng.chance(25) ? prng.pick(more) : null;
    const type = other ?? (prng.chance(60) ? s1 : s2);
    return callStep(this.world.profile, this.cpu(), 'alloc_domain', {
      iommu: this.iommu(),
      domain: { name: domain.name },
      type,
      pgd: this.root(),
    });
  }

  /** Pages for a domain's first table where the host gives them: enough for any, or one page that may be anything. */
  private root(): Value {
    const { prng } = this;
    return prng.chance(90) ? { page: `root${prng.below(DOMAINS_MAX)}`, run: ROOT_PAGES } : this.pages(1);
  }

  freeDomain(): Step | null {
    const domain = this.domain();
    return (
      domain &&
      callStep(this.world.profile, this.cpu(), 'free_domain', { iommu: domain.iommu, domain: { name: domain.name } })
    );
  }

  attach(): Step | null {
    const domain = this.domain();
    if (domain === null || (domain.attached.length > 0 && this.prng.chance(70))) return null;
    const stream = this.freeStreamFor(domain);
    if (stream.ssidBits > 0) return this.attachWithRoom(domain, stream, 0);
    return callStep(this.world.profile, this.cpu(), 'attach_dev', {
      iommu: this.iommuOf(stream),
      domain: { name: domain.name },
      endpoint: { name: stream.name },
    });
  }

  /** A PASID of a stream that is attached already, most of the time. */
  attachPasid(): Step | null {
    const { prng } = this;
    const domain = this.domain();
    const attached = this.world.domains.flatMap((one) => one.attached).filter(({ pasid }) => pasid === 0);
    if (domain === null) return null;
    const streams = attached
      .map(({ name }) => this.named(name))
      .filter(({ ssidBits, iommu }) => ssidBits > 0 && (iommu === domain.iommu || prng.chance(10)));
    if (streams.length === 0 && prng.chance(90)) return null;
    const stream = streams.length > 0 ? prng.pick(streams) : this.stream();
    return this.attachWithRoom(domain, stream, prng.pick(PASIDS));
  }

  private attachWithRoom(domain: Domain, stream: NamedStream, pasid: number): Step {
    const { prng } = this;
    return callStep(this.world.profile, this.cpu(), 'attach_dev', {
      iommu: this.iommuOf(stream),
      domain: { name: domain.name },
      endpoint: { name: stream.name },
      pasid,
      pasidBits: prng.pick(PASID_BITS),
      flags: prng.chance(30) ? AttachFlag.stall : 0,
    });
  }

  detach(): Step | null {
    const { prng } = this;
    const attached = this.isVaried ? this.world.domains.filter((one) => one.attached.length > 0) : [];
    const domain = attached.length > 0 && prng.chance(85) ? prng.pick(attached) : this.domain();
    if (domain === null) return null;
    const own = domain.attached.length > 0 && prng.chance(75);
    const from = own ? prng.pick(domain.attached) : this.attachedToOther(domain);
    const stream = from === null ? this.streamFor(domain) : this.named(from.name);
    return callStep(this.world.profile, this.cpu(), 'detach_dev', {
      iommu: this.iommuOf(stream),
      domain: { name: domain.name },
      endpoint: { name: stream.name },
      pasid: from?.pasid ?? this.pasidOf(stream),
    });
  }

  /** What another domain has attached, most of the time; null when there is nothing. */
  private attachedToOther(domain: Domain): Attached | null {
    const others = this.world.domains.flatMap((other) => (other === domain ? [] : other.attached));
    return others.length > 0 && this.prng.chance(70) ? this.prng.pick(others) : null;
  }

  map(): Step | null {
    const { prng } = this;
    const domain = this.domain();
    if (domain === null) return null;
    const kind = prng.below(100);
    if (kind < 10) return this.mapBlock(domain);
    if (kind < 35) return this.mapPages(domain, this.border() - PAGE * prng.between(1, 3), prng.between(2, 6));
    const known = this.mapping(domain);
    if (kind < 60 && known !== null) {
      // Onto a mapping: some pages before it, so that the map ends half way.
      const before = Math.min(prng.below(4), known.iova / PAGE);
      return this.mapPages(domain, known.iova - PAGE * before, before + prng.between(1, 3));
    }
    return this.mapPages(domain, PAGE * prng.between(0, 31), prng.chance(60) ? 1 : prng.between(2, 5));
  }

  private mapPages(domain: Domain, iova: number, pgcount: number): Step {
    const paddr = this.pages(pgcount);
    return callStep(this.world.profile, this.cpu(), 'map_pages', {
      iommu: domain.iommu,
      domain: { name: domain.name },
      iova,
      paddr,
      pgsize: PAGE,
      pgcount,
      prot: this.prot(),
    });
  }

  /** 2 MiB at once: as a block, or as a table full of pages. */
  private mapBlock(domain: Domain): Step {
    const { prng } = this;
    const iova = BLOCK * prng.below(3);
    const [pgsize, pgcount] = prng.chance(60) ? [BLOCK, 1] : [PAGE, 512];
    const paddr: Value = { page: 'huge', run: 512 };
    return callStep(this.world.profile, this.cpu(), 'map_pages', {
      iommu: domain.iommu,
      domain: { name: domain.name },
      iova,
      paddr,
      pgsize,
      pgcount,
      prot: this.prot(),
    });
  }

  unmap(): Step | null {
    const { prng } = this;
    const domain = this.domain();
    if (domain === null) return null;
    const known = this.mapping(domain);
    const unmap = (iova: number, pgsize: number, pgcount: number): Step =>
      callStep(this.world.profile, this.cpu(), 'unmap_pages', {
        iommu: domain.iommu,
        domain: { name: domain.name },
        iova,
        pgsize,
        pgcount,
      });
    if (known === null && prng.chance(80)) return null;
    if (known === null || prng.chance(8)) return unmap(PAGE * prng.between(0, 15), PAGE, prng.between(1, 4));
    const pages = Math.ceil(known.size / PAGE);
    const kind = prng.below(100);
    if (kind < 50) return unmap(known.iova, known.pgsize, Math.max(1, Math.floor(known.size / known.pgsize)));
    if (kind < 70) {
      const skipped = prng.below(pages);
      return unmap(known.iova + skipped * PAGE, PAGE, prng.between(1, Math.min(4, pages - skipped)));
    }
    if (kind < 85) return unmap(known.iova, PAGE, pages + prng.between(1, 3));
    return unmap(known.iova - (known.iova % BLOCK), BLOCK, prng.between(1, 2));
  }

  translate(): Step | null {
    const domain = this.domain();
    if (domain === null) return null;
    return callStep(this.world.profile, this.cpu(), 'iova_to_phys', {
      iommu: domain.iommu,
      domain: { name: domain.name },
      iova: this.usedIova(domain),
    });
  }

  /** Identity for a stream: most of the time for one that is blocked, or off where it is on. */
  setIdentity(): Step | null {
    const { prng } = this;
    const { identity, domains } = this.world;
    const off = identity.length > 0 && prng.chance(60);
    const free = this.streams.filter(
      ({ name }) => !domains.some(({ attached }) => attached.some((one) => one.name === name)),
    );
    const devices = prng.chance(85) && free.length > 0 ? free : this.streams;
    const stream = off ? this.named(prng.pick(identity)) : prng.pick(devices);
    return callStep(this.world.profile, this.cpu(), 'set_identity', {
      iommu: this.iommuOf(stream),
      endpoint: { name: stream.name },
      on: off ? 0 : 1,
    });
  }

  /** One of the calls for a stage 1 of the host's own, mostly with a buffer that is shared with the hypervisor. */
  nested(): Step | null {
    const { prng, world } = this;
    const domain = this.domain();
    if (domain === null) return null;
    const shared = [...world.pages].filter(([, holder]) => holder === 'shared').map(([name]) => name);
    const page = shared.length > 0 && prng.chance(80) ? prng.pick(shared) : `p${prng.below(SINGLES)}`;
    const buffer: Value = { page, byte: 64 * prng.below(4) };
    const size = prng.chance(90) ? 64 : PAGE;
    const iommu = this.iommu();
    const ofDomain = { domain: { name: domain.name } };
    switch (prng.below(3)) {
      case 0: {
        const endpoint = { name: prng.pick(this.streams).name };
        const args = { iommu, ...ofDomain, endpoint, descriptor: buffer, size };
        return callStep(world.profile, this.cpu(), 'attach_dev_nested', args);
      }
      case 1:
        return callStep(world.profile, this.cpu(), 'nested_cfg_sync', { iommu, command: buffer, size });
      default:
        return callStep(world.profile, this.cpu(), 'iotlb_inv_nested_domain', { ...ofDomain, size: PAGE });
    }
  }

  /** The SMMU of a power domain off, or on: mostly on, so that other steps mean something. */
  power(): Step | null {
    const { prng } = this;
    const domains = this.machine.smmus.flatMap(({ powerDomain }) =>
      typeof powerDomain === 'number' ? [powerDomain] : [],
    );
    if (domains.length === 0) return null;
    const device = prng.pick(domains);
    return callStep(this.world.profile, this.cpu(), 'hvc_pd', { device, on: prng.chance(60) ? 1 : 0 });
  }

  /** A device with identity uses a physical address: preferably of a page that is the host's no more. */
  identityDma(): Step | null {
    const { prng } = this;
    if (this.world.identity.length === 0) return null;
    const gone = [...this.world.pages].filter(([, holder]) => holder !== 'host').map(([name]) => name);
    const page = gone.length > 0 && prng.chance(60) ? prng.pick(gone) : `p${prng.below(SINGLES)}`;
    const iova: Value = prng.chance(95) ? { page, byte: 4 * prng.below(4) } : prng.pick(this.machine.smmus).base;
    const cached = prng.chance(40) ? { cached: true as const } : {};
    const device = prng.pick(this.world.identity);
    if (prng.chance(50)) return { kind: 'dma', device, access: 'read', iova, ...cached };
    return { kind: 'dma', device, access: 'write', iova, value: prng.next(), ...cached };
  }

  /** A device uses an address that leads somewhere, or that did. */
  dma(): Step | null {
    const { prng } = this;
    const attached = this.world.domains.filter((domain) => domain.attached.length > 0);
    if (attached.length === 0 && prng.chance(80)) return null;
    const domain = attached.length > 0 && prng.chance(90) ? prng.pick(attached) : this.domain();
    if (domain === null) return null;
    const own = domain.attached.length > 0 && prng.chance(90);
    const from = own ? prng.pick(domain.attached) : null;
    const stream = from === null ? this.stream() : this.named(from.name);
    const device = stream.name;
    const pasid = from === null ? this.pasidOf(stream) : from.pasid;
    const substream = pasid === 0 ? {} : { pasid };
    const iova = this.usedIova(domain) + 4 * prng.below(4);
    const cached = prng.chance(30) ? { cached: true as const } : {};
    if (prng.chance(50)) return { kind: 'dma', device, access: 'read', iova, ...substream, ...cached };
    return { kind: 'dma', device, access: 'write', iova, value: prng.next(), ...substream, ...cached };
  }

  private usedIova(domain: Domain): number {
    const { prng } = this;
    const gone = domain.unmapped.length > 0 && prng.chance(35);
    const range = gone ? prng.pick(domain.unmapped) : this.mapping(domain);
    if (range === null) return PAGE * prng.between(0, 15);
    return range.iova + PAGE * prng.below(Math.max(1, Math.floor(range.size / PAGE)));
  }

  private mapping({ mappings }: Domain): Mapping | null {
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
  private border(): number {
    const { prng } = this;
    return prng.chance(80) ? BLOCK * prng.between(1, 3) : GIB * prng.between(1, 2);
  }

  /** The CPU of a step: the first, most of the time. */
  cpu(): number {
    return this.prng.chance(90) ? 0 : this.prng.below(this.machine.cpus);
  }

  private iommu(): number {
    return this.prng.below(this.machine.smmus.length);
  }

  /** The SMMU that the stream is behind, most of the time. */
  private iommuOf({ iommu }: NamedStream): number {
    const any = this.iommu();
    return this.machine.smmus.length > 1 && this.prng.chance(90) ? iommu : any;
  }

  /** The host answers an access that stalled, or one that did not. */
  respond(): Step | null {
    const { prng } = this;
    const stalling = this.streams.filter(({ iommu }) => this.machine.smmus[iommu]!.stallModel === 'both');
    const stream = stalling.length > 0 && prng.chance(85) ? prng.pick(stalling) : this.stream();
    return callStep(this.world.profile, this.cpu(), 'page_response', {
      iommu: this.iommuOf(stream),
      endpoint: { name: stream.name },
      tag: prng.below(4),
      status: prng.below(4),
    });
  }

  /** A PASID of the stream, as it comes; 0 where there are none. */
  private pasidOf({ ssidBits }: NamedStream): number {
    return ssidBits > 0 && this.prng.chance(40) ? this.prng.pick(PASIDS) : 0;
  }

  /** A stream behind the domain's IOMMU, most of the time. */
  private streamFor(domain: Domain): NamedStream {
    if (!this.isVaried || this.prng.chance(15)) return this.stream();
    const streams = this.streams.filter(({ iommu }) => iommu === domain.iommu);
    return streams.length > 0 ? this.prng.pick(streams) : this.stream();
  }

  /** The same, and one that is not attached, most of the time. */
  private freeStreamFor(domain: Domain): NamedStream {
    const stream = this.streamFor(domain);
    const { domains, identity } = this.world;
    const isFree = ({ name }: NamedStream): boolean =>
      !identity.includes(name) && domains.every(({ attached }) => attached.every((one) => one.name !== name));
    if (isFree(stream) || this.prng.chance(25)) return stream;
    const free = this.streams.filter((one) => one.iommu === stream.iommu && isFree(one));
    return free.length > 0 ? this.prng.pick(free) : stream;
  }

  private stream(): NamedStream {
    return this.prng.pick(this.streams);
  }

  private named(name: string): NamedStream {
    return this.streams.find((stream) => stream.name === name)!;
  }
}
