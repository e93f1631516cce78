/**
 * What an untrusted host may use of the hardware: devices that do DMA, what EL1 can do on a CPU, and the formats of the
 * architecture, which are no secret.
 */

export type { HostPort } from './cpu.ts';
export type { DeviceDescription, SmmuDescription } from './description.ts';
export type { DmaDevice, DmaOptions, DmaRead, DmaWrite } from './device.ts';
export * as structures from './smmu-v3/structures/index.ts';
export type { EventRecord } from './smmu-v3/types.ts';
export type { Stage2Fault } from './stage2-walk.ts';
