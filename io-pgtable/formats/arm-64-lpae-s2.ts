/**
 * Arm LPAE stage 2 (VMSAv8-64): IPA to PA. Descriptor bits: Arm ARM D8.3; concatenation of first-level tables: D8.2.
 * Concatenated only where the architecture leaves no choice, as in Linux 7.2.
 *
 * Left out: memory attributes under FWB (forced write-back).
 */
import { type Format, type PageTableLayout, Prot } from '../types.ts';
import {
  addressHi,
  addressLo,
  granuleField,
  Leaf,
  layoutOf,
  leafType,
  lpae,
  SIZE_4K,
  SIZE_16K,
  type StageRules,
  Walk,
} from './lpae.ts';

const MEMATTR_DEVICE = 1 << 2;
const MEMATTR_NON_CACHEABLE = 5 << 2;
const MEMATTR_WRITE_BACK = 0xf << 2;
const S2AP_READ = 1 << 6;
const S2AP_WRITE = 1 << 7;

const rules: StageRules = {
  concatenates: mustConcatenate,
  registers: (granule, startLevel, ias, size) => ({
    stage: 2,
    ps: size,
    tg: granuleField(granule),
    sh: Walk.SH_INNER,
    orgn: Walk.RGN_WBWA,
    irgn: Walk.RGN_WBWA,
    sl: ~(startLevel + (granule === SIZE_4K ? 1 : 0)) & 3,
    tsz: 64 - ias,
  }),
};

/** The start levels that stage 2 may not have for a size. */
function mustConcatenate(granule: number, startLevel: number, ias: number, oas: number): boolean {
  if (startLevel === 0 && granule === SIZE_4K) return oas === 40 || oas === 42;
  if (startLevel === 0 && granule === SIZE_16K) return oas === 48 || ias === 48;
  return startLevel === 1 && granule === SIZE_16K && oas === 40;
}

function leafLo(_layout: PageTableLayout, pa: number, prot: number, level: number): number {
  let bits = Leaf.AF | leafType(level);
  if ((prot & Prot.READ) !== 0) bits |= S2AP_READ;
  if ((prot & Prot.WRITE) !== 0) bits |= S2AP_WRITE;
  if ((prot & Prot.MMIO) !== 0) bits |= MEMATTR_DEVICE;
  else bits |= (prot & Prot.CACHE) !== 0 ? MEMATTR_WRITE_BACK : MEMATTR_NON_CACHEABLE;
  bits |= (prot & Prot.CACHE) !== 0 ? Leaf.SH_INNER : Leaf.SH_OUTER;
  return addressLo(pa) | bits;
}

function leafHi(_layout: PageTableLayout, pa: number, prot: number): number {
  return addressHi(pa) | ((prot & Prot.NOEXEC) !== 0 ? Leaf.XN_HI : 0);
}

export const arm64LpaeS2: Format = {
  name: 'ARM_64_LPAE_S2',
  ...lpae,
  configure: (config) => layoutOf(config, arm64LpaeS2, rules),
  leafHi,
  leafLo,
};
