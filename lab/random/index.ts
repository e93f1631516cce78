/** Random search for violations. */

export {
  type Finding,
  type FindOptions,
  type FindProgress,
  type FindResult,
  findViolation,
  searchViolation,
} from './find.ts';
export { StepGenerator } from './generate.ts';
export { Prng } from './prng.ts';
