/** By what a tool knows a scenario before it reads it. */

import { SCENARIO_VERSION } from './types.ts';

/** How the first line of a scenario begins, whatever its version. */
export const SCENARIO_MAGIC = 'postern scenario v';
/** How a share string begins, whatever its version. */
export const SHARE_PREFIX = 'postern:v';
/** How a share string of this version begins. */
export const SHARE_PREFIX_NOW = `${SHARE_PREFIX}${SCENARIO_VERSION}:`;
