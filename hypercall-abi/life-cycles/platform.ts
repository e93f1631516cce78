/** What firmware tells host and hypervisor of the machine, as far as life cycles need it. Addresses and sizes in bytes. */

export interface Platform {
  readonly iommus: readonly PlatformIommu[];
  /** The devices that a guest may be given. */
  readonly devices: readonly PlatformDevice[];
}

export interface PlatformIommu {
  /** Base of its registers. */
  readonly base: number;
  /** The power domain that it is in, or null. */
  readonly powerDomain: number | null;
}

export interface PlatformDevice {
  /** Isolation group: all of it goes to a guest at once. */
  readonly group: number;
  readonly streams: readonly { readonly iommu: number; readonly sid: number }[];
  readonly registers: readonly { readonly base: number; readonly size: number }[];
}

/** A machine of which nothing is known: power and devices are not followed there. */
export const unknownPlatform: Platform = { iommus: [], devices: [] };
