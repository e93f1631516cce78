/** The model's SMMU against QEMU's, by random programs on both. Runs in a browser, but for QEMU itself. */
export * from './deviations.ts';
export { aarch32Stage2, type CrashOutcome } from './directed.ts';
export { generate } from './generate.ts';
export { conformDocument, outcomeText, renderConform } from './render.ts';
export { type ConformOptions, type ConformReport, conform } from './run.ts';
export * from './types.ts';
