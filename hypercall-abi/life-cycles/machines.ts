/**
 * The life cycles as XState machines: to read, to draw, and to generate paths from. Not part of the room's index, so
 * that importing the contract does not load XState; sessions use the compiled {@link lifeCycles} of tables.ts.
 */

import { deviceMachine } from './device.ts';
import { domainMachine } from './domain.ts';
import { guestDomainMachine } from './guest-domain.ts';
import { pageMachine } from './page.ts';
import { pasidMachine } from './pasid.ts';
import { powerMachine } from './power.ts';
import { pviommuMachine } from './pviommu.ts';
import { streamMachine } from './stream.ts';
import { vmMachine } from './vm.ts';

export { compileLifeCycle } from './compile.ts';
export { type DeviceEvent, deviceMachine } from './device.ts';
export { type DomainEvent, domainMachine } from './domain.ts';
export { type GuestDomainEvent, guestDomainMachine } from './guest-domain.ts';
export { type PageEvent, pageMachine } from './page.ts';
export { type PasidEvent, pasidMachine } from './pasid.ts';
export { type PowerEvent, powerMachine } from './power.ts';
export { type PvIommuEvent, pviommuMachine } from './pviommu.ts';
export { type StreamEvent, streamMachine } from './stream.ts';
export { type VmEvent, vmMachine } from './vm.ts';

/** Every machine by its name. */
export const lifeCycleMachines = {
  domain: domainMachine,
  stream: streamMachine,
  pasid: pasidMachine,
  page: pageMachine,
  power: powerMachine,
  vm: vmMachine,
  device: deviceMachine,
  pviommu: pviommuMachine,
  guestDomain: guestDomainMachine,
} as const;
