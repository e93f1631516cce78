/**
 * I/O page tables: the formats, and the one algorithm that maps, unmaps and walks them in simulated memory, bit for bit
 * as Linux does. Imports nothing of the house but types.
 */
export { readAndClearDirty } from './dirty.ts';
export { Errno } from './errno.ts';
export { mapPages } from './map.ts';
export { allocPageTable, configurePageTable, freePageTable, openPageTable, pgdBytes } from './page-table.ts';
export {
  type DirtyState,
  EntryKind,
  type Format,
  type FormatName,
  type PageTable,
  type PageTableConfig,
  type PageTableLayout,
  type PageTableOps,
  PROTECTIONS,
  type Profile,
  Prot,
  Quirk,
  type SecondStageRegisters,
  type Stage1Registers,
  type Stage2Registers,
} from './types.ts';
export { unmapPages } from './unmap.ts';
export { iovaToPhys, walkDescriptors } from './walk.ts';
