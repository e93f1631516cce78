/** The life cycles of what the contract is about, and the tracker that the boundary asks. */

export { callEvents, type EventName, eventsOfAccesses, pureCalls } from './call-events.ts';
export { lifeCycleDiagram } from './diagram.ts';
export {
  eventIndex,
  FORBIDDEN,
  type LifeCycle,
  type LifeCycleEvent,
  type LifeCycleName,
  type LifeCycleState,
  type LifeCycleViolation,
  nextState,
  ruleAt,
  stateIndex,
} from './life-cycle.ts';
export type { Platform, PlatformDevice, PlatformIommu } from './platform.ts';
export { domainLifeCycle, lifeCycles, pageLifeCycle, pasidLifeCycle, streamLifeCycle } from './tables.ts';
export { LifeCycleTracker, VIOLATIONS_MAX } from './tracker.ts';
