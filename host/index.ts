/** The host at EL1: untrusted once the hypervisor has taken over. It holds the boundary and nothing else. */

export { type DriverCaches, type DriverStatistics, IommuDriver } from './driver.ts';
export { type IommuDomain, iommuMap, iommuUnmap, PAGE_SIZES_4K } from './iommu.ts';
export { HostMemcache } from './memcache.ts';
export { HostMemory, type HostRam } from './memory.ts';
export { choosePageSize, type PageSizeChoice } from './page-size.ts';
export { rootOrders } from './root-order.ts';
export { ScatterList, type ScatterRange } from './scatter-list.ts';
export { type SmmuMemory, setUpSmmu } from './smmu-setup.ts';
export * as smmuV3 from './smmu-v3/index.ts';
