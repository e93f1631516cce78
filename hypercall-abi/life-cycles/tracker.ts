/**
 * The life cycles at the boundary: each crossing is turned into events of domains, streams, pages, VMs, devices and power,
 * and an event that a life cycle forbids becomes a violation. Only outcomes count: a call that failed moves nothing, and of
 * a call that did a part, that part happened.
 *
 * It sees registers and nothing else, and says nothing where they leave it in doubt. So it does not judge:
 * - whose a page was at boot: the first event of a page may find it with the host or with the hypervisor;
 * - chunks of a refill list behind the first, pages of a reclaim list behind the first: their links stand in memory;
 * - which VM a page went to where several may be loaded, and whether it was donated or shared: see vm-states.ts;
 * - what a map that failed with EEXIST and named blocks tore down on its way;
 * - the pages that map_sg's list names: they stand in memory;
 * - IOVAs from 2^48 on, maps of more than 16 GiB at once, and whether a free invalidated the TLBs.
 * Calls must not overlap in time: with several CPUs inside at once, the order of returns is not the order of effects.
 */

import type { CallSpec } from '../calls.ts';
import { formatCall } from '../codec.ts';
import { Errno } from '../errors.ts';
import { formatGuestCall, type GuestCallSpec } from '../guest-calls.ts';
import { defaultProfile, type Profile } from '../profiles/index.ts';
import { getNumber, getSigned, getU32, hexRegister, product } from '../registers.ts';
import { AddressTree, type RunSink } from './address-tree.ts';
import { Attachments, DomainUse, UNBOUND } from './attachments.ts';
import { DeviceStates } from './device-states.ts';
import { GuestBooks } from './guest-books.ts';
import { GuestTracker } from './guest-tracker.ts';
import type { LifeCycleViolation } from './life-cycle.ts';
import { PageMove, PageStates } from './page-states.ts';
import { type Platform, unknownPlatform } from './platform.ts';
import { PowerStates } from './power-states.ts';
import { PvIommuStates } from './pviommu-states.ts';
import { VmMove, VmStates } from './vm-states.ts';

const PAGE = 4096;
/** Pages of a single map that claims more than this are not followed: no machine has so much RAM. */
const FOLLOWED_BYTES_MAX = 2 ** 34;
/** A run of the largest blocks: so much may be torn down by a map that then meets a leaf. */
const RUN_BYTES_MAX = 2 ** 39;
/** Largest order of a donated chunk that is followed, with the same reason. */
const FOLLOWED_ORDER_MAX = 22;
/** Violations kept; what comes after them is dropped. */
export const VIOLATIONS_MAX = 1000;

export class LifeCycleTracker {
  readonly #violations: LifeCycleViolation[] = [];
  readonly #profile: Profile;
  readonly #count: number;
  readonly #attachments: Attachments;
  readonly #iovas: AddressTree;
  readonly #pages: PageStates;
  readonly #vms: VmStates;
  readonly #books: GuestBooks;
  readonly #power: PowerStates;
  readonly #devices: DeviceStates;
  readonly #pviommus: PvIommuStates;
  readonly #guests: GuestTracker;
  readonly #unmapped: RunSink;
  readonly #tornDown: RunSink;
  readonly #hasDevices: boolean;
  /** Registers of the call being followed, whose it is, and whether a page of it has been reported. */
  #before: Int32Array = new Int32Array(16);
  #byGuest = false;
  /** Address of the access being followed, or -1. */
  #access = -1;
  #pageReported = false;

  /**
   * @param profile the contract of the calls to come
   * @param platform the machine, for the life cycles of power and devices
   */
  constructor(profile: Profile = defaultProfile, platform: Platform = unknownPlatform) {
    const { count } = profile.domains;
    const report = this.#add.bind(this);
    this.#profile = profile;
    this.#count = count;
    this.#attachments = new Attachments(profile, report);
    this.#iovas = new AddressTree(count);
    const pages = new PageStates((pa, states, event, rule) => {
      if (this.#pageReported) return;
      this.#pageReported = true;
      this.#add('page', `0x${pa.toString(16)}`, states, event, rule);
    });
    this.#pages = pages;
    this.#vms = new VmStates(report);
    this.#books = new GuestBooks(pages);
    this.#power = new PowerStates(platform, report);
    this.#devices = new DeviceStates(platform, report);
    this.#hasDevices = platform.devices.length > 0;
    this.#pviommus = new PvIommuStates(report);
    const surroundings = {
      vms: this.#vms,
      books: this.#books,
      devices: this.#devices,
      pviommus: this.#pviommus,
      attachments: this.#attachments,
      pages,
      iovas: this.#iovas,
    };
    this.#guests = new GuestTracker(profile, surroundings, report);
    this.#unmapped = { run: (pa, size) => pages.unmap(pa, size) };
    this.#tornDown = { run: (pa, size) => pages.mayBeUnmapped(pa, size) };
    this.reset();
  }

  /** What was found, at most {@link VIOLATIONS_MAX}: of the pages of one call the first, and of one page the first time. */
  get violations(): readonly LifeCycleViolation[] {
    return this.#violations;
  }

  /** Begin anew, as right after boot. */
  reset(): void {
    this.#violations.length = 0;
    this.#attachments.reset();
    this.#iovas.reset();
    this.#pages.reset();
    this.#vms.reset();
    this.#books.reset();
    this.#power.reset();
    this.#devices.reset();
    this.#pviommus.reset();
    this.#guests.reset();
  }

  /** State of a domain, as text. */
  domainState(id: number): string {
    return this.#attachments.domainState(id);
  }

  /** States that a page may be in, as text: `hostDma`, `guestOwned or sharedGuest`. */
  pageStates(pa: number): string {
    return this.#pages.statesOf(pa);
  }

  /** States that a VM may be in, as text. */
  vmStates(handle: number): string {
    return this.#vms.statesOf(handle);
  }

  /** A guest's call returned, or ended in the host: `before` are the registers it was made with, `after` those it left. */
  guestCrossed(spec: GuestCallSpec, cpu: number, before: Int32Array, after: Int32Array): void {
    this.#begin(before, true);
    this.#guests.crossed(spec, cpu, before, after);
  }

  /** Whether an access at that address says something. */
  followsAccess(ipa: number): boolean {
    return this.#hasDevices && this.#devices.hasRegister(ipa);
  }

  /** An access of the host, at that address, came through. */
  accessed(ipa: number): void {
    if (!this.followsAccess(ipa)) return;
    this.#access = ipa;
    this.#devices.accessed(ipa);
    this.#access = -1;
  }

  #begin(before: Int32Array, byGuest: boolean): void {
    this.#before = before;
    this.#byGuest = byGuest;
    this.#pageReported = false;
  }

  /** A call returned: `before` are the registers it was made with, `after` those it returned. */
  crossed(spec: CallSpec, cpu: number, made: Int32Array, after: Int32Array): void {
    this.#begin(made, false);
    const before = this.#renamed(spec, made);
    if (spec.name === 'map_pages' && spec.x0 === 'errno') {
      this.#mapped(before, after, getSigned(after, 0) === -Errno.EEXIST);
      return;
    }
    if (after[0] !== 0 || after[1] !== 0) return;
    switch (spec.name) {
      case 'map_pages':
        // No errno says why it stopped short.
        this.#mapped(before, after, getNumber(after, 1) < product(before, 4, 5));
        break;
      case 'map_sg':
        this.#mappedUnseen(getU32(before, 1), getNumber(before, 2), getNumber(after, 1));
        break;
      case 'unmap_pages':
        this.#unmap(getU32(before, 1), getNumber(before, 2), product(before, 3, 4), getNumber(after, 1));
        break;
      case 'iova_to_phys':
        this.#translated(getU32(before, registerOf(spec, 'domain')), getNumber(after, 1));
        break;
      case 'reserve_vm':
        if (getSigned(after, 1) > 0) this.#vms.move(getU32(after, 1), VmMove.reserve);
        break;
      case 'unreserve_vm':
        this.#vms.unreserve(getU32(before, 1));
        break;
      case 'vcpu_load':
        this.#vms.load(cpu, getU32(before, 1));
        break;
      case 'vcpu_put':
        this.#vms.put(cpu);
        break;
      case 'alloc_mgt_refill':
        if (spec.request) this.#refilled(before, getNumber(after, 3) % PAGE, getSigned(after, 1));
        else this.#refilledSilently(before, getSigned(after, 1));
        break;
      case 'alloc_mgt_reclaim':
        this.#reclaimed(getNumber(after, 1), getNumber(after, 2));
        break;
      case 'init_vm':
        this.#initVm(spec, before, getSigned(after, 1));
        break;
      default:
        if (spec.x1 !== 'errno') break;
        if (getSigned(after, 1) === 0) this.#done(spec, cpu, before);
        else if (getSigned(after, 1) === -Errno.ETIMEDOUT) this.#unanswered(spec, before);
    }
  }

  /**
   * Where IOMMUs have domains of their own: the registers as later generations have them, with the domain's number among
   * all. Which pages a memcache has lost or got there is not seen.
   */
  #renamed(spec: CallSpec, made: Int32Array): Int32Array {
    const { perIommu } = this.#profile.domains;
    if (perIommu === undefined || registerOf(spec, 'domain') === 0) return made;
    this.#pages.unseenDonation();
    this.#pages.unseenReturn();
    const x = made.slice();
    const [iommu, id] = [getU32(made, 1), getU32(made, 2)];
    const number = id < perIommu ? Math.min(iommu * perIommu + id, this.#count) : this.#count;
    const isFirst = ['map_pages', 'unmap_pages', 'free_domain'].includes(spec.name);
    if (isFirst) x.copyWithin(2, 4);
    x[isFirst ? 2 : 4] = number;
    x[isFirst ? 3 : 5] = 0;
    if (spec.name === 'attach_dev' || spec.name === 'detach_dev') x.fill(0, 8);
    return x;
  }

  /** A call whose only result is success. */
  #done(spec: CallSpec, cpu: number, x: Int32Array): void {
    switch (spec.name) {
      case 'alloc_domain': {
        const hasIommu = spec.args.some(({ name }) => name === 'iommu');
        const iommu = hasIommu ? getU32(x, registerOf(spec, 'iommu')) : UNBOUND;
        this.#attachments.alloc(getU32(x, registerOf(spec, 'domain')), iommu, x[2 * registerOf(spec, 'type')]!);
        break;
      }
      case 'free_domain':
        this.#free(getU32(x, 1));
        break;
      case 'attach_dev':
        this.#devices.used(getU32(x, 1), getU32(x, 3), false);
        this.#attachments.attach(getU32(x, 1), getU32(x, 2), getU32(x, 3), getU32(x, 4));
        break;
      case 'detach_dev':
        this.#devices.used(getU32(x, 1), getU32(x, 3), false);
        this.#attachments.detach(getU32(x, 1), getU32(x, 2), getU32(x, 3), getU32(x, 4));
        break;
      case 'set_identity':
        this.#devices.used(getU32(x, 2), getU32(x, 3), false);
        this.#identity(getU32(x, 2), getU32(x, 3), isOn(x, 4));
        break;
      case 'hvc_pd':
        this.#power.switched(getNumber(x, 1), isOn(x, 2), true);
        break;
      case 'host_donate_hyp_mmio':
        this.#devices.donated(getNumber(x, 1) * PAGE, getNumber(x, 2) * PAGE, false);
        break;
      case 'host_reclaim_hyp_mmio':
        this.#devices.donated(getNumber(x, 1) * PAGE, getNumber(x, 2) * PAGE, true);
        break;
      case 'pviommu_attach':
        this.#pviommus.attach(hexRegister(x, 1), getU32(x, 2));
        break;
      case 'pviommu_add_vsid': {
        const stream = { iommu: getU32(x, 3), sid: getU32(x, 4) };
        this.#pviommus.addVsid(hexRegister(x, 1), getU32(x, 2), getU32(x, 5), stream);
        break;
      }
      default:
        this.#doneWithPages(spec, cpu, x);
    }
  }

  /** A call about who has a page, or about a VM. */
  #doneWithPages(spec: CallSpec, cpu: number, x: Int32Array): void {
    switch (spec.name) {
      case 'host_share_hyp':
        this.#pages.move(getNumber(x, 1) * PAGE, PAGE, PageMove.shareHyp);
        break;
      case 'host_unshare_hyp':
        this.#pages.move(getNumber(x, 1) * PAGE, PAGE, PageMove.unshareHyp);
        break;
      case 'map_guest':
      case 'donate_guest':
      case 'share_guest': {
        const vm = this.#vms.used(cpu, VmMove.give);
        const size = getNumber(x, registerOf(spec, 'pages')) * PAGE;
        if (size <= FOLLOWED_BYTES_MAX) this.#books.give(vm, getNumber(x, 1) * PAGE, getNumber(x, 2) * PAGE, size);
        break;
      }
      case 'unshare_guest':
        this.#books.unshare(getU32(x, 1), getNumber(x, 2) * PAGE, getNumber(x, 3) * PAGE);
        break;
      case 'reclaim_dying_guest_page':
        this.#vms.move(getU32(x, 1), VmMove.reclaim);
        this.#books.reclaim(getU32(x, 1), getNumber(x, registerOf(spec, 'gfn')) * PAGE, reclaimedBytes(spec, x));
        break;
      case 'start_teardown_vm':
        this.#vms.move(getU32(x, 1), VmMove.startTeardown);
        this.#guests.vmGone(getU32(x, 1), true);
        break;
      case 'finalize_teardown_vm':
        this.#vms.move(getU32(x, 1), VmMove.finalize);
        this.#books.finalize(getU32(x, 1));
        break;
    }
  }

  /** A call ended without an answer of the hardware. */
  #unanswered(spec: CallSpec, x: Int32Array): void {
    switch (spec.name) {
      case 'attach_dev':
      case 'detach_dev':
      case 'set_identity':
        this.#power.unanswered(getU32(x, registerOf(spec, 'iommu')));
        break;
      case 'hvc_pd':
        this.#power.switched(getNumber(x, 1), isOn(x, 2), false);
        break;
      case 'start_teardown_vm':
        this.#guests.vmGone(getU32(x, 1), false);
        break;
    }
  }

  /** init_vm returned: 0 or an errno where the handle was reserved before, else the handle or an errno. */
  #initVm(spec: CallSpec, x: Int32Array, result: number): void {
    if (spec.x1 === 'errno' ? result !== 0 : result <= 0) return;
    let vm = result;
    if (spec.x1 === 'errno') vm = this.#vms.init();
    else this.#vms.move(vm, VmMove.create);
    this.#books.init(getNumber(x, registerOf(spec, 'pgd')));
    this.#pviommus.fix(hexRegister(x, 1), vm);
  }

  #free(id: number): void {
    this.#attachments.free(id);
    if (id < this.#count) this.#iovas.clear(id, this.#unmapped);
  }

  /** The identity domain has no life of its own: only the stream's is followed. */
  #identity(iommu: number, sid: number, on: boolean): void {
    const { identity } = this.#profile.domains;
    if (on) this.#attachments.attachStream(iommu, sid, 0, identity);
    else this.#attachments.detachStream(iommu, sid, 0, identity);
  }

  /** @param metLeaf whether the call may have ended at a leaf that was in the way */
  #mapped(x: Int32Array, after: Int32Array, metLeaf: boolean): void {
    const id = getU32(x, 1);
    const iova = getNumber(x, 2);
    const pa = getNumber(x, 3);
    const asked = product(x, 4, 5);
    const bytes = Math.min(getNumber(after, 1), asked);
    if (bytes > 0) this.#attachments.use(id, DomainUse.map);
    if (this.#hasDevices) {
      if (bytes > 0) this.#devices.mapped(pa, bytes, true);
      if (asked > bytes) this.#devices.mapped(pa + bytes, asked - bytes, false);
    }
    if (id >= this.#count) return;
    if (bytes > FOLLOWED_BYTES_MAX) {
      this.#iovas.remove(id, iova, bytes, this.#tornDown);
    } else if (bytes > 0) {
      this.#pages.map(pa, bytes);
      this.#iovas.insert(id, iova, pa, bytes, this.#unmapped);
    }
    // A block replaces tables, and those before a leaf in the way are gone although the call failed.
    if (metLeaf && getNumber(x, 4) > PAGE && asked > bytes)
      this.#iovas.remove(id, iova + bytes, asked - bytes, this.#tornDown);
  }

  /** A list was mapped: what of, and by blocks that replace tables or not, the registers do not say. */
  #mappedUnseen(id: number, iova: number, bytes: number): void {
    if (bytes > 0) {
      this.#attachments.use(id, DomainUse.map);
      this.#pages.unseenMap();
    }
    this.#devices.mapped(0, Number.POSITIVE_INFINITY, false);
    // In a domain that is not the host's nothing is done before that is found.
    const isHosts = id < this.#profile.domains.hostCount;
    if (isHosts || (bytes > 0 && id < this.#count)) this.#iovas.remove(id, iova, bytes + RUN_BYTES_MAX, this.#tornDown);
  }

  /** The identity domain is not a domain of the host's, and may be asked all the same. */
  #translated(id: number, pa: number): void {
    if (pa !== 0 && id !== this.#profile.domains.identity) this.#attachments.use(id, DomainUse.translate);
  }

  #unmap(id: number, iova: number, asked: number, bytes: number): void {
    const size = Math.min(bytes, asked);
    if (size <= 0) return;
    this.#attachments.use(id, DomainUse.unmap);
    if (id < this.#count) this.#iovas.remove(id, iova, size, this.#unmapped);
  }

  /** Where no register tells what is left: a failure may have taken any part of the list. */
  #refilledSilently(x: Int32Array, errno: number): void {
    if (errno === 0) this.#refilled(x, 0, 0);
    else if (getNumber(x, 3) !== 0) this.#pages.unseenDonation();
  }

  #refilled(x: Int32Array, left: number, errno: number): void {
    const count = getNumber(x, 3);
    // A failure that leaves nothing is one that looked at nothing.
    if (count === 0 || (left === 0 && errno !== 0)) return;
    const taken = count - left;
    const head = getNumber(x, 2);
    const order = head % PAGE;
    const isFollowed = order <= FOLLOWED_ORDER_MAX;
    if (taken >= 1 && isFollowed) this.#pages.move(head - order, PAGE * 2 ** order, PageMove.donateHyp);
    if (taken >= 2 || (taken === 1 && !isFollowed)) this.#pages.unseenDonation();
  }

  #reclaimed(head: number, count: number): void {
    if (count >= 1) this.#pages.move(head - (head % PAGE), PAGE, PageMove.returnHost);
    if (count >= 2) this.#pages.unseenReturn();
  }

  #add(machine: LifeCycleViolation['machine'], subject: string, state: string, event: string, rule: string): void {
    if (this.#violations.length >= VIOLATIONS_MAX) return;
    this.#violations.push({ machine, subject, state, event, rule, call: this.#callText() });
  }

  #callText(): string {
    if (this.#access >= 0) return `access at 0x${this.#access.toString(16)}`;
    return this.#byGuest ? formatGuestCall(this.#before) : formatCall(this.#before, this.#profile);
  }
}

/** Number of the register that carries an argument. */
function registerOf({ args }: CallSpec, name: string): number {
  return 1 + args.findIndex((arg) => arg.name === name);
}

/** Whether register n is a switch that is on. */
function isOn(x: Int32Array, n: number): boolean {
  return (x[2 * n]! | x[2 * n + 1]!) !== 0;
}

/** Bytes that a reclaim names: a number of pages, or its logarithm. */
function reclaimedBytes(spec: CallSpec, x: Int32Array): number {
  const last = spec.args.length;
  return spec.args[last - 1]!.unit === 'order' ? PAGE * 2 ** getNumber(x, last) : PAGE * getNumber(x, last);
}
