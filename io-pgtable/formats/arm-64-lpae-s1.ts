/**
 * Arm LPAE stage 1 (VMSAv8-64, TTBR0): IOVA to PA, or to IPA below a stage 2. Descriptor bits: Arm ARM D8.3.
 *
 * Left out: TTBR1, the non-secure bits, hardware update of the dirty state.
 */
import { type Format, type PageTableLayout, Prot } from '../types.ts';
import { addressHi, addressLo, granuleField, Leaf, layoutOf, leafType, lpae, type StageRules, Walk } from './lpae.ts';

/** Index into MAIR. */
const ATTR_CACHE = 1 << 2;
const ATTR_DEVICE = 2 << 2;
const AP_UNPRIVILEGED = 1 << 6;
const AP_READ_ONLY = 1 << 7;
const NOT_GLOBAL = 1 << 11;

/**
 * MAIR: 0 normal non-cacheable, 1 normal write-back, 2 device, 3 normal inner non-cacheable outer write-back. The high
 * word is the sign extension of the fourth attribute, as Linux computes it; attributes 4 to 7 are not used.
 */
const MAIR_LO = 0xf404ff44 | 0;
const MAIR_HI = -1;

const rules: StageRules = {
  concatenates: () => false,
  registers: (granule, _startLevel, ias, size) => ({
    stage: 1,
    ips: size,
    tg: granuleField(granule),
    sh: Walk.SH_INNER,
    orgn: Walk.RGN_WBWA,
    irgn: Walk.RGN_WBWA,
    tsz: 64 - ias,
    mairHi: MAIR_HI,
    mairLo: MAIR_LO,
  }),
};

function leafLo(_layout: PageTableLayout, pa: number, prot: number, level: number): number {
  let bits = NOT_GLOBAL | Leaf.AF | leafType(level);
  // There is no write-only: WRITE without READ is readable too.
  if ((prot & (Prot.READ | Prot.WRITE)) === Prot.READ) bits |= AP_READ_ONLY;
  if ((prot & Prot.PRIV) === 0) bits |= AP_UNPRIVILEGED;
  if ((prot & Prot.MMIO) !== 0) bits |= ATTR_DEVICE;
  else if ((prot & Prot.CACHE) !== 0) bits |= ATTR_CACHE;
  bits |= (prot & Prot.CACHE) !== 0 ? Leaf.SH_INNER : Leaf.SH_OUTER;
  return addressLo(pa) | bits;
}

function leafHi(_layout: PageTableLayout, pa: number, prot: number): number {
  return addressHi(pa) | ((prot & Prot.NOEXEC) !== 0 ? Leaf.XN_HI : 0);
}

export const arm64LpaeS1: Format = {
  name: 'ARM_64_LPAE_S1',
  ...lpae,
  configure: (config) => layoutOf(config, arm64LpaeS1, rules),
  leafHi,
  leafLo,
};
