/**
 * What registers tell of paravirtual IOMMUs: who was promised which stream under which virtual StreamID. Where it is not
 * known which VM was made of a description, its IOMMUs may be any VM's; and which of several with one name a route was
 * added to depends on places that became free meanwhile.
 */

import type { Report } from './life-cycle.ts';
import { moveOf, Possible, setOf } from './possible.ts';
import { pviommuLifeCycle } from './tables.ts';
import { UNKNOWN_VM } from './vm-states.ts';

const NONE = setOf(pviommuLifeCycle, 'none');
const OPEN = setOf(pviommuLifeCycle, 'open');
const ADD_VSID = moveOf(pviommuLifeCycle, 'ADD_VSID');
const ADD_VSID_AGAIN = moveOf(pviommuLifeCycle, 'ADD_VSID_AGAIN');
const RESOLVE = moveOf(pviommuLifeCycle, 'RESOLVE');

export interface Stream {
  readonly iommu: number;
  readonly sid: number;
}

interface PvIommu {
  readonly description: string;
  readonly id: number;
  /** Handle of the VM that it is fixed for, or {@link UNKNOWN_VM}; 0 while it is open. */
  vm: number;
  readonly routes: Map<number, Stream>;
  /** One of several with this name: which one a route was added to, and which the guest finds, is not known. */
  isLoose: boolean;
}

export class PvIommuStates {
  readonly #judge: Possible;
  #all: PvIommu[] = [];

  constructor(report: Report) {
    // None is numbered: each is made and gone by name.
    this.#judge = new Possible(pviommuLifeCycle, 0, report);
  }

  reset(): void {
    this.#all = [];
  }

  /** pviommu_attach succeeded. @param description address of the VM's description, as text */
  attach(description: string, id: number): void {
    const others = this.#open(description, id);
    for (const other of others) other.isLoose = true;
    this.#all.push({ description, id, vm: 0, routes: new Map(), isLoose: others.length > 0 });
  }

  #open(description: string, id: number): PvIommu[] {
    return this.#all.filter((one) => one.vm === 0 && one.id === id && one.description === description);
  }

  /** pviommu_add_vsid succeeded. */
  addVsid(description: string, id: number, vsid: number, stream: Stream): void {
    const found = this.#open(description, id);
    const subject = `${id} of ${description}`;
    if (found.length === 0) this.#judge.refuse(subject, NONE, ADD_VSID);
    for (const one of found) {
      if (!one.isLoose && one.routes.has(vsid)) this.#judge.refuse(subject, OPEN, ADD_VSID_AGAIN);
      one.routes.set(vsid, stream);
    }
  }

  /** A VM was made of a description. */
  fix(description: string, vm: number): void {
    for (const one of this.#all) if (one.vm === 0 && one.description === description) one.vm = vm;
  }

  /** A VM is torn down. */
  vmGone(vm: number): void {
    this.#all = this.#all.filter((one) => one.vm !== vm);
  }

  /** Every stream that any guest was promised. */
  streams(): Stream[] {
    return this.#all.flatMap(({ routes }) => [...routes.values()]);
  }

  /** A guest named a virtual StreamID, and the call succeeded. @returns what it stands for, or null where that is not known */
  resolve(vm: number, id: number, vsid: number): Stream | null {
    const mayBe = this.#all.filter(
      (one) => one.vm !== 0 && one.id === id && (vm === UNKNOWN_VM || one.vm === UNKNOWN_VM || one.vm === vm),
    );
    const streams = mayBe.flatMap((one) => one.routes.get(vsid) ?? []);
    if (streams.length === 0) this.#judge.refuse(`${id}, StreamID ${vsid}`, NONE, RESOLVE);
    const [first] = streams;
    return mayBe.length === 1 && !mayBe[0]!.isLoose && first !== undefined ? first : null;
  }
}
