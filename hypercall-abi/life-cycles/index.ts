/** The life cycles of domains, streams, PASIDs and pages, and the tracker that the boundary asks. */

export { callEvents, type EventName, eventsOfAccesses, pureCalls, unfollowedCalls } from './call-events.ts';
export { lifeCycleDiagram } from './diagram.ts';
export {
  eventIndex,
  FORBIDDEN,
  type LifeCycle,
  type LifeCycleEvent,
  type LifeCycleState,
  type LifeCycleViolation,
  nextState,
  ruleAt,
  stateIndex,
} from './life-cycle.ts';
export { domainLifeCycle, lifeCycles, pageLifeCycle, pasidLifeCycle, streamLifeCycle } from './tables.ts';
export { LifeCycleTracker, VIOLATIONS_MAX } from './tracker.ts';
