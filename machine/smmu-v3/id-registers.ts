/** The ID registers: what they say for a described SMMU, and which SMMU they describe. */

import { type AddressWidth, featuresOf, type SmmuFeatures } from '../description.ts';
import { ADDRESS_WIDTHS } from '../stage2-walk.ts';
import { HTTU, ID_FIELDS, ID_REGISTER_NAMES, type IdField, STALL_MODELS } from './id-fields.ts';

/** Value of a field in the registers, by {@link ID_REGISTER_NAMES}. */
export function idField(field: IdField, ids: ArrayLike<number>): number {
  const width = field.high - field.low + 1;
  return (ids[field.register]! >>> field.low) & (2 ** width - 1);
}

/** IDR0 to IDR5, IIDR, AIDR of an SMMU. */
export function idRegisters(smmu: SmmuFeatures): Int32Array {
  const ids = new Int32Array(ID_REGISTER_NAMES.length);
  for (const field of ID_FIELDS) ids[field.register]! |= field.value(smmu) << field.low;
  return ids;
}

/** What ID registers say. */
export interface IdentifiedSmmu {
  /** The features, as a description has them. */
  readonly features: Omit<SmmuFeatures, 'name' | 'base'>;
  /** Fields that the model cannot report like this, such as `IDR0.Hyp`: what they announce is not modelled. */
  readonly notModelled: readonly string[];
}

/** Reads the ID registers, given by {@link ID_REGISTER_NAMES}, of an SMMU that may have what is not modelled. */
export function identify(ids: ArrayLike<number>): IdentifiedSmmu {
  const fields = new Map(ID_FIELDS.map((field) => [field.name, idField(field, ids)]));
  const value = (name: string): number => fields.get(name)!;
  const on = (name: string): boolean => value(name) !== 0;
  const smmu: SmmuFeatures = featuresOf({
    name: '',
    base: 0,
    sidBits: value('SIDSIZE'),
    oas: (ADDRESS_WIDTHS[value('OAS')] ?? 52) as AddressWidth,
    stage1: on('S1P'),
    stage2: on('S2P'),
    granules: [...(on('GRAN4K') ? [12] : []), ...(on('GRAN16K') ? [14] : []), ...(on('GRAN64K') ? [16] : [])],
    asid16: on('ASID16'),
    vmid16: on('VMID16'),
    coherent: on('COHACC'),
    rangeInvalidation: on('RIL'),
    twoLevelStreamTable: value('ST_LEVEL') === 1,
    ssidBits: value('SSIDSIZE'),
    cmdqLog2: value('CMDQS'),
    evtqLog2: value('EVENTQS'),
    sev: on('SEV'),
    twoLevelCdTable: on('CD2L'),
    smallTables: on('STT'),
    vaBits: on('VAX') ? 52 : 48,
    hardwareUpdate: HTTU[value('HTTU')] ?? 'dirty',
    stallModel: STALL_MODELS[value('STALL_MODEL')] ?? 'both',
    termModel: on('TERM_MODEL') ? 'abort' : 'both',
    ats: on('ATS'),
    splitStageAts: !on('NS1ATS'),
    pri: on('PRI'),
    priqLog2: value('PRIQS'),
    msi: on('MSI'),
  });
  const { name: _name, base: _base, ...features } = smmu;
  const own = idRegisters(smmu);
  const notModelled = ID_FIELDS.filter((field) => idField(field, own) !== idField(field, ids)).map(
    ({ register, name }) => `${ID_REGISTER_NAMES[register]}.${name}`,
  );
  return { features, notModelled };
}
