/**
 * What registers tell of VMs, by handle, and which of them may be loaded on which CPU. vcpu_load, vcpu_put and unreserve_vm
 * have no result, and where a handle was reserved before, init_vm finds it in memory: so much of it is a set of states.
 */

import { VM_COUNT, VM_HANDLE_BASE } from '../calls.ts';
import type { Report } from './life-cycle.ts';
import { moveOf, Possible, setOf, statesIn } from './possible.ts';
import { vmLifeCycle } from './tables.ts';

const FREE = setOf(vmLifeCycle, 'free');
const RESERVED = setOf(vmLifeCycle, 'reserved');
const LIVE = setOf(vmLifeCycle, 'live');
const LOADED = setOf(vmLifeCycle, 'loaded');

/** Moves of VMs that registers tell. */
export const VmMove = {
  reserve: moveOf(vmLifeCycle, 'RESERVE'),
  create: moveOf(vmLifeCycle, 'CREATE'),
  give: moveOf(vmLifeCycle, 'GIVE'),
  call: moveOf(vmLifeCycle, 'CALL'),
  startTeardown: moveOf(vmLifeCycle, 'START_TEARDOWN'),
  reclaim: moveOf(vmLifeCycle, 'RECLAIM'),
  finalize: moveOf(vmLifeCycle, 'FINALIZE'),
} as const;
const INIT = moveOf(vmLifeCycle, 'INIT');

/** What stands for a VM where it is not known which. */
export const UNKNOWN_VM = -1;
const NOTHING_LOADED = 0;

const slotOf = (handle: number): number => handle - VM_HANDLE_BASE;
const hex = (value: number): string => `0x${value.toString(16)}`;

export class VmStates {
  readonly #states: Possible;
  /** By CPU: the one VM whose vCPU may be loaded, none, or several that may. */
  readonly #loaded = new Map<number, number>();

  constructor(report: Report) {
    this.#states = new Possible(vmLifeCycle, VM_COUNT, report);
  }

  reset(): void {
    this.#states.reset();
    this.#loaded.clear();
  }

  /** Names of the states that a VM may be in. */
  statesOf(handle: number): string {
    const slot = slotOf(handle);
    return statesIn(vmLifeCycle, slot >= 0 && slot < VM_COUNT ? this.#states.get(slot) : FREE);
  }

  /** A call that names the VM succeeded. */
  move(handle: number, move: (typeof VmMove)[keyof typeof VmMove]): void {
    const slot = slotOf(handle);
    if (slot < 0 || slot >= VM_COUNT) this.#states.refuse(hex(handle), FREE, move);
    else this.#states.judge(slot, hex(handle), move);
  }

  /** unreserve_vm was called: only a reserved handle is free now. */
  unreserve(handle: number): void {
    const slot = slotOf(handle);
    if (slot < 0 || slot >= VM_COUNT) return;
    const mask = this.#states.get(slot);
    if ((mask & RESERVED) !== 0) this.#states.set(slot, (mask & ~RESERVED) | FREE);
  }

  /** init_vm succeeded for a handle that is reserved. @returns the handle, or {@link UNKNOWN_VM} where several may be */
  init(): number {
    let candidate = -1;
    let count = 0;
    for (let slot = 0; slot < VM_COUNT; slot++) {
      if ((this.#states.get(slot) & RESERVED) === 0) continue;
      candidate = slot;
      count++;
    }
    if (count === 0) this.#states.refuse('any handle', FREE, INIT);
    if (count === 1) this.#states.judge(candidate, hex(VM_HANDLE_BASE + candidate), INIT);
    if (count === 1) return VM_HANDLE_BASE + candidate;
    for (let slot = 0; slot < VM_COUNT; slot++) this.#widen(slot, RESERVED, LIVE);
    return UNKNOWN_VM;
  }

  /** vcpu_load was called: the VM may be loaded now. */
  load(cpu: number, handle: number): void {
    const slot = slotOf(handle);
    if (slot < 0 || slot >= VM_COUNT || (this.#states.get(slot) & (LIVE | LOADED)) === 0) return;
    this.#widen(slot, LIVE, LOADED);
    const before = this.#loaded.get(cpu) ?? NOTHING_LOADED;
    this.#loaded.set(cpu, before === NOTHING_LOADED || before === handle ? handle : UNKNOWN_VM);
  }

  /** vcpu_put was called. */
  put(cpu: number): void {
    const handle = this.#loaded.get(cpu) ?? NOTHING_LOADED;
    this.#loaded.set(cpu, NOTHING_LOADED);
    if (handle > 0) this.#widen(slotOf(handle), LOADED, LIVE);
    else if (handle === UNKNOWN_VM) for (let slot = 0; slot < VM_COUNT; slot++) this.#widen(slot, LOADED, LIVE);
  }

  /** The VM that is loaded on a CPU did something. @returns its handle, or {@link UNKNOWN_VM} */
  used(cpu: number, move: typeof VmMove.give | typeof VmMove.call): number {
    const handle = this.#loaded.get(cpu) ?? NOTHING_LOADED;
    if (handle === UNKNOWN_VM) return UNKNOWN_VM;
    if (handle !== NOTHING_LOADED) {
      this.move(handle, move);
      return handle;
    }
    this.#states.refuse(`that is loaded on CPU ${cpu}`, LIVE, move);
    return UNKNOWN_VM;
  }

  /** What may be in a state of `from` may be in `to` as well. */
  #widen(slot: number, from: number, to: number): void {
    const mask = this.#states.get(slot);
    if ((mask & from) !== 0) this.#states.set(slot, mask | to);
  }
}
