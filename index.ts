/**
 * Postern: an executable, bit-exact model of IOMMU protection in a protected hypervisor. The tools are exported here; the
 * rooms have entries of their own (`postern/machine`, `postern/hyp`, …).
 */

export * from '#lab';
export { preset, qemuVirt, tiny } from '#machine';
