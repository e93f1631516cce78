export { PhysicalMemory } from './physical-memory.ts';
export { SlotFile } from './slot-file.ts';
export {
  BusError,
  PAGE_SHIFT,
  PAGE_SIZE,
  type RamRange,
  StateClass,
  WORDS_PER_PAGE,
  type WordChange,
  type WriteObserver,
} from './types.ts';
