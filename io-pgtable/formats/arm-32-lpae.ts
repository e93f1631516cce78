/**
 * The Arm LPAE formats of 32-bit CPUs (VMSAv8-32 long descriptors): those of 64 bits with a 4K granule, input addresses
 * of at most 32 bits at stage 1 and 40 at stage 2, output addresses of at most 40. Hardware keeps no dirty state.
 */
import { Errno } from '../errno.ts';
import type { Format, PageTableConfig, PageTableLayout } from '../types.ts';
import { stage1Rules } from './arm-64-lpae-s1.ts';
import { stage2Rules } from './arm-64-lpae-s2.ts';
import { layoutOf, lpae, type StageRules } from './lpae.ts';

const MAX_IAS_STAGE_1 = 32;
const MAX_IAS_STAGE_2 = 40;
const MAX_OAS = 40;
/** 4K, 2M, 1G. */
const SIZES = 0x40201000;

function configure(
  config: PageTableConfig,
  format: Format,
  rules: StageRules,
  maxIas: number,
): PageTableLayout | number {
  if (config.ias > maxIas || config.oas > MAX_OAS) return Errno.EINVAL;
  // `&` takes the low 32 bits: all sizes are among them.
  return layoutOf({ ...config, pgsizeBitmap: config.pgsizeBitmap & SIZES }, format, rules);
}

export const arm32LpaeS1: Format = {
  ...lpae,
  name: 'ARM_32_LPAE_S1',
  configure: (config) => configure(config, arm32LpaeS1, stage1Rules, MAX_IAS_STAGE_1),
};

export const arm32LpaeS2: Format = {
  ...lpae,
  name: 'ARM_32_LPAE_S2',
  configure: (config) => configure(config, arm32LpaeS2, stage2Rules, MAX_IAS_STAGE_2),
};
