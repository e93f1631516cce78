/**
 * Arm LPAE stage 1 (VMSAv8-64): IOVA to PA, or to IPA below a stage 2. Descriptor bits: Arm ARM D8.3.
 */
import { type DirtyState, type Format, Prot, Quirk } from '../types.ts';
import { granuleField, Leaf, layoutOf, lpae, SIZE_4K, SIZE_16K, type StageRules, walkAttributes } from './lpae.ts';

/** Index into MAIR. */
const ATTR_CACHE = 1 << 2;
const ATTR_DEVICE = 2 << 2;
const NON_SECURE = 1 << 5;
const AP_UNPRIVILEGED = 1 << 6;
const AP_READ_ONLY = 1 << 7;
const NOT_GLOBAL = 1 << 11;

/**
 * MAIR: 0 normal non-cacheable, 1 normal write-back, 2 device, 3 normal inner non-cacheable outer write-back. The high
 * word is the sign extension of the fourth attribute, as Linux computes it; attributes 4 to 7 are not used.
 */
const MAIR_LO = 0xf404ff44 | 0;
const MAIR_HI = -1;

const QUIRKS = Quirk.ARM_NS | Quirk.ARM_TTBR1 | Quirk.ARM_OUTER_WBWA | Quirk.ARM_HD;

/** What only a walker that is not coherent may be asked for. */
const INCOHERENT_QUIRKS = Quirk.ARM_OUTER_WBWA;

export const stage1Rules: StageRules = {
  quirks: (config, profile) => {
    const quirks = profile === 'linux-7.2' ? QUIRKS | Quirk.NO_WARN : QUIRKS;
    return config.coherentWalk ? quirks & ~INCOHERENT_QUIRKS : quirks;
  },
  concatenates: () => false,
  registers: (config, { granule, ias }, size) => ({
    stage: 1,
    ips: size,
    tg: (config.quirks & Quirk.ARM_TTBR1) !== 0 ? granuleField1(granule) : granuleField(granule),
    ...walkAttributes(config),
    tsz: 64 - ias,
    mairHi: MAIR_HI,
    mairLo: MAIR_LO,
  }),
  attributesLo,
  attributesHi,
};

/** The granule field of TTBR1's half of TCR, which counts otherwise than TTBR0's. */
function granuleField1(granule: number): number {
  return granule === SIZE_4K ? 2 : granule === SIZE_16K ? 1 : 3;
}

/** There is no write-only: WRITE without READ is readable too. */
function isReadOnly(prot: number): boolean {
  return (prot & (Prot.READ | Prot.WRITE)) === Prot.READ;
}

function attributesLo(prot: number, quirks: number): number {
  let bits = NOT_GLOBAL | Leaf.AF;
  if (isReadOnly(prot)) bits |= AP_READ_ONLY;
  if ((prot & Prot.PRIV) === 0) bits |= AP_UNPRIVILEGED;
  if ((prot & Prot.MMIO) !== 0) bits |= ATTR_DEVICE;
  else if ((prot & Prot.CACHE) !== 0) bits |= ATTR_CACHE;
  bits |= (prot & Prot.CACHE) !== 0 ? Leaf.SH_INNER : Leaf.SH_OUTER;
  return (quirks & Quirk.ARM_NS) !== 0 ? bits | NON_SECURE : bits;
}

/** A writable leaf starts dirty: writable, and with the bit that lets hardware make it writable again. */
function attributesHi(prot: number, quirks: number): number {
  const noExec = (prot & Prot.NOEXEC) !== 0 ? Leaf.XN_HI : 0;
  return (quirks & Quirk.ARM_HD) !== 0 && !isReadOnly(prot) ? noExec | Leaf.DBM_HI : noExec;
}

const dirty: DirtyState = {
  isDirty: (hi, lo) => (hi & Leaf.DBM_HI) !== 0 && (lo & AP_READ_ONLY) === 0,
  cleanLo: (lo) => lo | AP_READ_ONLY,
};

export const arm64LpaeS1: Format = {
  ...lpae,
  name: 'ARM_64_LPAE_S1',
  configure: (config) => layoutOf(config, arm64LpaeS1, stage1Rules),
  dirty,
};
