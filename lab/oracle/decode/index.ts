/** The oracle's literal decoder: STEs, context descriptors, table descriptors, commands and events. */
export * from './cd.ts';
export * from './command.ts';
export * from './descriptor.ts';
export * from './event.ts';
export * from './fields.ts';
export * from './idr.ts';
export * from './l1std.ts';
export * from './legal.ts';
export * from './ste.ts';
