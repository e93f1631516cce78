/** The formats by name. */
import type { Format, FormatName } from '../types.ts';
import { arm32LpaeS1, arm32LpaeS2 } from './arm-32-lpae.ts';
import { arm64LpaeS1 } from './arm-64-lpae-s1.ts';
import { arm64LpaeS2 } from './arm-64-lpae-s2.ts';
import { vtdSecondStage } from './vtd-second-stage.ts';

export const formats: Readonly<Record<FormatName, Format>> = {
  ARM_64_LPAE_S1: arm64LpaeS1,
  ARM_64_LPAE_S2: arm64LpaeS2,
  ARM_32_LPAE_S1: arm32LpaeS1,
  ARM_32_LPAE_S2: arm32LpaeS2,
  VTD_SECOND_STAGE: vtdSecondStage,
};
