/**
 * The life cycles at the boundary to guests: what their calls to the paravirtual IOMMU tell of VMs, domains, streams, devices
 * and pages. Which guest calls is what was loaded on the CPU, as far as that is known; where it is not, the objects in
 * question are not judged any more.
 */

import { firstGuestArgument, type GuestCallSpec, GuestStatus } from '../guest-calls.ts';
import type { Profile } from '../profiles/index.ts';
import { getNumber, getU32 } from '../registers.ts';
import type { AddressTree, RunSink } from './address-tree.ts';
import type { Attachments } from './attachments.ts';
import type { DeviceStates } from './device-states.ts';
import type { GuestBooks } from './guest-books.ts';
import type { Report } from './life-cycle.ts';
import type { PageStates } from './page-states.ts';
import { moveOf, Possible, setOf } from './possible.ts';
import type { PvIommuStates } from './pviommu-states.ts';
import { guestDomainLifeCycle } from './tables.ts';
import { UNKNOWN_VM, VmMove, type VmStates } from './vm-states.ts';

const PAGE = 4096;
/** As much of one map is followed: more than any guest of the model has. */
const FOLLOWED_BYTES_MAX = 2 ** 32;
const NOBODY = 0;

const move = (...names: readonly string[]) => moveOf(guestDomainLifeCycle, ...names);
const ALLOC = move('ALLOC');
const FREE = move('FREE');
const ATTACH_FIRST = move('ATTACH_FIRST');
const ATTACH = move('ATTACH');
const ATTACH_ELSEWHERE = move('ATTACH_ELSEWHERE');
const DETACH = move('DETACH');
const DETACH_LAST = move('DETACH_LAST');
/** Where the number of streams is not known. */
const ATTACH_ANY = move('ATTACH_FIRST', 'ATTACH');
const DETACH_ANY = move('DETACH', 'DETACH_LAST');
const MAP = move('MAP');
const UNMAP = move('UNMAP');
const USE_OTHERS = move('USE_OTHERS');
const VM_GONE = move('VM_GONE');
const FREE_STATE = setOf(guestDomainLifeCycle, 'free');
const FRESH_STATE = setOf(guestDomainLifeCycle, 'fresh');
const IDLE_STATE = setOf(guestDomainLifeCycle, 'idle');
const RESERVED = setOf(guestDomainLifeCycle, 'reserved');
/** Number of streams that is not known. */
const LOOSE = -1;
const NO_IOMMU = -1;

/** What is known beside the domains of guests. */
export interface Surroundings {
  readonly vms: VmStates;
  readonly books: GuestBooks;
  readonly devices: DeviceStates;
  readonly pviommus: PvIommuStates;
  readonly attachments: Attachments;
  readonly pages: PageStates;
  readonly iovas: AddressTree;
}

export class GuestTracker {
  readonly #with: Surroundings;
  readonly #first: number;
  readonly #count: number;
  readonly #domains: Possible;
  /** By domain of a guest: handle of its VM, {@link UNKNOWN_VM}, or nobody; its streams; the IOMMU of its table. */
  readonly #owners: Int32Array;
  readonly #attached: Int32Array;
  readonly #iommus: Int32Array;
  readonly #unmapped: RunSink;
  readonly #mayBeUnmapped: RunSink;

  constructor(profile: Profile, surroundings: Surroundings, report: Report) {
    const { hostCount, count } = profile.domains;
    this.#with = surroundings;
    this.#first = hostCount;
    this.#count = count;
    this.#domains = new Possible(guestDomainLifeCycle, count, report);
    this.#owners = new Int32Array(count);
    this.#attached = new Int32Array(count);
    this.#iommus = new Int32Array(count);
    const { pages } = surroundings;
    this.#unmapped = { run: (pa, size) => pages.guestUnmap(pa, size) };
    this.#mayBeUnmapped = { run: (pa, size) => pages.mayBeGuestUnmapped(pa, size) };
    this.reset();
  }

  reset(): void {
    this.#domains.reset();
    for (let id = 0; id < this.#first; id++) this.#domains.set(id, RESERVED);
    this.#owners.fill(NOBODY);
    this.#attached.fill(0);
    this.#iommus.fill(NO_IOMMU);
  }

  /**
   * A guest's call returned to the guest, or ended in the host with its registers telling how far it came.
   * @param x registers that the call was made with
   * @param after registers that it left
   */
  crossed(spec: GuestCallSpec, cpu: number, x: Int32Array, after: Int32Array): void {
    const first = firstGuestArgument(spec);
    const isDone = after[0] === GuestStatus.success;
    const bytes = spec.x1 === 'bytes' ? getNumber(after, 1) : 0;
    if (!isDone && spec.name === 'guest_attach_dev') this.#notAttached(getU32(x, first + 3));
    if (!isDone && bytes === 0) return;
    const vm = this.#with.vms.used(cpu, VmMove.call);
    switch (spec.name) {
      case 'guest_dev_req_dma':
        this.#requested(vm, getU32(x, first), getU32(x, first + 1), getNumber(after, 1), getU32(after, 2));
        break;
      case 'guest_alloc_domain':
        this.#alloc(vm, getU32(after, 1));
        break;
      case 'guest_free_domain':
        this.#free(vm, getU32(x, first));
        break;
      case 'guest_attach_dev':
        this.#attach(vm, getU32(x, first), getU32(x, first + 1), getU32(x, first + 3));
        break;
      case 'guest_detach_dev':
        this.#detach(vm, getU32(x, first), getU32(x, first + 1), getU32(x, first + 3));
        break;
      case 'guest_map_pages':
        this.#map(vm, getU32(x, first), getNumber(x, first + 1), getNumber(x, first + 2), bytes);
        break;
      case 'guest_unmap_pages':
        this.#unmap(vm, getU32(x, first), getNumber(x, first + 1), bytes);
        break;
    }
  }

  /** A VM is torn down, with all that its guest had; when it is not certain, any of it may be gone. */
  vmGone(vm: number, certain: boolean): void {
    const { attachments, devices, iovas, pviommus } = this.#with;
    for (let id = this.#first; id < this.#count; id++) {
      const owner = this.#owners[id]!;
      if (owner === NOBODY || (owner !== vm && owner !== UNKNOWN_VM)) continue;
      const isTheirs = certain && owner === vm;
      attachments.blockStreamsOf(id, isTheirs);
      if (isTheirs) {
        this.#judge(id, VM_GONE);
        this.#forget(id);
      } else {
        this.#domains.set(id, this.#domains.get(id) | FREE_STATE | IDLE_STATE);
        this.#owners[id] = UNKNOWN_VM;
        this.#attached[id] = LOOSE;
        iovas.clear(id, this.#mayBeUnmapped);
      }
    }
    devices.vmGone(vm, certain);
    if (certain) pviommus.vmGone(vm);
  }

  #requested(vm: number, pviommu: number, vsid: number, base: number, sid: number): void {
    const { attachments, devices, pviommus } = this.#with;
    pviommus.resolve(vm, pviommu, vsid);
    devices.claimed(base, sid, vm, (iommu, endpoint) => attachments.isAttached(iommu, endpoint));
  }

  #alloc(vm: number, id: number): void {
    this.#judge(id, ALLOC);
    if (id >= this.#count) return;
    this.#owners[id] = vm;
    this.#attached[id] = 0;
    this.#iommus[id] = NO_IOMMU;
  }

  #free(vm: number, id: number): void {
    this.#own(vm, id);
    this.#judge(id, FREE);
    if (id < this.#count) this.#forget(id);
  }

  /** Nobody has the domain: what was mapped there is unmapped. */
  #forget(id: number): void {
    this.#with.iovas.clear(id, this.#unmapped);
    this.#owners[id] = NOBODY;
    this.#attached[id] = 0;
    this.#iommus[id] = NO_IOMMU;
  }

  #attach(vm: number, pviommu: number, vsid: number, id: number): void {
    this.#own(vm, id);
    const stream = this.#stream(vm, pviommu, vsid, id, true);
    const count = this.#attached[id] ?? 0;
    if (stream !== null && id < this.#count) {
      const of = this.#iommus[id]!;
      if (of !== NO_IOMMU && of !== stream.iommu) this.#judge(id, ATTACH_ELSEWHERE);
      this.#iommus[id] = stream.iommu;
    }
    this.#judge(id, count === LOOSE ? ATTACH_ANY : count === 0 ? ATTACH_FIRST : ATTACH);
    if (id < this.#count && count !== LOOSE) this.#attached[id] = count + 1;
  }

  /** Where an SMMU does not answer, the table that was made for an attach that failed stays. */
  #notAttached(id: number): void {
    if (id < this.#count && (this.#domains.get(id) & FRESH_STATE) !== 0) {
      this.#domains.set(id, this.#domains.get(id) | IDLE_STATE);
    }
  }

  #detach(vm: number, pviommu: number, vsid: number, id: number): void {
    this.#own(vm, id);
    this.#stream(vm, pviommu, vsid, id, false);
    const count = this.#attached[id] ?? 0;
    this.#judge(id, count === LOOSE ? DETACH_ANY : count > 1 ? DETACH : DETACH_LAST);
    if (count > 0) this.#attached[id] = count - 1;
  }

  /** The stream that a guest names, followed as far as it is known. */
  #stream(vm: number, pviommu: number, vsid: number, id: number, attached: boolean) {
    const { attachments, devices, pviommus } = this.#with;
    const stream = pviommus.resolve(vm, pviommu, vsid);
    if (stream === null) {
      for (const { iommu, sid } of pviommus.streams()) attachments.mayHaveMoved(iommu, sid);
      return null;
    }
    devices.used(stream.iommu, stream.sid, true);
    if (attached) attachments.attachStream(stream.iommu, stream.sid, 0, id);
    else attachments.detachStream(stream.iommu, stream.sid, 0, id);
    return stream;
  }

  #map(vm: number, id: number, iova: number, ipa: number, bytes: number): void {
    if (bytes === 0) return;
    const { books, iovas, pages } = this.#with;
    this.#own(vm, id);
    this.#judge(id, MAP);
    if (id >= this.#count) return;
    const size = Math.min(bytes, FOLLOWED_BYTES_MAX);
    let known = 0;
    for (let done = 0; done < size; done += PAGE) {
      const pa = books.pageAt(vm, ipa + done);
      if (pa < 0) continue;
      pages.guestMap(pa, PAGE);
      iovas.insert(id, iova + done, pa, PAGE, this.#unmapped);
      known += PAGE;
    }
    if (known < bytes) pages.mayBeGuestMapped();
  }

  #unmap(vm: number, id: number, iova: number, bytes: number): void {
    if (bytes === 0) return;
    this.#own(vm, id);
    this.#judge(id, UNMAP);
    if (id < this.#count) this.#with.iovas.remove(id, iova, bytes, this.#unmapped);
  }

  /** A guest uses a domain that it names: it must be its own. */
  #own(vm: number, id: number): void {
    const owner = this.#owners[id] ?? NOBODY;
    if (owner > 0 && vm > 0 && owner !== vm) this.#judge(id, USE_OTHERS);
  }

  #judge(id: number, event: ReturnType<typeof move>): void {
    if (id >= this.#count) this.#domains.refuse(String(id), RESERVED, event);
    else this.#domains.judge(id, String(id), event);
  }
}
