/** The oracles: call specification, abstraction, invalidation automaton, and the theorem over them. */

export type { DeviceAccess } from './accesses.ts';
export { CheckedHypervisor, type OracleOptions } from './checked.ts';
export type {
  OracleDescription,
  OracleMachine,
  OracleSmmu,
  OracleSystemRegister,
  RegisterWords,
} from './facts.ts';
export { type Detail, type Finding, PROPERTIES, type Property } from './findings.ts';
export { type Specification, specificationOf } from './spec/index.ts';
export type { Evidence, RowHits } from './statement.ts';
