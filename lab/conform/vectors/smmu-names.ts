/** Names that the `smmuv3-*` files use, in this project's terms. */
import type { smmuV3 } from '#host';
import { structures } from '#machine';
import { oneOf } from './shape.ts';

const features: Readonly<Record<string, keyof smmuV3.SmmuFeatures>> = {
  STALLS: 'stalls',
  STALL_FORCE: 'stallForce',
  ATTR_TYPES_OVR: 'attributeTypesOverride',
  E2H: 'e2h',
  RANGE_INV: 'rangeInvalidation',
  HA: 'accessFlag',
  HD: 'dirtyState',
  HAFT: 'tableAccessFlag',
};

/** Shape of the name of a feature. */
export const FEATURE = oneOf(...Object.keys(features));

export function featuresOf(names: readonly string[]): smmuV3.SmmuFeatures {
  return Object.fromEntries(names.map((name) => [features[name]!, true]));
}

/** The driver's names of commands, where they are not the architecture's. */
const aliases: Readonly<Record<string, structures.CommandName>> = {
  CFGI_ALL: 'CFGI_STE_RANGE',
  CMD_SYNC: 'SYNC',
  PREFETCH_CFG: 'PREFETCH_CONFIG',
};

/** Shape of the name of a command. */
export const COMMAND = oneOf(...Object.keys(structures.COMMAND_STRUCTURES), ...Object.keys(aliases));

export function opcodeOf(name: string): number {
  return structures.COMMAND_STRUCTURES[aliases[name] ?? (name as structures.CommandName)].opcode;
}
