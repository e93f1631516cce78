/** What every device of a frozen machine can reach. Runs in a browser. */
export { type AuditOptions, audit } from './audit.ts';
export { auditDocument, renderAudit } from './render.ts';
export * from './types.ts';
