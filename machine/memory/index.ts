export {
  BusError,
  PAGE_SHIFT,
  PAGE_SIZE,
  PhysicalMemory,
  type RamRange,
  SlotFile,
  StateClass,
  WORDS_PER_PAGE,
  type WordChange,
  type WriteObserver,
} from './physical-memory.ts';
