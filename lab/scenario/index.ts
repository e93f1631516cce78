/** Scenarios: one format in which every engine reports what it found, and every tool can run it again. */

export { CannotDo, NameBinder } from './bind.ts';
export { CandidateRunner, type JudgeOptions, judgedBy } from './candidates.ts';
export { checkFits, type Placement } from './check.ts';
export { outcomeText, withOutcome } from './compare.ts';
export { Executor, type Outcome, type Savepoint } from './execute.ts';
export { SCENARIO_MAGIC, SHARE_PREFIX } from './format.ts';
export { type ParsedScenario, parseScenario, parseScenarioLines } from './parse.ts';
export { firstStepLine, printScenario, printStep } from './print.ts';
export { type RunOptions, runScenario, type ScenarioReport, type StepResult } from './run.ts';
export { scenarioSchema } from './schema.ts';
export { decodeShare, encodeShare, isShare } from './share.ts';
export { type RunCandidate, type ShrinkOptions, type ShrinkResult, shrink, withoutExpectation } from './shrink.ts';
export { callOf, type Found, type Signature, sameSignature } from './signature.ts';
export { type NamedStream, namedStreams } from './streams.ts';
export { makeExecutor, type RunSessionOptions, TwinExecutor } from './twin.ts';
export * from './types.ts';
