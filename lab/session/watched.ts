/**
 * Ways of the host and of its devices to memory with the oracle behind them: every access that goes through is reported
 * with where it ended. Without an oracle nothing is in between.
 */

import {
  type Cpu,
  type DmaDevice,
  type DmaOptions,
  type DmaRead,
  type DmaWrite,
  type HostPort,
  hostPort,
} from '#machine';
import type { CheckedHypervisor } from '../oracle/index.ts';

/** What a kernel at EL1 can do on that CPU. */
export function watchedPort(cpu: Cpu, oracle: CheckedHypervisor | null): HostPort {
  const port = hostPort(cpu);
  if (oracle === null) return port;
  const reached = (ipa: number, write: boolean): void => {
    const pa = cpu.el1Translate(ipa, write);
    if (typeof pa === 'number') oracle.hostReached(port.cpu, ipa, pa, write);
  };
  return Object.freeze({
    cpu: port.cpu,
    x: port.x,
    el1Read32: (ipa: number) => {
      const word = port.el1Read32(ipa);
      if (typeof word === 'number') reached(ipa, false);
      return word;
    },
    el1Write32: (ipa: number, value: number) => {
      const fault = port.el1Write32(ipa, value);
      if (fault === null) reached(ipa, true);
      return fault;
    },
    el1Write64: (ipa: number, hi: number, lo: number) => {
      const fault = port.el1Write64(ipa, hi, lo);
      if (fault === null) reached(ipa, true);
      return fault;
    },
  });
}

/** A stream as the oracle knows it. */
export interface WatchedStream {
  /** Number of the SMMU. */
  readonly smmu: number;
  readonly sid: number;
}

/** A device whose accesses the oracle sees. Each reaches one page at most. */
export class WatchedDevice {
  readonly device: DmaDevice;
  /** Its streams: number of the SMMU, and StreamID there. */
  readonly streams: readonly WatchedStream[];
  private readonly oracle: CheckedHypervisor | null;

  constructor(device: DmaDevice, streams: readonly WatchedStream[], oracle: CheckedHypervisor | null) {
    this.device = device;
    this.streams = streams;
    this.oracle = oracle;
  }

  /** Reads one word; see {@link DmaDevice.read}. */
  read(iova: number, options?: DmaOptions): DmaRead {
    const done = this.device.read(iova, 1, options);
    if (done.ok) this.reached(iova, done.pa, false, options);
    return done;
  }

  /** Writes one word; see {@link DmaDevice.write}. */
  write(iova: number, word: number, options?: DmaOptions): DmaWrite {
    const done = this.device.write(iova, [word], options);
    if (done.ok) this.reached(iova, done.pa, true, options);
    return done;
  }

  private reached(iova: number, pa: number, write: boolean, options: DmaOptions | undefined): void {
    if (this.oracle === null) return;
    const { outcome = 0, ssid, stream = 0 } = options ?? {};
    const pasid = ssid ?? 0;
    this.oracle.deviceReached({ ...this.streams[stream]!, pasid, iova, pa, write, cached: outcome !== 0 });
  }
}
