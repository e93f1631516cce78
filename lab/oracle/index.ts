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
export type { Detail, Finding } from './findings.ts';
export { type Difference as TwinDifference, NonInterference } from './non-interference.ts';
export {
  chooseProperties,
  isProperty,
  PROPERTIES,
  PROPERTY_NAMES,
  type Property,
  type PropertyChoice,
  type PropertyInfo,
} from './properties.ts';
export { SOMETIMES, type SometimesCount, type SometimesName } from './sometimes.ts';
export { type Specification, specificationOf } from './spec/index.ts';
export type { Evidence, RowHits } from './statement.ts';
