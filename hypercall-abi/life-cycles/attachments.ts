/**
 * What registers tell of the host's domains, and of streams and PASIDs, whoever attaches them. All of it is exact but for
 * streams that a guest attached by a name which may stand for several: those are not judged any more.
 */

import type { Profile } from '../profiles/index.ts';
import {
  eventIndex,
  FORBIDDEN,
  type LifeCycle,
  type LifeCycleName,
  landingState,
  nextState,
  type Report,
  ruleAt,
  stateIndex,
} from './life-cycle.ts';
import { domainLifeCycle, pasidLifeCycle, streamLifeCycle } from './tables.ts';

/** No IOMMU: the first stream will say which. */
export const UNBOUND = 0xffffffff;

const domainEvent = (name: string) => eventIndex(domainLifeCycle, name);
const ALLOC = domainEvent('ALLOC');
const FREE = domainEvent('FREE');
const ATTACH_FIRST = domainEvent('ATTACH_FIRST');
const ATTACH = domainEvent('ATTACH');
const ATTACH_ELSEWHERE = domainEvent('ATTACH_ELSEWHERE');
const DETACH = domainEvent('DETACH');
const DETACH_LAST = domainEvent('DETACH_LAST');
/** Events of a domain that move nothing else. */
export const DomainUse = {
  map: domainEvent('MAP'),
  unmap: domainEvent('UNMAP'),
  translate: domainEvent('TRANSLATE'),
} as const;
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

export class Attachments {
  readonly #profile: Profile;
  readonly #report: Report;
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
  /** Streams that may be attached or not. */
  readonly #loose = new Set<string>();

  constructor(profile: Profile, report: Report) {
    const { count } = profile.domains;
    this.#profile = profile;
    this.#report = report;
    this.#count = count;
    this.#domains = new Uint8Array(count);
    this.#attached = new Int32Array(count);
    this.#iommus = new Uint32Array(count);
    this.#types = new Int32Array(count);
  }

  reset(): void {
    this.#domains.fill(RESERVED);
    const { identity, hostCount } = this.#profile.domains;
    this.#domains.fill(domainLifeCycle.initial, identity + 1, hostCount);
    this.#attached.fill(0);
    this.#iommus.fill(0);
    this.#streams.clear();
    this.#pasids.clear();
    this.#loose.clear();
  }

  /** State of a domain, as text. */
  domainState(id: number): string {
    return domainLifeCycle.states[this.#domainState(id)]!.name;
  }

  /** Whether a stream is known to translate. */
  isAttached(iommu: number, sid: number): boolean {
    const stream = `${iommu}:${sid}`;
    return this.#streams.has(stream) && !this.#loose.has(stream);
  }

  alloc(id: number, iommu: number, type: number): void {
    this.#domain(id, ALLOC);
    if (id >= this.#count) return;
    this.#iommus[id] = iommu;
    this.#types[id] = type;
    this.#attached[id] = 0;
  }

  free(id: number): void {
    this.#domain(id, FREE);
    if (id < this.#count) this.#attached[id] = 0;
  }

  /** A domain was used without its streams changing: an event of {@link DomainUse}. */
  use(id: number, event: (typeof DomainUse)[keyof typeof DomainUse]): void {
    this.#domain(id, event);
  }

  attach(iommu: number, id: number, sid: number, pasid: number): void {
    this.attachStream(iommu, sid, pasid, id);
    const state = this.#domainState(id);
    const isAllocated = state === IDLE || state === ATTACHED;
    if (isAllocated && this.#iommus[id] === UNBOUND) this.#iommus[id] = iommu;
    const isElsewhere = isAllocated && this.#iommus[id] !== iommu;
    if (isElsewhere && this.#profile.domainSmmus === 'one') this.#domain(id, ATTACH_ELSEWHERE);
    const count = this.#attached[id] ?? 0;
    this.#domain(id, count === 0 ? ATTACH_FIRST : ATTACH);
    if (id < this.#attached.length) this.#attached[id] = count + 1;
  }

  detach(iommu: number, id: number, sid: number, pasid: number): void {
    // Stage 2 knows no PASIDs: upstream ignores the argument there.
    const isStage1 = this.#isStage1(id) || this.#streams.has(`${iommu}:${sid}.${pasid}`);
    this.detachStream(iommu, sid, isStage1 ? pasid : 0, id);
    const count = this.#attached[id] ?? 0;
    this.#domain(id, count > 1 ? DETACH : DETACH_LAST);
    if (count > 0) this.#attached[id] = count - 1;
  }

  /** A stream, or a PASID of it, was attached to a domain of whatever owner. */
  attachStream(iommu: number, sid: number, pasid: number, id: number): void {
    const stream = `${iommu}:${sid}`;
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

  detachStream(iommu: number, sid: number, pasid: number, id: number): void {
    const stream = `${iommu}:${sid}`;
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

  /** Streams that translate through domain `id` were blocked; or they may have been, when it is not certain. */
  blockStreamsOf(id: number, certain: boolean): void {
    for (const [stream, of] of this.#streams) {
      if (of !== id) continue;
      if (certain) this.#streams.delete(stream);
      else this.#loose.add(stream);
    }
  }

  /** A stream was attached or detached that may be this one: it is judged no more. */
  mayHaveMoved(iommu: number, sid: number): void {
    this.#loose.add(`${iommu}:${sid}`);
  }

  #streamState(stream: string): number {
    if (!this.#streams.has(stream)) return STREAM_BLOCKED;
    return this.#pasids.has(stream) ? STREAM_WITH_PASIDS : STREAM_ATTACHED;
  }

  /** Whether the domain is known to translate at stage 1: a type may leave that to the hardware. */
  #isStage1(id: number): boolean {
    return this.#types[id] === this.#profile.domainTypes.s1;
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
    this.#refuse(domainLifeCycle, String(id), state, event);
    // It has happened all the same: go on from where it leads, so that one mistake is reported once.
    if (state !== RESERVED && landings[event]! >= 0) this.#domains[id] = landings[event]!;
  }

  /** Judge an event of a stream or PASID; what the state is afterwards, the caller remembers. */
  #event(lifeCycle: LifeCycle, name: string, state: number, event: number): void {
    if (this.#loose.size !== 0 && this.#loose.has(name.split('.')[0]!)) return;
    if (nextState(lifeCycle, state, event) === FORBIDDEN) this.#refuse(lifeCycle, name, state, event);
  }

  #refuse(lifeCycle: LifeCycle, subject: string, state: number, event: number): void {
    const name = lifeCycle.name as LifeCycleName;
    const { name: eventName } = lifeCycle.events[event]!;
    this.#report(name, subject, lifeCycle.states[state]!.name, eventName, ruleAt(lifeCycle, state, event));
  }
}
