/**
 * What registers tell of the devices that a guest may be given: who has each range of their registers, and which VM has
 * the device. A device without registers takes one place all the same.
 */

import type { Report } from './life-cycle.ts';
import type { Platform, PlatformDevice } from './platform.ts';
import { type Move, moveOf, Possible, setOf } from './possible.ts';
import { deviceLifeCycle } from './tables.ts';
import { UNKNOWN_VM } from './vm-states.ts';

const HOST = setOf(deviceLifeCycle, 'hostOwned');
const HYP = setOf(deviceLifeCycle, 'hypOwned');
const GUEST = setOf(deviceLifeCycle, 'guestOwned');
const TAINTED = setOf(deviceLifeCycle, 'tainted');

const DONATE = moveOf(deviceLifeCycle, 'DONATE');
const RECLAIM = moveOf(deviceLifeCycle, 'RECLAIM');
const MAP = moveOf(deviceLifeCycle, 'MAP');
const ACCESS = moveOf(deviceLifeCycle, 'ACCESS');
const HOST_USE = moveOf(deviceLifeCycle, 'HOST_USE');
const GUEST_USE = moveOf(deviceLifeCycle, 'GUEST_USE');
const CLAIM = moveOf(deviceLifeCycle, 'CLAIM', 'CLAIM_AGAIN');
const CLAIM_OTHERS = moveOf(deviceLifeCycle, 'CLAIM_OTHERS');
const CLAIM_ATTACHED = moveOf(deviceLifeCycle, 'CLAIM_ATTACHED');
const VM_GONE = moveOf(deviceLifeCycle, 'VM_GONE');

const NOBODY = 0;

/** One register range, or a device that has none. */
interface Place {
  readonly device: number;
  readonly base: number;
  readonly size: number;
  readonly name: string;
}

export class DeviceStates {
  readonly #platform: Platform;
  readonly #states: Possible;
  readonly #places: readonly Place[];
  /** By device: handle of the VM that has it, {@link UNKNOWN_VM}, or nobody. */
  readonly #owners: Int32Array;

  constructor(platform: Platform, report: Report) {
    this.#platform = platform;
    this.#places = platform.devices.flatMap(placesOf);
    this.#states = new Possible(deviceLifeCycle, this.#places.length, report);
    this.#owners = new Int32Array(platform.devices.length);
    this.reset();
  }

  reset(): void {
    this.#states.reset();
    this.#owners.fill(NOBODY);
    this.#places.forEach(({ size }, i) => {
      if (size === 0) this.#states.set(i, HYP);
    });
  }

  /** host_donate_hyp_mmio or host_reclaim_hyp_mmio succeeded. What is no range of a device is not followed. */
  donated(base: number, size: number, back: boolean): void {
    this.#places.forEach((place, i) => {
      if (place.base === base && place.size === size) this.#judge(i, back ? RECLAIM : DONATE);
    });
  }

  /** [base, base + size) was mapped for DMA by the host, or may have been. */
  mapped(base: number, size: number, certain: boolean): void {
    this.#places.forEach((place, i) => {
      if (place.base >= base + size || place.base + place.size <= base) return;
      if (certain) this.#judge(i, MAP);
      else if ((this.#states.get(i) & HOST) !== 0) this.#states.set(i, this.#states.get(i) | TAINTED);
    });
  }

  /** Whether a register of a device is there. */
  hasRegister(at: number): boolean {
    for (let i = 0; i < this.#places.length; i++) {
      const { base, size } = this.#places[i]!;
      if (at >= base && at < base + size) return true;
    }
    return false;
  }

  /** An access of the host to `at` came through. */
  accessed(at: number): void {
    for (let i = 0; i < this.#places.length; i++) {
      const { base, size } = this.#places[i]!;
      if (at >= base && at < base + size) this.#judge(i, ACCESS);
    }
  }

  /** The host, or a guest, attached or detached a stream. */
  used(iommu: number, sid: number, byGuest: boolean): void {
    const device = this.#deviceOf(iommu, sid);
    if (device >= 0) this.#judgeAll(device, byGuest ? GUEST_USE : HOST_USE);
  }

  /**
   * A VM got the token of a stream, named by the base of its IOMMU's registers: its group is the VM's.
   * @param isAttached whether a stream is known to translate
   */
  claimed(base: number, sid: number, vm: number, isAttached: (iommu: number, sid: number) => boolean): void {
    const named = this.#deviceOf(
      this.#platform.iommus.findIndex((iommu) => iommu.base === base),
      sid,
    );
    if (named < 0) return;
    const { group } = this.#platform.devices[named]!;
    this.#platform.devices.forEach((device, i) => {
      if (device.group === group) this.#claim(i, vm, isAttached);
    });
  }

  #claim(device: number, vm: number, isAttached: (iommu: number, sid: number) => boolean): void {
    const owner = this.#owners[device]!;
    if (owner > 0 && vm > 0 && owner !== vm) this.#judgeAll(device, CLAIM_OTHERS);
    const { streams } = this.#platform.devices[device]!;
    const isFirst = this.#placesOf(device).every((i) => (this.#states.get(i) & GUEST) === 0);
    if (isFirst && streams.some(({ iommu, sid }) => isAttached(iommu, sid))) this.#judgeAll(device, CLAIM_ATTACHED);
    this.#judgeAll(device, CLAIM);
    if (owner <= 0) this.#owners[device] = vm;
  }

  /** A VM is torn down; when it is not certain, any of its devices may have gone back. */
  vmGone(vm: number, certain: boolean): void {
    this.#owners.forEach((owner, device) => {
      if (owner === NOBODY || (owner !== vm && owner !== UNKNOWN_VM)) return;
      const isTheirs = certain && owner === vm;
      for (const i of this.#placesOf(device)) {
        if (isTheirs) this.#judge(i, VM_GONE);
        else if ((this.#states.get(i) & GUEST) !== 0) this.#states.set(i, this.#states.get(i) | HOST | HYP);
        if (this.#places[i]!.size === 0 && isTheirs) this.#states.set(i, HYP);
      }
      this.#owners[device] = isTheirs ? NOBODY : UNKNOWN_VM;
    });
  }

  #deviceOf(iommu: number, sid: number): number {
    return this.#platform.devices.findIndex(({ streams }) =>
      streams.some((stream) => stream.iommu === iommu && stream.sid === sid),
    );
  }

  #placesOf(device: number): number[] {
    return this.#places.flatMap((place, i) => (place.device === device ? [i] : []));
  }

  #judge(i: number, move: Move): void {
    this.#states.judge(i, this.#places[i]!.name, move);
  }

  /** Of a device with several ranges the first that forbids the move is reported. */
  #judgeAll(device: number, move: Move): void {
    for (const i of this.#placesOf(device)) this.#judge(i, move);
  }
}

function placesOf({ registers, streams }: PlatformDevice, device: number): Place[] {
  const { iommu, sid } = streams[0] ?? { iommu: 0, sid: 0 };
  if (registers.length === 0) return [{ device, base: 0, size: 0, name: `of stream ${iommu}:${sid}` }];
  return registers.map(({ base, size }) => ({ device, base, size, name: `0x${base.toString(16)}` }));
}
