/** The contract between host and hypervisor: calls, registers, errors, memory requests, life cycles, the boundary. */

export * from './boundary.ts';
export * from './calls.ts';
export * from './codec.ts';
export * from './errors.ts';
export * from './guest-calls.ts';
export * from './hypervisor.ts';
export * from './life-cycles/index.ts';
export * from './memory-request.ts';
export * from './profiles/index.ts';
export { referenceFile, renderReference } from './reference.ts';
export * from './registers.ts';
