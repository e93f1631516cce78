/**
 * Arm LPAE stage 2 (VMSAv8-64): IPA to PA. Descriptor bits: Arm ARM D8.3; concatenation of first-level tables: D8.2.
 */
import { type Format, Prot, Quirk } from '../types.ts';
import {
  granuleField,
  Leaf,
  layoutOf,
  lpae,
  MAX_CONCATENATED_BITS,
  type Shape,
  SIZE_4K,
  SIZE_16K,
  type StageRules,
  walkAttributes,
} from './lpae.ts';

const MEMATTR_DEVICE = 1 << 2;
const MEMATTR_NON_CACHEABLE = 5 << 2;
/** Write-back under forced write-back, and without. */
const MEMATTR_FORCED = 6 << 2;
const MEMATTR_WRITE_BACK = 0xf << 2;
const S2AP_READ = 1 << 6;
const S2AP_WRITE = 1 << 7;

export const stage2Rules: StageRules = {
  quirks: (_config, profile) => (profile === 'linux-7.2' ? Quirk.ARM_S2FWB | Quirk.NO_WARN : 0),
  concatenates: (shape) => (shape.profile === 'linux-7.2' ? mustConcatenate(shape) : canConcatenate(shape)),
  registers: (config, { granule, startLevel, ias }, size) => ({
    stage: 2,
    ps: size,
    tg: granuleField(granule),
    ...walkAttributes(config),
    sl: ~(startLevel + (granule === SIZE_4K ? 1 : 0)) & 3,
    tsz: 64 - ias,
  }),
  attributesLo,
  attributesHi: (prot) => ((prot & Prot.NOEXEC) !== 0 ? Leaf.XN_HI : 0),
};

/** The start levels that stage 2 may not have for a size. */
function mustConcatenate({ granule, startLevel, ias, oas }: Shape): boolean {
  if (startLevel === 0 && granule === SIZE_4K) return oas === 40 || oas === 42;
  if (startLevel === 0 && granule === SIZE_16K) return oas === 48 || ias === 48;
  return startLevel === 1 && granule === SIZE_16K && oas === 40;
}

/** Linux 6.12 saves level 0 whenever it can. */
function canConcatenate({ startLevel, pgdBits }: Shape): boolean {
  return startLevel === 0 && pgdBits <= MAX_CONCATENATED_BITS;
}

function attributesLo(prot: number, quirks: number): number {
  const writeBack = (quirks & Quirk.ARM_S2FWB) !== 0 ? MEMATTR_FORCED : MEMATTR_WRITE_BACK;
  let bits: number = Leaf.AF;
  if ((prot & Prot.READ) !== 0) bits |= S2AP_READ;
  if ((prot & Prot.WRITE) !== 0) bits |= S2AP_WRITE;
  if ((prot & Prot.MMIO) !== 0) bits |= MEMATTR_DEVICE;
  else bits |= (prot & Prot.CACHE) !== 0 ? writeBack : MEMATTR_NON_CACHEABLE;
  return bits | ((prot & Prot.CACHE) !== 0 ? Leaf.SH_INNER : Leaf.SH_OUTER);
}

export const arm64LpaeS2: Format = {
  ...lpae,
  name: 'ARM_64_LPAE_S2',
  configure: (config) => layoutOf(config, arm64LpaeS2, stage2Rules),
};
