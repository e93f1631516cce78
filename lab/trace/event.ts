/**
 * The events of an IOMMU trace. Stock events are the kernel's own (`iommu:*`); probe events are kprobes that a capture
 * adds to learn what the stock ones do not tell: which domain, with which permissions, and what went to the command
 * queue. Addresses and sizes are bytes. Kernel pointers exceed 53 bits and serve as names only: they stay text.
 */

/** Who, where and when: what precedes the name of an event on its line. */
export interface EventHead {
  /** From 1. */
  readonly line: number;
  readonly task: string;
  readonly pid: number;
  readonly cpu: number;
  /** Seconds. */
  readonly time: number;
}

/** Stock: one iommu_map succeeded. */
export interface MapEvent extends EventHead {
  readonly kind: 'map';
  readonly iova: number;
  readonly pa: number;
  readonly size: number;
}

/** Stock: one iommu_unmap, of which `unmapped` bytes were there. */
export interface UnmapEvent extends EventHead {
  readonly kind: 'unmap';
  readonly iova: number;
  readonly size: number;
  readonly unmapped: number;
}

/** Probe: the page-table code is asked to map `count` pages. */
export interface PageMapEvent extends EventHead {
  readonly kind: 'pg_map';
  readonly ops: string;
  readonly pgd: string;
  readonly iova: number;
  readonly pa: number;
  readonly pageSize: number;
  readonly count: number;
  readonly prot: number;
}

/** Probe: the page-table code is asked to unmap `count` pages. */
export interface PageUnmapEvent extends EventHead {
  readonly kind: 'pg_unmap';
  readonly ops: string;
  readonly iova: number;
  readonly pageSize: number;
  readonly count: number;
}

/** Probe: the driver attaches a device to a domain. */
export interface AttachEvent extends EventHead {
  readonly kind: 'attach';
  readonly domain: string;
  readonly device: string;
}

/**
 * Probe: the driver puts commands on the queue. `first` and `second` are the two first commands as int32 words, low
 * half first. On kernels from 6.12 on the probed function has one more argument: `shifted` then says that `count` was
 * read from where the flag was meant to be, and that the commands themselves were not caught.
 */
export interface CommandListEvent extends EventHead {
  readonly kind: 'cmdlist';
  readonly count: number;
  /** A SYNC follows; null when the log does not tell. */
  readonly sync: boolean | null;
  readonly shifted: boolean;
  readonly first: readonly [number, number, number, number];
  readonly second: readonly [number, number, number, number];
}

/** Stock: a device joins an IOMMU group. */
export interface GroupEvent extends EventHead {
  readonly kind: 'add_device_to_group';
  readonly group: number;
  readonly device: string;
}

/** Stock: a device gets its domain. */
export interface AttachDeviceEvent extends EventHead {
  readonly kind: 'attach_device_to_domain';
  readonly device: string;
}

export type TraceEvent =
  | MapEvent
  | UnmapEvent
  | PageMapEvent
  | PageUnmapEvent
  | AttachEvent
  | CommandListEvent
  | GroupEvent
  | AttachDeviceEvent;

export type TraceEventKind = TraceEvent['kind'];

/** Stream ID of a PCI function `domain:bus:device.function`: bus in bits 15:8, devfn below; null for another name. */
export function pciStreamId(device: string): number | null {
  const parts = /^(?:[0-9a-f]+:)?([0-9a-f]{2}):([0-9a-f]{2})\.([0-7])$/i.exec(device);
  if (parts === null) return null;
  return Number.parseInt(parts[1]!, 16) * 256 + Number.parseInt(parts[2]!, 16) * 8 + Number(parts[3]);
}
