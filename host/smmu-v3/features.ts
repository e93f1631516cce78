/** What the driver found in the ID registers of an SMMU, as far as the entries and commands that it makes depend on it. */
export interface SmmuFeatures {
  /** The SMMU can stall or terminate as the entry says (STALL_MODEL 0). */
  readonly stalls?: boolean;
  /** The SMMU always stalls (STALL_MODEL 2). */
  readonly stallForce?: boolean;
  /** Entries can replace the incoming attributes. */
  readonly attributeTypesOverride?: boolean;
  /** Streams are put into the host's EL2 world. */
  readonly e2h?: boolean;
  /** TLB invalidation by range. */
  readonly rangeInvalidation?: boolean;
  /** Hardware update of the access flag, of the dirty state, and of the access flag of tables. */
  readonly accessFlag?: boolean;
  readonly dirtyState?: boolean;
  readonly tableAccessFlag?: boolean;
}

/** The state of one device that its entries depend on. */
export interface MasterState {
  /** ATS is to be on. */
  readonly ats: boolean;
  /** The device can take a stall. */
  readonly stall: boolean;
}
