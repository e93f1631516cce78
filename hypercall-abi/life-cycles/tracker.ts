/**
 * The life cycles at the boundary: each crossing is turned into events of domains, streams and pages, and an event that
 * a life cycle forbids becomes a violation. Only outcomes count: a call that failed moves nothing, and of a call that
 * did a part, that part happened.
 *
 * It sees registers and nothing else, and says nothing where they leave it in doubt. So it does not judge:
 * - whose a page was at boot: the first event of a page may find it with the host or with the hypervisor;
 * - chunks of a refill list behind the first, pages of a reclaim list behind the first: their links stand in memory;
 * - which VM a page went to where several may be loaded, and whether it was donated or shared: see guest-books.ts;
 * - what a map that failed with EEXIST and named blocks tore down on its way;
 * - the pages that map_sg's list names: they stand in memory;
 * - IOVAs from 2^48 on, maps of more than 16 GiB at once, and whether a free invalidated the TLBs.
 * Calls must not overlap in time: with several CPUs inside at once, the order of returns is not the order of effects.
 */

import type { CallSpec } from '../calls.ts';
import { formatCall } from '../codec.ts';
import { Errno } from '../errors.ts';
import { defaultProfile, type Profile } from '../profiles/index.ts';
import { getNumber, getSigned, getU32, product } from '../registers.ts';
import { AddressTree, type RunSink } from './address-tree.ts';
import { GuestBooks } from './guest-books.ts';
import {
  eventIndex,
  FORBIDDEN,
  type LifeCycleViolation,
  landingState,
  nextState,
  ruleAt,
  stateIndex,
} from './life-cycle.ts';
import { PageMove, PageStates } from './page-states.ts';
import { domainLifeCycle, pasidLifeCycle, streamLifeCycle } from './tables.ts';

const PAGE = 4096;
/** Pages of a single map that claims more than this are not followed: no machine has so much RAM. */
const FOLLOWED_BYTES_MAX = 2 ** 34;
/** A run of the largest blocks: so much may be torn down by a map that then meets a leaf. */
const RUN_BYTES_MAX = 2 ** 39;
/** No IOMMU: the first stream will say which. */
const UNBOUND = 0xffffffff;
/** Largest order of a donated chunk that is followed, with the same reason. */
const FOLLOWED_ORDER_MAX = 22;
/** Violations kept; what comes after them is dropped. */
export const VIOLATIONS_MAX = 1000;

const domainEvent = (name: string) => eventIndex(domainLifeCycle, name);
const ALLOC = domainEvent('ALLOC');
const FREE = domainEvent('FREE');
const ATTACH_FIRST = domainEvent('ATTACH_FIRST');
const ATTACH = domainEvent('ATTACH');
const ATTACH_ELSEWHERE = domainEvent('ATTACH_ELSEWHERE');
const DETACH = domainEvent('DETACH');
const DETACH_LAST = domainEvent('DETACH_LAST');
const MAP = domainEvent('MAP');
const UNMAP = domainEvent('UNMAP');
const TRANSLATE = domainEvent('TRANSLATE');
const IDLE = stateIndex(domainLifeCycle, 'idle');
const ATTACHED = stateIndex(domainLifeCycle, 'attached');
const RESERVED = stateIndex(domainLifeCycle, 'reserved');
const landings = domainLifeCycle.events.map((_, event) => landingState(domainLifeCycle, event));

const streamEvent = (name: string) => eventIndex(streamLifeCycle, name);
const STREAM_ATTACH = streamEvent('ATTACH');
const STREAM_DETACH = streamEvent('DETACH');
const STREAM_DETACH_OTHER = streamEvent('DETACH_OTHER');
const PASID_FIRST = streamEvent('PASID_FIRST');
const PASID_FURTHER = streamEvent('PASID');
const PASID_GONE = streamEvent('PASID_GONE');
const PASID_LAST = streamEvent('PASID_LAST');
const STREAM_BLOCKED = stateIndex(streamLifeCycle, 'blocked');
const STREAM_ATTACHED = stateIndex(streamLifeCycle, 'attached');
const STREAM_WITH_PASIDS = stateIndex(streamLifeCycle, 'withPasids');

const pasidEvent = (name: string) => eventIndex(pasidLifeCycle, name);
const PASID_ATTACH = pasidEvent('ATTACH');
const PASID_DETACH = pasidEvent('DETACH');
const PASID_DETACH_OTHER = pasidEvent('DETACH_OTHER');
const PASID_BLOCKED = stateIndex(pasidLifeCycle, 'blocked');
const PASID_ATTACHED = stateIndex(pasidLifeCycle, 'attached');

export class LifeCycleTracker {
  readonly #violations: LifeCycleViolation[] = [];
  readonly #profile: Profile;
  readonly #count: number;
  readonly #domains: Uint8Array;
  readonly #attached: Int32Array;
  readonly #iommus: Uint32Array;
  /** Type each domain was made with. */
  readonly #types: Int32Array;
  /** Domain of each attached stream, by `iommu:sid`, and of each PASID, by `iommu:sid.pasid`. */
  readonly #streams = new Map<string, number>();
  /** PASIDs of each stream that are attached, 0 left out. */
  readonly #pasids = new Map<string, number>();
  readonly #iovas: AddressTree;
  readonly #pages: PageStates;
  readonly #guests: GuestBooks;
  readonly #unmapped: RunSink;
  readonly #tornDown: RunSink;
  /** Registers of the call being followed, and whether a page of it has been reported. */
  #before: Int32Array = new Int32Array(0);
  #pageReported = false;

  /** @param profile the contract of the calls to come */
  constructor(profile: Profile = defaultProfile) {
    const { count } = profile.domains;
    this.#profile = profile;
    this.#count = count;
    this.#domains = new Uint8Array(count);
    this.#attached = new Int32Array(count);
    this.#iommus = new Uint32Array(count);
    this.#types = new Int32Array(count);
    this.#iovas = new AddressTree(count);
    const pages = new PageStates((pa, states, event, rule) => {
      if (this.#pageReported) return;
      this.#pageReported = true;
      this.#add('page', `0x${pa.toString(16)}`, states, event, rule);
    });
    this.#pages = pages;
    this.#guests = new GuestBooks(pages);
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
    this.#domains.fill(RESERVED);
    const { identity, hostCount } = this.#profile.domains;
    this.#domains.fill(domainLifeCycle.initial, identity + 1, hostCount);
    this.#attached.fill(0);
    this.#iommus.fill(0);
    this.#streams.clear();
    this.#pasids.clear();
    this.#iovas.reset();
    this.#pages.reset();
    this.#guests.reset();
  }

  /** State of a domain, as text. */
  domainState(id: number): string {
    return domainLifeCycle.states[this.#domainState(id)]!.name;
  }

  /** States that a page may be in, as text: `hostDma`, `guestOwned or sharedGuest`. */
  pageStates(pa: number): string {
    return this.#pages.statesOf(pa);
  }

  /** A call returned: `before` are the registers it was made with, `after` those it returned. */
  crossed(spec: CallSpec, cpu: number, before: Int32Array, after: Int32Array): void {
    this.#before = before;
    this.#pageReported = false;
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
      case 'vcpu_load':
        this.#guests.load(cpu, getU32(before, 1));
        break;
      case 'vcpu_put':
        this.#guests.put(cpu);
        break;
      case 'alloc_mgt_refill':
        if (spec.request) this.#refilled(before, getNumber(after, 3) % PAGE, getSigned(after, 1));
        else this.#refilledSilently(before, getSigned(after, 1));
        break;
      case 'alloc_mgt_reclaim':
        this.#reclaimed(getNumber(after, 1), getNumber(after, 2));
        break;
      case 'init_vm':
        if (spec.x1 === 'errno' ? getSigned(after, 1) === 0 : getSigned(after, 1) > 0) {
          this.#guests.init(getNumber(before, registerOf(spec, 'pgd')));
        }
        break;
      default:
        if (spec.x1 === 'errno' && getSigned(after, 1) === 0) this.#done(spec, cpu, before);
    }
  }

  /** A call whose only result is success. */
  #done(spec: CallSpec, cpu: number, x: Int32Array): void {
    switch (spec.name) {
      case 'alloc_domain':
        this.#alloc(
          getU32(x, registerOf(spec, 'domain')),
          spec.args.some(({ name }) => name === 'iommu') ? getU32(x, registerOf(spec, 'iommu')) : UNBOUND,
          x[2 * registerOf(spec, 'type')]!,
        );
        break;
      case 'free_domain':
        this.#free(getU32(x, 1));
        break;
      case 'attach_dev':
        this.#attach(getU32(x, 1), getU32(x, 2), getU32(x, 3), getU32(x, 4));
        break;
      case 'detach_dev':
        this.#detach(getU32(x, 1), getU32(x, 2), getU32(x, 3), getU32(x, 4));
        break;
      case 'set_identity':
        this.#identity(getU32(x, 2), getU32(x, 3), x[8] !== 0 || x[9] !== 0);
        break;
      case 'host_share_hyp':
        this.#pages.move(getNumber(x, 1) * PAGE, PAGE, PageMove.shareHyp);
        break;
      case 'host_unshare_hyp':
        this.#pages.move(getNumber(x, 1) * PAGE, PAGE, PageMove.unshareHyp);
        break;
      case 'map_guest':
      case 'donate_guest':
      case 'share_guest': {
        const size = getNumber(x, registerOf(spec, 'pages')) * PAGE;
        if (size > FOLLOWED_BYTES_MAX) break;
        this.#guests.give(cpu, getNumber(x, 1) * PAGE, getNumber(x, 2) * PAGE, size);
        break;
      }
      case 'unshare_guest':
        this.#guests.unshare(getU32(x, 1), getNumber(x, 2) * PAGE, getNumber(x, 3) * PAGE);
        break;
      case 'reclaim_dying_guest_page':
        this.#guests.reclaim(getU32(x, 1), getNumber(x, registerOf(spec, 'gfn')) * PAGE, reclaimedBytes(spec, x));
        break;
      case 'finalize_teardown_vm':
        this.#guests.finalize(getU32(x, 1));
        break;
    }
  }

  #alloc(id: number, iommu: number, type: number): void {
    this.#domain(id, ALLOC);
    if (id >= this.#count) return;
    this.#iommus[id] = iommu;
    this.#types[id] = type;
    this.#attached[id] = 0;
  }

  #free(id: number): void {
    this.#domain(id, FREE);
    if (id >= this.#count) return;
    this.#attached[id] = 0;
    this.#iovas.clear(id, this.#unmapped);
  }

  #attach(iommu: number, id: number, sid: number, pasid: number): void {
    this.#attachStream(`${iommu}:${sid}`, pasid, id);
    const state = this.#domainState(id);
    const isAllocated = state === IDLE || state === ATTACHED;
    if (isAllocated && this.#iommus[id] === UNBOUND) this.#iommus[id] = iommu;
    const isElsewhere = isAllocated && this.#iommus[id] !== iommu;
    if (isElsewhere && this.#profile.domainSmmus === 'one') this.#domain(id, ATTACH_ELSEWHERE);
    const count = this.#attached[id] ?? 0;
    this.#domain(id, count === 0 ? ATTACH_FIRST : ATTACH);
    if (id < this.#attached.length) this.#attached[id] = count + 1;
  }

  #attachStream(stream: string, pasid: number, id: number): void {
    if (pasid === 0) {
      this.#event(streamLifeCycle, stream, this.#streamState(stream), STREAM_ATTACH);
      this.#streams.set(stream, id);
      return;
    }
    const name = `${stream}.${pasid}`;
    const isAttached = this.#streams.has(name);
    const others = this.#pasids.get(stream) ?? 0;
    this.#event(pasidLifeCycle, name, isAttached ? PASID_ATTACHED : PASID_BLOCKED, PASID_ATTACH);
    this.#event(streamLifeCycle, stream, this.#streamState(stream), others === 0 ? PASID_FIRST : PASID_FURTHER);
    this.#streams.set(name, id);
    if (!isAttached) this.#pasids.set(stream, others + 1);
  }

  #detach(iommu: number, id: number, sid: number, pasid: number): void {
    // Stage 2 knows no PASIDs: upstream ignores the argument there.
    const isStage1 = this.#isStage1(id) || this.#streams.has(`${iommu}:${sid}.${pasid}`);
    this.#detachStream(`${iommu}:${sid}`, isStage1 ? pasid : 0, id);
    const count = this.#attached[id] ?? 0;
    this.#domain(id, count > 1 ? DETACH : DETACH_LAST);
    if (count > 0) this.#attached[id] = count - 1;
  }

  /** The identity domain has no life of its own: only the stream's is followed. */
  #identity(iommu: number, sid: number, on: boolean): void {
    const { identity } = this.#profile.domains;
    if (on) this.#attachStream(`${iommu}:${sid}`, 0, identity);
    else this.#detachStream(`${iommu}:${sid}`, 0, identity);
  }

  #detachStream(stream: string, pasid: number, id: number): void {
    const name = pasid === 0 ? stream : `${stream}.${pasid}`;
    const of = this.#streams.get(name);
    const isOther = of !== undefined && of !== id;
    this.#streams.delete(name);
    if (pasid === 0) {
      const state = of === undefined ? STREAM_BLOCKED : this.#pasids.has(stream) ? STREAM_WITH_PASIDS : STREAM_ATTACHED;
      this.#event(streamLifeCycle, stream, state, isOther ? STREAM_DETACH_OTHER : STREAM_DETACH);
      return;
    }
    const others = this.#pasids.get(stream) ?? 0;
    const state = of === undefined ? PASID_BLOCKED : PASID_ATTACHED;
    this.#event(pasidLifeCycle, name, state, isOther ? PASID_DETACH_OTHER : PASID_DETACH);
    this.#event(streamLifeCycle, stream, this.#streamState(stream), others > 1 ? PASID_GONE : PASID_LAST);
    if (others > 1) this.#pasids.set(stream, others - 1);
    else this.#pasids.delete(stream);
  }

  #streamState(stream: string): number {
    if (!this.#streams.has(stream)) return STREAM_BLOCKED;
    return this.#pasids.has(stream) ? STREAM_WITH_PASIDS : STREAM_ATTACHED;
  }

  /** Whether the domain is known to translate at stage 1: a type may leave that to the hardware. */
  #isStage1(id: number): boolean {
    return this.#types[id] === this.#profile.domainTypes.s1;
  }

  /** @param metLeaf whether the call may have ended at a leaf that was in the way */
  #mapped(x: Int32Array, after: Int32Array, metLeaf: boolean): void {
    const id = getU32(x, 1);
    const iova = getNumber(x, 2);
    const asked = product(x, 4, 5);
    const bytes = Math.min(getNumber(after, 1), asked);
    if (bytes > 0) this.#domain(id, MAP);
    if (id >= this.#count) return;
    if (bytes > FOLLOWED_BYTES_MAX) {
      this.#iovas.remove(id, iova, bytes, this.#tornDown);
    } else if (bytes > 0) {
      const pa = getNumber(x, 3);
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
      this.#domain(id, MAP);
      this.#pages.unseenMap();
    }
    if (id < this.#count) this.#iovas.remove(id, iova, bytes + RUN_BYTES_MAX, this.#tornDown);
  }

  /** The identity domain is not a domain of the host's, and may be asked all the same. */
  #translated(id: number, pa: number): void {
    if (pa !== 0 && id !== this.#profile.domains.identity) this.#domain(id, TRANSLATE);
  }

  #unmap(id: number, iova: number, asked: number, bytes: number): void {
    const size = Math.min(bytes, asked);
    if (size <= 0) return;
    this.#domain(id, UNMAP);
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

  #domainState(id: number): number {
    return id < this.#count ? this.#domains[id]! : RESERVED;
  }

  #domain(id: number, event: number): void {
    const state = this.#domainState(id);
    const next = nextState(domainLifeCycle, state, event);
    if (next !== FORBIDDEN) {
      this.#domains[id] = next;
      return;
    }
    const { name } = domainLifeCycle.events[event]!;
    this.#add('domain', String(id), domainLifeCycle.states[state]!.name, name, ruleAt(domainLifeCycle, state, event));
    // It has happened all the same: go on from where it leads, so that one mistake is reported once.
    if (state !== RESERVED && landings[event]! >= 0) this.#domains[id] = landings[event]!;
  }

  /** Judge an event of a stream or PASID; what the state is afterwards, the caller remembers. */
  #event(machine: typeof streamLifeCycle | typeof pasidLifeCycle, name: string, state: number, event: number): void {
    if (nextState(machine, state, event) !== FORBIDDEN) return;
    const { name: eventName } = machine.events[event]!;
    const kind = machine === streamLifeCycle ? 'stream' : 'pasid';
    this.#add(kind, name, machine.states[state]!.name, eventName, ruleAt(machine, state, event));
  }

  #add(machine: LifeCycleViolation['machine'], subject: string, state: string, event: string, rule: string): void {
    if (this.#violations.length >= VIOLATIONS_MAX) return;
    this.#violations.push({ machine, subject, state, event, rule, call: formatCall(this.#before, this.#profile) });
  }
}

/** Number of the register that carries an argument. */
function registerOf({ args }: CallSpec, name: string): number {
  return 1 + args.findIndex((arg) => arg.name === name);
}

/** Bytes that a reclaim names: a number of pages, or its logarithm. */
function reclaimedBytes(spec: CallSpec, x: Int32Array): number {
  const last = spec.args.length;
  return spec.args[last - 1]!.unit === 'order' ? PAGE * 2 ** getNumber(x, last) : PAGE * getNumber(x, last);
}
