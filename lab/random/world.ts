/**
 * What a host remembers of its own doing: domains, mappings, pages, VMs, as far as results tell. Calls are made up from
 * it so that most of them mean something. It may be wrong; then calls fail, which is worth a try as well.
 */

import { type CallResult, Errno, type GuestResult, type Profile } from '#hypercall-abi';
import type { CallStep, GuestStep, Outcome, Step, Value } from '../scenario/index.ts';
import {
  type Asked,
  type Domain,
  forget,
  guestSucceeded,
  nameIn,
  num,
  type PageHolder,
  pageIn,
  remember,
  type Used,
  type Vm,
} from './known.ts';

/** What a {@link World} remembers. */
export type Remembered = Readonly<
  Pick<World, 'domains' | 'vms' | 'identity' | 'pages' | 'registers' | 'asked' | 'silent' | 'used' | 'hasSucceeded'>
>;

/** Calls remembered. */
const USED = 24;

export class World {
  /** The contract that the hypervisor keeps. */
  readonly profile: Profile;
  readonly domains: Domain[] = [];
  readonly vms: Vm[] = [];
  /** Devices whose streams have identity on. */
  readonly identity: string[] = [];
  readonly pages = new Map<string, PageHolder>();
  /** First page numbers of the devices' registers that the hypervisor was given. */
  readonly registers: number[] = [];
  /** The last calls that came to something: their arguments may be good for others. */
  readonly used: Used[] = [];
  /** The SMMU that has stopped answering. */
  silent: string | null = null;
  asked: Asked | null = null;
  /** Whether the last call came to what it was made for. */
  hasSucceeded = false;

  constructor(profile: Profile) {
    this.profile = profile;
  }

  /** All that is remembered, to be gone back to as often as wanted. */
  save(): Remembered {
    const { domains, vms, identity, pages, registers, asked, silent, used, hasSucceeded } = this;
    return {
      ...structuredClone({ domains, vms, identity, pages, registers }),
      silent,
      asked,
      used: [...used],
      hasSucceeded,
    };
  }

  restore(remembered: Remembered): void {
    this.reset();
    const { silent, asked, used, hasSucceeded, ...others } = remembered;
    const { domains, vms, identity, pages, registers } = structuredClone(others);
    this.domains.push(...domains);
    this.vms.push(...vms);
    this.identity.push(...identity);
    this.registers.push(...registers);
    this.used.push(...used);
    for (const [page, holder] of pages) this.pages.set(page, holder);
    this.asked = asked;
    this.silent = silent;
    this.hasSucceeded = hasSucceeded;
  }

  reset(): void {
    this.domains.length = 0;
    this.vms.length = 0;
    this.identity.length = 0;
    this.pages.clear();
    this.registers.length = 0;
    this.used.length = 0;
    this.asked = null;
    this.silent = null;
    this.hasSucceeded = false;
  }

  /** Learn from what came of a step. */
  observe(step: Step, outcome: Outcome): void {
    if (step.kind === 'smmu') this.silent = step.answers ? null : step.smmu;
    if (outcome.kind === 'guest' && step.kind === 'guest') this.observeGuest(step, outcome.result);
    if (outcome.kind !== 'call' || step.kind !== 'call') return;
    const { result } = outcome;
    this.hasSucceeded = result.supported && result.errno === 0;
    if (this.hasSucceeded) this.use(step);
    this.asked = result.request === null ? null : { step, request: result.request, ipa: null };
    if (!result.supported) return;
    this.learn(step, result);
  }

  private observeGuest(step: GuestStep, result: GuestResult): void {
    const { exit, again, status, value } = result;
    this.asked =
      exit === null
        ? null
        : {
            step,
            request: exit.reason === 'memory' ? exit.request : null,
            ipa: exit.reason === 'map' ? exit.ipa : null,
          };
    this.hasSucceeded = status === 0 && exit === null;
    const vm = this.vms.find(({ loadedOn }) => loadedOn === step.cpu);
    if (vm === undefined || again) return;
    const name = step.bind ?? nameIn(step.args.domain);
    const domain = vm.domains.find((one) => one.name === name);
    const iova = num(step.args.iova);
    if (step.call === 'guest_map_pages' && value > 0) domain?.mappings.push({ iova, size: value });
    if (step.call === 'guest_unmap_pages' && value > 0 && domain !== undefined) {
      const kept = domain.mappings.filter((one) => one.iova + one.size <= iova || one.iova >= iova + value);
      domain.mappings.splice(0, domain.mappings.length, ...kept);
    }
    if (!this.hasSucceeded) return;
    guestSucceeded(vm, domain, step, value);
    this.use(step, vm.routes[num(step.args.vsid)] ?? '');
  }

  private use(step: CallStep | GuestStep, endpoint = ''): void {
    this.used.push({ step, endpoint });
    if (this.used.length > USED) this.used.shift();
  }

  private learn(step: CallStep, { errno, value }: CallResult): void {
    const { args } = step;
    const domain = this.domains.find(({ name }) => name === nameIn(args.domain));
    switch (step.call) {
      case 'map_pages':
        if (value > 0 && domain !== undefined) {
          const [iova, pgsize] = [num(args.iova), num(args.pgsize)];
          remember(domain, { iova, size: value, pgsize, paddr: args.paddr! });
        }
        return;
      case 'unmap_pages':
        if (value > 0 && domain !== undefined) forget(domain, num(args.iova), value);
        return;
      case 'unreserve_vm': {
        const vm = this.vm(args.vm);
        if (vm !== undefined && vm.stage !== 'live' && vm.stage !== 'dying') vm.stage = 'gone';
        return;
      }
      case 'vcpu_load': {
        const vm = this.vm(args.vm);
        const isTaken = this.vms.some(({ loadedOn }) => loadedOn === step.cpu);
        if (vm?.stage === 'live' && vm.loadedOn < 0 && !isTaken) vm.loadedOn = step.cpu;
        return;
      }
      case 'vcpu_put':
        for (const vm of this.vms) if (vm.loadedOn === step.cpu) vm.loadedOn = -1;
        return;
    }
    if (errno === 0) this.succeeded(step, domain);
    else this.failed(step, errno);
  }

  private failed({ call, args }: CallStep, errno: number): void {
    const isTaken = errno === -Errno.EPERM;
    // Done before, most likely.
    if (call === 'host_share_hyp' && isTaken) this.shareDescription(args.pfn);
    if (call === 'host_donate_hyp_mmio' && isTaken) this.giveRegisters(num(args.pfn));
    if (call !== 'init_vm' || (errno !== -Errno.EINVAL && !isTaken)) return;
    // The description is shared, or written, once more.
    const vm = this.vms.find(({ stage, page }) => stage === 'described' && page === pageIn(args.kvm));
    if (vm !== undefined) vm.stage = isTaken ? 'reserved' : 'shared';
  }

  /** The page is shared with the hypervisor, by now or since long. */
  private shareDescription(pfn: Value | undefined): void {
    const vm = this.vms.find(({ stage, page }) => stage === 'reserved' && page === pageIn(pfn));
    if (vm !== undefined) vm.stage = 'shared';
  }

  private succeeded({ call, args, cpu }: CallStep, domain: Domain | undefined): void {
    const vm = this.vm(args.vm);
    switch (call) {
      case 'alloc_domain':
        if (domain === undefined) break;
        domain.live = true;
        domain.iommu = num(args.iommu);
        break;
      case 'free_domain':
        if (domain === undefined) break;
        domain.live = false;
        domain.unmapped.push(...domain.mappings.splice(0));
        break;
      case 'attach_dev':
        if (nameIn(args.endpoint) === '') break;
        domain?.attached.push({ name: nameIn(args.endpoint), pasid: num(args.pasid) });
        break;
      case 'detach_dev': {
        const name = nameIn(args.endpoint);
        const at = domain?.attached.findIndex((one) => one.name === name && one.pasid === num(args.pasid)) ?? -1;
        if (at >= 0) domain?.attached.splice(at, 1);
        break;
      }
      case 'set_identity': {
        const device = nameIn(args.endpoint);
        const known = this.identity.indexOf(device);
        if (known >= 0) this.identity.splice(known, 1);
        if (args.on !== 0 && device !== '') this.identity.push(device);
        break;
      }
      case 'host_share_hyp':
        this.hold(args.pfn, 'shared');
        this.shareDescription(args.pfn);
        break;
      case 'host_unshare_hyp':
        this.hold(args.pfn, 'host');
        break;
      case 'init_vm': {
        this.hold(args.pgd, 'hyp');
        const made = this.vms.find(({ stage, page }) => stage === 'described' && page === pageIn(args.kvm));
        if (made !== undefined) made.stage = 'live';
        break;
      }
      case 'map_guest':
      case 'donate_guest':
      case 'share_guest': {
        const loaded = this.vms.find(({ loadedOn }) => loadedOn === cpu);
        const page = args.pfn;
        if (loaded === undefined || typeof page !== 'object' || !('page' in page)) break;
        loaded.guestPages.push({ gfn: num(args.gfn), page });
        this.hold(page, loaded.isProtected ? 'guest' : 'shared');
        break;
      }
      case 'unshare_guest':
      case 'reclaim_dying_guest_page': {
        const at = vm?.guestPages.findIndex(({ gfn }) => gfn === num(args.gfn)) ?? -1;
        if (vm === undefined || at < 0) break;
        const [back] = vm.guestPages.splice(at, 1);
        this.hold(back!.page, 'host');
        break;
      }
      case 'start_teardown_vm':
        if (vm === undefined) break;
        vm.stage = 'dying';
        // Its devices, and their registers, are the host's again.
        if (vm.claimed.length > 0) this.registers.length = 0;
        vm.claimed.length = 0;
        vm.domains.length = 0;
        break;
      case 'finalize_teardown_vm':
        if (vm !== undefined) vm.stage = 'gone';
        break;
      case 'alloc_mgt_refill':
        this.hold(args.head, 'hyp');
        break;
      case 'host_donate_hyp_mmio':
        this.giveRegisters(num(args.pfn));
        break;
      case 'host_reclaim_hyp_mmio':
        this.takeRegisters(num(args.pfn));
        break;
      case 'pviommu_attach':
        for (const one of this.vms) if (one.page === pageIn(args.kvm)) one.pviommu = num(args.pviommu);
        break;
      case 'pviommu_add_vsid':
        for (const one of this.vms) if (one.page === pageIn(args.kvm)) one.routes.push(nameIn(args.endpoint));
        break;
    }
  }

  private giveRegisters(pfn: number): void {
    if (!this.registers.includes(pfn)) this.registers.push(pfn);
  }

  private takeRegisters(pfn: number): void {
    const at = this.registers.indexOf(pfn);
    if (at >= 0) this.registers.splice(at, 1);
  }

  vm(value: Value | undefined): Vm | undefined {
    return this.vms.find(({ name }) => name === nameIn(value));
  }

  private hold(value: Value | undefined, holder: PageHolder): void {
    const page = pageIn(value);
    if (page !== '') this.pages.set(page, holder);
  }
}
