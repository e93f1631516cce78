/** Explaining device accesses over a frozen machine. Runs in a browser. */
export { type LeafMapping, leavesOf } from './leaves.ts';
export { renderWalk, walkDocument } from './render.ts';
export * from './result.ts';
export { type MemorySource, type WalkSource, walkSource } from './source.ts';
export { presentStreams } from './stream.ts';
export { walkAccess } from './walk.ts';
