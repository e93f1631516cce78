/** IOMMU traces: parsing them, and the operations they record. Runs in a browser. */
export * from './bind.ts';
export * from './event.ts';
export * from './live.ts';
export * from './operation.ts';
export { operationsOf } from './operations.ts';
export { type LostEvents, parseTrace, type Trace, TraceParser, type TraceSummary } from './parse.ts';
