export { Interleaving, type TouchObserver } from './interleaving.ts';
export { StoreBuffers } from './store-buffers.ts';
