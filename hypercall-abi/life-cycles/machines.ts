/**
 * The life cycles as XState machines: to read, to draw, and to generate paths from. Not part of the room's index, so
 * that importing the contract does not load XState; sessions use the compiled {@link lifeCycles} of tables.ts.
 */

import { domainMachine } from './domain.ts';
import { pageMachine } from './page.ts';
import { pasidMachine } from './pasid.ts';
import { streamMachine } from './stream.ts';

export { compileLifeCycle } from './compile.ts';
export { type DomainEvent, domainMachine } from './domain.ts';
export { type PageEvent, pageMachine } from './page.ts';
export { type PasidEvent, pasidMachine } from './pasid.ts';
export { type StreamEvent, streamMachine } from './stream.ts';

/** Every machine by its name. */
export const lifeCycleMachines = {
  domain: domainMachine,
  stream: streamMachine,
  pasid: pasidMachine,
  page: pageMachine,
} as const;
