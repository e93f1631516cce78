/** The fuzzer. Its engine runs wherever JavaScript does; threads and folders are in lab/io. */

export { type EngineOptions, FuzzEngine, type Violated } from './engine.ts';
export { ALL_FEEDBACK, type FeedbackChoice, NO_FEEDBACK } from './feedback.ts';
export { FindingMaker, type FuzzFinding, findingKey } from './finding.ts';
export { RECORD_BYTES } from './records.ts';
export { FuzzTarget, FuzzViolation, fuzzOne, type TargetOptions } from './target.ts';
