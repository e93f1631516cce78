/** Signatures first: the life cycles of domain, stream attachment and page, and the tracker that the boundary asks. */
import type { CallSpec } from '../calls.ts';

/** A crossing whose outcome a life cycle forbids. */
export interface LifeCycleViolation {
  /** Which life cycle. */
  readonly machine: 'domain' | 'stream' | 'page';
  /** Which instance: domain id, `iommu:sid`, or physical address, as text. */
  readonly subject: string;
  readonly state: string;
  readonly event: string;
  readonly rule: string;
  /** The call, as text. */
  readonly call: string;
}

export interface LifeCycleTracker {
  readonly violations: readonly LifeCycleViolation[];
  /** A call returned: `before` are the registers it was made with, `after` those it returned. */
  crossed(spec: CallSpec, cpu: number, before: Int32Array, after: Int32Array): void;
}
