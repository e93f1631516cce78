/** The oracles: call specification, abstraction, invalidation automaton, and the theorem over them. */

export { CheckedHypervisor, type OracleOptions } from './checked.ts';
export type { OracleDescription, OracleMachine, OracleSmmu } from './facts.ts';
export { type Detail, type Finding, PROPERTIES, type Property } from './findings.ts';
export { rowIds } from './spec/index.ts';
export type { Evidence, RowHits } from './statement.ts';
