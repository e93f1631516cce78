/** What Linux's SMMUv3 driver does with the structures: entries, updates of live entries, commands, nesting. */

export {
  type CpuTranslation,
  makeStage1Cd,
  makeSvaCd,
  type ProcessTable,
  type Stage1Domain,
} from './cd-makers.ts';
export * from './commands.ts';
export { type CommandSink, invalidateDomain } from './domain-invalidation.ts';
export { ENTRY_INTS, type Entry } from './entry.ts';
export { CD_KIND, type EntryKind, type EntryOps, STE_KIND, writeEntry } from './entry-writer.ts';
export type { MasterState, SmmuFeatures } from './features.ts';
export { buildGenericCommand, type GenericCommand } from './generic-command.ts';
export {
  compareInvalidations,
  emptyInvalidations,
  type Invalidation,
  type InvalidationArray,
  type InvalidationKey,
  InvalidationType,
  mergeInvalidations,
  purgeInvalidations,
  unrefInvalidations,
} from './invalidation-array.ts';
export { makeL1cd, makeL1std, STREAM_TABLE_SPLIT } from './level-1.ts';
export { buildAtcInvRange, type InvalidRange, isTooBig, tlbiRange } from './range-invalidation.ts';
export {
  type CdTable,
  makeAbortSte,
  makeBypassSte,
  makeCdTableSte,
  makeNestedSte,
  makeStage2Ste,
  S1Dss,
  type Stage2Domain,
} from './ste-makers.ts';
export { safeForCd, safeForSte, usedOfCd, usedOfSte } from './used-bits.ts';
export { rewriteUserCommand, type VirtualSmmu } from './user-command.ts';
export { type VirtualSte, validateVirtualSte } from './virtual-ste.ts';
