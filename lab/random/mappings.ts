/** Random steps about domains, what is attached to them, and their mappings. */

import { AttachFlag } from '#hypercall-abi';
import type { NamedStream, Step, Value } from '../scenario/index.ts';
import { callStep } from './call-step.ts';
import type { Attached, Domain } from './known.ts';
import { BLOCK, PAGE, PASIDS, type Picks } from './picks.ts';
import type { World } from './world.ts';

/** Domains of one run. */
const DOMAINS_MAX = 4;
/** The largest first table of a stage 2. */
const ROOT_PAGES = 16;
/** Widths at which the table of descriptors has a page, has more, and is refused. */
const PASID_BITS = [0, 1, 3, 3, 3, 7, 11];

export class MappingSteps {
  private readonly picks: Picks;
  private readonly world: World;

  constructor(picks: Picks) {
    this.picks = picks;
    this.world = picks.world;
  }

  allocDomain(): Step | null {
    const { prng } = this.picks;
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
    return callStep(this.world.profile, this.picks.cpu(), 'alloc_domain', {
      iommu: this.picks.iommu(),
      domain: { name: domain.name },
      type,
      pgd: this.root(),
    });
  }

  /** Pages for a domain's first table where the host gives them: enough for any, or one page that may be anything. */
  private root(): Value {
    const { prng } = this.picks;
    return prng.chance(90) ? { page: `root${prng.below(DOMAINS_MAX)}`, run: ROOT_PAGES } : this.picks.pages(1);
  }

  freeDomain(): Step | null {
    const domain = this.picks.domain();
    return (
      domain &&
      callStep(this.world.profile, this.picks.cpu(), 'free_domain', {
        iommu: domain.iommu,
        domain: { name: domain.name },
      })
    );
  }

  attach(): Step | null {
    const domain = this.picks.domain();
    if (domain === null || (domain.attached.length > 0 && this.picks.prng.chance(70))) return null;
    const stream = this.picks.freeStreamFor(domain);
    if (stream.ssidBits > 0) return this.attachWithRoom(domain, stream, 0);
    return callStep(this.world.profile, this.picks.cpu(), 'attach_dev', {
      iommu: this.picks.iommuOf(stream),
      domain: { name: domain.name },
      endpoint: { name: stream.name },
    });
  }

  /** A PASID of a stream that is attached already, most of the time. */
  attachPasid(): Step | null {
    const { prng } = this.picks;
    const domain = this.picks.domain();
    const attached = this.world.domains.flatMap((one) => one.attached).filter(({ pasid }) => pasid === 0);
    if (domain === null) return null;
    const streams = attached
      .map(({ name }) => this.picks.named(name))
      .filter(({ ssidBits, iommu }) => ssidBits > 0 && (iommu === domain.iommu || prng.chance(10)));
    if (streams.length === 0 && prng.chance(90)) return null;
    const stream = streams.length > 0 ? prng.pick(streams) : this.picks.stream();
    return this.attachWithRoom(domain, stream, prng.pick(PASIDS));
  }

  private attachWithRoom(domain: Domain, stream: NamedStream, pasid: number): Step {
    const { prng } = this.picks;
    return callStep(this.world.profile, this.picks.cpu(), 'attach_dev', {
      iommu: this.picks.iommuOf(stream),
      domain: { name: domain.name },
      endpoint: { name: stream.name },
      pasid,
      pasidBits: prng.pick(PASID_BITS),
      flags: prng.chance(30) ? AttachFlag.stall : 0,
    });
  }

  detach(): Step | null {
    const { prng } = this.picks;
    const attached = this.picks.isVaried ? this.world.domains.filter((one) => one.attached.length > 0) : [];
    const domain = attached.length > 0 && prng.chance(85) ? prng.pick(attached) : this.picks.domain();
    if (domain === null) return null;
    const own = domain.attached.length > 0 && prng.chance(75);
    const from = own ? prng.pick(domain.attached) : this.attachedToOther(domain);
    const stream = from === null ? this.picks.streamFor(domain) : this.picks.named(from.name);
    return callStep(this.world.profile, this.picks.cpu(), 'detach_dev', {
      iommu: this.picks.iommuOf(stream),
      domain: { name: domain.name },
      endpoint: { name: stream.name },
      pasid: from?.pasid ?? this.picks.pasidOf(stream),
    });
  }

  /** What another domain has attached, most of the time; null when there is nothing. */
  private attachedToOther(domain: Domain): Attached | null {
    const others = this.world.domains.flatMap((other) => (other === domain ? [] : other.attached));
    return others.length > 0 && this.picks.prng.chance(70) ? this.picks.prng.pick(others) : null;
  }

  map(): Step | null {
    const { prng } = this.picks;
    const domain = this.picks.domain();
    if (domain === null) return null;
    const kind = prng.below(100);
    if (kind < 10) return this.mapBlock(domain);
    if (kind < 35) return this.mapPages(domain, this.picks.border() - PAGE * prng.between(1, 3), prng.between(2, 6));
    const known = this.picks.mapping(domain);
    if (kind < 60 && known !== null) {
      // Onto a mapping: some pages before it, so that the map ends half way.
      const before = Math.min(prng.below(4), known.iova / PAGE);
      return this.mapPages(domain, known.iova - PAGE * before, before + prng.between(1, 3));
    }
    return this.mapPages(domain, PAGE * prng.between(0, 31), prng.chance(60) ? 1 : prng.between(2, 5));
  }

  private mapPages(domain: Domain, iova: number, pgcount: number): Step {
    const paddr = this.picks.pages(pgcount);
    return callStep(this.world.profile, this.picks.cpu(), 'map_pages', {
      iommu: domain.iommu,
      domain: { name: domain.name },
      iova,
      paddr,
      pgsize: PAGE,
      pgcount,
      prot: this.picks.prot(),
    });
  }

  /** 2 MiB at once: as a block, or as a table full of pages. */
  private mapBlock(domain: Domain): Step {
    const { prng } = this.picks;
    const iova = BLOCK * prng.below(3);
    const [pgsize, pgcount] = prng.chance(60) ? [BLOCK, 1] : [PAGE, 512];
    const paddr: Value = { page: 'huge', run: 512 };
    return callStep(this.world.profile, this.picks.cpu(), 'map_pages', {
      iommu: domain.iommu,
      domain: { name: domain.name },
      iova,
      paddr,
      pgsize,
      pgcount,
      prot: this.picks.prot(),
    });
  }

  unmap(): Step | null {
    const { prng } = this.picks;
    const domain = this.picks.domain();
    if (domain === null) return null;
    const known = this.picks.mapping(domain);
    const unmap = (iova: number, pgsize: number, pgcount: number): Step =>
      callStep(this.world.profile, this.picks.cpu(), 'unmap_pages', {
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
    const domain = this.picks.domain();
    if (domain === null) return null;
    return callStep(this.world.profile, this.picks.cpu(), 'iova_to_phys', {
      iommu: domain.iommu,
      domain: { name: domain.name },
      iova: this.picks.usedIova(domain),
    });
  }
}
