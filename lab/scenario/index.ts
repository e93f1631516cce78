/** Scenarios: one format in which every engine reports what it found, and every tool can run it again. */

export { type ParsedScenario, parseScenario, parseScenarioLines } from './parse.ts';
export { firstStepLine, printScenario, printStep } from './print.ts';
export { decodeShare, encodeShare, isShare } from './share.ts';
export * from './types.ts';
