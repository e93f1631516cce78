/** The hardware: memory, CPUs and their stage 2, SMMUv3 with its caches, devices. Knows nothing of any hypervisor. */

export { Bus, type MmioDevice, ScratchMmio } from './bus.ts';
export { Interleaving, StoreBuffers, type TouchObserver } from './concurrency/index.ts';
export { Cpu, HCR_VM, type HostPort, hostPort, SystemRegister } from './cpu.ts';
export {
  type AddressWidth,
  type AssignableDescription,
  DescriptionError,
  type DeviceDescription,
  featuresOf,
  type HardwareUpdate,
  type MachineDescription,
  type MmioRange,
  SMMU_MMIO_SIZE,
  type SmmuDescription,
  type SmmuFeatures,
  type StallModel,
  type StreamDescription,
  streamsOf,
  type TermModel,
  validateDescription,
} from './description.ts';
export { DmaDevice, type DmaFault, type DmaOptions, type DmaRead, type DmaWrite } from './device.ts';
export { createMachine, type Machine } from './machine.ts';
export * from './memory/index.ts';
export { mmu700, preset, presets, qemuVirt, smmuFeatures, tiny, twoSmmus } from './presets.ts';
export { COMMAND_NAMES, Opcode } from './smmu-v3/commands.ts';
export { EVENT_NAMES, EventClass, EventType } from './smmu-v3/events.ts';
export type { ExplainedBeneath, ExplainedDescriptor, ExplainedEntry, Explanation } from './smmu-v3/explain.ts';
export { ID_FIELDS, ID_REGISTER_NAMES, type IdField } from './smmu-v3/id-fields.ts';
export { type IdentifiedSmmu, identify, idField, idRegisters } from './smmu-v3/id-registers.ts';
export type { Receipt } from './smmu-v3/page-requests.ts';
export * as registers from './smmu-v3/registers.ts';
export { Smmu } from './smmu-v3/smmu.ts';
export type { StalledTransaction, StallState } from './smmu-v3/stalls.ts';
export * as structures from './smmu-v3/structures/index.ts';
export type {
  AtcEntry,
  AtsAnswer,
  EventRecord,
  InterruptName,
  Outcome,
  PageGroup,
  PageRequest,
  PageResponseCode,
  SmmuObserver,
  StaleEntry,
  StaleKind,
  Translation,
} from './smmu-v3/types.ts';
export type { Stage2Fault } from './stage2-walk.ts';
export { type Plain, run, type Steps, type Touch, type TouchKind } from './steps.ts';
export { hex, hex64, hiOf, join, joinSigned, loOf } from './word64.ts';
