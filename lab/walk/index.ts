/** Explaining device accesses over a frozen machine. Runs in a browser. */
export { type LeafMapping, leavesOf } from './leaves.ts';
export { explainAccess, type HeldEntry, type ModelAccess, type ModelWalk, type PossibleOutcome } from './model.ts';
export { modelWalkDocument, renderModelWalk } from './model-render.ts';
export { renderWalk, type WalkStyle, walkDocument } from './render.ts';
export * from './result.ts';
export { type MemorySource, type WalkSource, walkSource } from './source.ts';
export { presentStreams } from './stream.ts';
export { type LeafRun, type TableNode, type TableTree, tableTree } from './table-tree.ts';
export { walkAccess } from './walk.ts';
