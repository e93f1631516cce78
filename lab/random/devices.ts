/** Random steps about devices: what they do with addresses, identity, power, stalled accesses, stages of the host's own. */

import type { Step, Value } from '../scenario/index.ts';
import { callStep } from './call-step.ts';
import { PAGE, type Picks, SINGLES } from './picks.ts';
import type { World } from './world.ts';

export class DeviceSteps {
  private readonly picks: Picks;
  private readonly world: World;

  constructor(picks: Picks) {
    this.picks = picks;
    this.world = picks.world;
  }

  /** Identity for a stream: most of the time for one that is blocked, or off where it is on. */
  setIdentity(): Step | null {
    const { prng } = this.picks;
    const { identity, domains } = this.world;
    const off = identity.length > 0 && prng.chance(60);
    const free = this.picks.streams.filter(
      ({ name }) => !domains.some(({ attached }) => attached.some((one) => one.name === name)),
    );
    const devices = prng.chance(85) && free.length > 0 ? free : this.picks.streams;
    const stream = off ? this.picks.named(prng.pick(identity)) : prng.pick(devices);
    return callStep(this.world.profile, this.picks.cpu(), 'set_identity', {
      iommu: this.picks.iommuOf(stream),
      endpoint: { name: stream.name },
      on: off ? 0 : 1,
    });
  }

  /** One of the calls for a stage 1 of the host's own, mostly with a buffer that is shared with the hypervisor. */
  nested(): Step | null {
    const { prng, world } = this.picks;
    const domain = this.picks.domain();
    if (domain === null) return null;
    const shared = [...world.pages].filter(([, holder]) => holder === 'shared').map(([name]) => name);
    const page = shared.length > 0 && prng.chance(80) ? prng.pick(shared) : `p${prng.below(SINGLES)}`;
    const buffer: Value = { page, byte: 64 * prng.below(4) };
    const size = prng.chance(90) ? 64 : PAGE;
    const iommu = this.picks.iommu();
    const ofDomain = { domain: { name: domain.name } };
    switch (prng.below(3)) {
      case 0: {
        const endpoint = { name: prng.pick(this.picks.streams).name };
        const args = { iommu, ...ofDomain, endpoint, descriptor: buffer, size };
        return callStep(world.profile, this.picks.cpu(), 'attach_dev_nested', args);
      }
      case 1:
        return callStep(world.profile, this.picks.cpu(), 'nested_cfg_sync', { iommu, command: buffer, size });
      default:
        return callStep(world.profile, this.picks.cpu(), 'iotlb_inv_nested_domain', { ...ofDomain, size: PAGE });
    }
  }

  /** The SMMU of a power domain off, or on: mostly on, so that other steps mean something. */
  power(): Step | null {
    const { prng } = this.picks;
    const domains = this.picks.machine.smmus.flatMap(({ powerDomain }) =>
      typeof powerDomain === 'number' ? [powerDomain] : [],
    );
    if (domains.length === 0) return null;
    const device = prng.pick(domains);
    return callStep(this.world.profile, this.picks.cpu(), 'hvc_pd', { device, on: prng.chance(60) ? 1 : 0 });
  }

  /** The host answers an access that stalled, or one that did not. */
  respond(): Step | null {
    const { prng } = this.picks;
    const stalling = this.picks.streams.filter(({ iommu }) => this.picks.machine.smmus[iommu]!.stallModel === 'both');
    const stream = stalling.length > 0 && prng.chance(85) ? prng.pick(stalling) : this.picks.stream();
    return callStep(this.world.profile, this.picks.cpu(), 'page_response', {
      iommu: this.picks.iommuOf(stream),
      endpoint: { name: stream.name },
      tag: prng.below(4),
      status: prng.below(4),
    });
  }

  /** A device with identity uses a physical address: preferably of a page that is the host's no more. */
  identityDma(): Step | null {
    const { prng } = this.picks;
    if (this.world.identity.length === 0) return null;
    const gone = [...this.world.pages].filter(([, holder]) => holder !== 'host').map(([name]) => name);
    const page = gone.length > 0 && prng.chance(60) ? prng.pick(gone) : `p${prng.below(SINGLES)}`;
    const iova: Value = prng.chance(95) ? { page, byte: 4 * prng.below(4) } : prng.pick(this.picks.machine.smmus).base;
    const cached = prng.chance(40) ? { cached: true as const } : {};
    const device = prng.pick(this.world.identity);
    if (prng.chance(50)) return { kind: 'dma', device, access: 'read', iova, ...cached };
    return { kind: 'dma', device, access: 'write', iova, value: prng.next(), ...cached };
  }

  /** A device uses an address that leads somewhere, or that did. */
  dma(): Step | null {
    const { prng } = this.picks;
    const attached = this.world.domains.filter((domain) => domain.attached.length > 0);
    if (attached.length === 0 && prng.chance(80)) return null;
    const domain = attached.length > 0 && prng.chance(90) ? prng.pick(attached) : this.picks.domain();
    if (domain === null) return null;
    const own = domain.attached.length > 0 && prng.chance(90);
    const from = own ? prng.pick(domain.attached) : null;
    const stream = from === null ? this.picks.stream() : this.picks.named(from.name);
    const device = stream.name;
    const pasid = from === null ? this.picks.pasidOf(stream) : from.pasid;
    const substream = pasid === 0 ? {} : { pasid };
    const iova = this.picks.usedIova(domain) + 4 * prng.below(4);
    const cached = prng.chance(30) ? { cached: true as const } : {};
    if (prng.chance(50)) return { kind: 'dma', device, access: 'read', iova, ...substream, ...cached };
    return { kind: 'dma', device, access: 'write', iova, value: prng.next(), ...substream, ...cached };
  }
}
