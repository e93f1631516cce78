/**
 * The fields of the ID registers, and what the model reports in each. Every field of the architecture is here, so that
 * what is not modelled has a name and is refused instead of ignored.
 */

import type { SmmuDescription, SmmuFeatures } from '../description.ts';
import { ADDRESS_WIDTHS } from '../stage2-walk.ts';
import { STALL_MAX } from './stalls.ts';

/** IDR0, IDR1, IDR2, IDR3, IDR4, IDR5, IIDR and AIDR in the order of their offsets. */
const IDR0 = 0;
const IDR1 = 1;
const IDR2 = 2;
const IDR3 = 3;
const IDR5 = 5;
const AIDR = 7;
export const ID_REGISTER_NAMES: readonly string[] = ['IDR0', 'IDR1', 'IDR2', 'IDR3', 'IDR4', 'IDR5', 'IIDR', 'AIDR'];

/** One field of the ID registers. */
export interface IdField {
  readonly name: string;
  /** Which register: index into {@link ID_REGISTER_NAMES}. */
  readonly register: number;
  readonly high: number;
  readonly low: number;
  readonly meaning: string;
  /** What the model reports. */
  readonly value: (smmu: SmmuFeatures) => number;
  /** Fields of {@link SmmuDescription} that decide it; none when it is the same for every SMMU. */
  readonly from: readonly (keyof SmmuDescription)[];
  /** Name under which a description is refused that asks for it; empty when it is modelled or always as reported. */
  readonly refused: string;
}

const bit = (value: boolean): number => (value ? 1 : 0);
/** What HTTU encodes. */
export const HTTU: readonly SmmuFeatures['hardwareUpdate'][] = ['none', 'access', 'dirty'];
/** What STALL_MODEL encodes. */
export const STALL_MODELS: readonly SmmuFeatures['stallModel'][] = ['both', 'terminate', 'stall'];

type From = keyof SmmuDescription | readonly (keyof SmmuDescription)[];

/** A field that the description decides; without a value, the flag of that name. */
function set(
  register: number,
  name: string,
  bits: string,
  meaning: string,
  from: From,
  value?: IdField['value'],
): IdField {
  const names = typeof from === 'string' ? [from] : from;
  const flag = (smmu: SmmuFeatures): number => bit(smmu[names[0]!] === true);
  return { ...at(register, name, bits, meaning), value: value ?? flag, from: names, refused: '' };
}

/** A field that is the same for every SMMU. */
function fixed(register: number, name: string, bits: string, meaning: string, value: number): IdField {
  return { ...at(register, name, bits, meaning), value: () => value, from: [], refused: '' };
}

/** A feature that is not modelled: 0. */
function absent(register: number, name: string, bits: string, meaning: string, refused: string): IdField {
  return { ...at(register, name, bits, meaning), value: () => 0, from: [], refused };
}

function at(register: number, name: string, bits: string, meaning: string) {
  const [high = 0, low = high] = bits.split(':').map(Number);
  return { register, name, high, low, meaning };
}

/** Every field of the ID registers, in the order of their places. */
export const ID_FIELDS: readonly IdField[] = [
  set(IDR0, 'S2P', '0', 'stage 2', 'stage2'),
  set(IDR0, 'S1P', '1', 'stage 1', 'stage1'),
  fixed(IDR0, 'TTF', '3:2', 'table formats: 2 is AArch64 alone', 2),
  set(IDR0, 'COHACC', '4', 'coherent with the CPUs', 'coherent'),
  absent(IDR0, 'BTM', '5', 'TLB invalidations broadcast by CPUs', 'btm'),
  set(
    IDR0,
    'HTTU',
    '7:6',
    'updates of descriptors: none, access flag, dirty state too (3, tables too, is not modelled)',
    'hardwareUpdate',
    (smmu) => HTTU.indexOf(smmu.hardwareUpdate),
  ),
  absent(IDR0, 'DORMHINT', '8', 'dormancy hint', 'dormancyHint'),
  absent(IDR0, 'Hyp', '9', 'the EL2 and EL2-E2H worlds', 'hyp'),
  set(IDR0, 'ATS', '10', 'ATS', 'ats'),
  set(IDR0, 'NS1ATS', '11', 'no split-stage ATS; 0 without ATS or nesting', 'splitStageAts', (smmu) =>
    bit(smmu.ats && smmu.stage1 && smmu.stage2 && !smmu.splitStageAts),
  ),
  set(IDR0, 'ASID16', '12', '16-bit ASIDs', 'asid16'),
  set(IDR0, 'MSI', '13', 'message-signalled interrupts', 'msi'),
  set(IDR0, 'SEV', '14', 'completion by an event to the CPUs', 'sev'),
  absent(IDR0, 'ATOS', '15', 'address translation operations', 'atos'),
  set(IDR0, 'PRI', '16', 'page requests', 'pri'),
  absent(IDR0, 'VMW', '17', 'VMID wildcards', 'vmidWildcards'),
  set(IDR0, 'VMID16', '18', '16-bit VMIDs', 'vmid16'),
  set(IDR0, 'CD2L', '19', 'two-level tables of CDs', 'twoLevelCdTable'),
  absent(IDR0, 'VATOS', '20', 'virtual address translation operations', 'vatos'),
  fixed(IDR0, 'TTENDIAN', '22:21', 'endianness of tables: 2 is little alone', 2),
  set(IDR0, 'ATSRECERR', '23', 'configuration errors of ATS can be recorded', 'ats'),
  set(IDR0, 'STALL_MODEL', '25:24', 'faults stall or terminate, terminate, stall', 'stallModel', (smmu) =>
    STALL_MODELS.indexOf(smmu.stallModel),
  ),
  set(IDR0, 'TERM_MODEL', '26', 'what terminates always aborts', 'termModel', (smmu) =>
    bit(smmu.termModel === 'abort'),
  ),
  set(IDR0, 'ST_LEVEL', '28:27', 'two-level stream tables', 'twoLevelStreamTable'),
  absent(IDR0, 'RME_IMPL', '30', 'realms', 'realms'),
  set(IDR1, 'SIDSIZE', '5:0', 'bits of a StreamID', 'sidBits', (smmu) => smmu.sidBits),
  set(IDR1, 'SSIDSIZE', '10:6', 'bits of a SubstreamID', 'ssidBits', (smmu) => smmu.ssidBits),
  set(IDR1, 'PRIQS', '15:11', 'log2 of the largest PRI queue; 0 without PRI', ['priqLog2', 'pri'], (smmu) =>
    smmu.pri ? smmu.priqLog2 : 0,
  ),
  set(IDR1, 'EVENTQS', '20:16', 'log2 of the largest event queue', 'evtqLog2', (smmu) => smmu.evtqLog2),
  set(IDR1, 'CMDQS', '25:21', 'log2 of the largest command queue', 'cmdqLog2', (smmu) => smmu.cmdqLog2),
  absent(IDR1, 'ATTR_PERMS_OVR', '26', 'permission attributes can be overridden', 'permissionOverride'),
  absent(IDR1, 'ATTR_TYPES_OVR', '27', 'memory attributes can be overridden', 'typeOverride'),
  absent(IDR1, 'REL', '28', 'fixed base addresses are relative', 'relativeBases'),
  absent(IDR1, 'QUEUES_PRESET', '29', 'fixed queues', 'fixedQueues'),
  absent(IDR1, 'TABLES_PRESET', '30', 'a fixed stream table', 'fixedTables'),
  absent(IDR1, 'ECMDQ', '31', 'enhanced command queues', 'ecmdq'),
  absent(IDR2, 'BA_VATOS', '9:0', 'place of the VATOS registers', 'vatosPage'),
  fixed(IDR3, 'HAD', '2', 'hierarchical permissions can be off', 1),
  absent(IDR3, 'PBHA', '3', 'attributes in bits 62:59 of descriptors', 'pbha'),
  set(IDR3, 'XNX', '4', 'execute permissions by privilege at stage 2', 'stage2'),
  absent(IDR3, 'PPS', '5', 'automatic page responses always carry the PASID', 'pps'),
  absent(IDR3, 'MPAM', '7', 'memory partitioning', 'mpam'),
  absent(IDR3, 'FWB', '8', 'stage 2 decides the memory type', 'fwb'),
  set(IDR3, 'STT', '9', 'small tables', 'smallTables'),
  set(IDR3, 'RIL', '10', 'invalidation by range and level', 'rangeInvalidation'),
  fixed(IDR3, 'BBML', '12:11', 'break-before-make: 2 never conflicts', 2),
  absent(IDR3, 'E0PD', '13', 'unprivileged accesses can be kept out of a half', 'e0pd'),
  absent(IDR3, 'PTWNNC', '14', 'table walks to Device memory are Non-cacheable', 'ptwnnc'),
  absent(IDR3, 'DPT', '15', 'device permission tables', 'dpt'),
  absent(IDR3, 'PASIDTT', '16', 'translated transactions carry a PASID', 'pasidTranslated'),
  absent(IDR3, 'EPAN', '17', 'enhanced privileged access never', 'epan'),
  absent(IDR3, 'S1PI', '18', 'stage-1 permission indirection', 's1pi'),
  absent(IDR3, 'S2PI', '19', 'stage-2 permission indirection', 's2pi'),
  absent(IDR3, 'S2PO', '20', 'stage-2 permission overlays', 's2po'),
  absent(IDR3, 'THE', '21', 'translation hardening', 'hardening'),
  absent(IDR3, 'MTEPERM', '22', 'memory tagging permissions', 'mtePermissions'),
  absent(IDR3, 'AIE', '23', 'memory attribute indirection', 'aie'),
  set(IDR5, 'OAS', '2:0', 'bits of an output address (56 is not modelled)', 'oas', (smmu) =>
    ADDRESS_WIDTHS.indexOf(smmu.oas),
  ),
  set(IDR5, 'GRAN4K', '4', '4K granule', 'granules', (smmu) => bit(smmu.granules.includes(12))),
  set(IDR5, 'GRAN16K', '5', '16K granule', 'granules', (smmu) => bit(smmu.granules.includes(14))),
  set(IDR5, 'GRAN64K', '6', '64K granule', 'granules', (smmu) => bit(smmu.granules.includes(16))),
  absent(IDR5, 'DS', '7', '52-bit addresses with 4K and 16K granules (LPA2)', 'lpa2'),
  absent(IDR5, 'D128', '8', '128-bit descriptors', 'd128'),
  set(IDR5, 'VAX', '11:10', '52-bit virtual addresses (2, 56 bits, is not modelled)', 'vaBits', (smmu) =>
    bit(smmu.vaBits === 52),
  ),
  set(IDR5, 'STALL_MAX', '31:16', 'most stalled transactions; 0 where nothing stalls', 'stallModel', (smmu) =>
    smmu.stallModel === 'terminate' ? 0 : STALL_MAX,
  ),
  fixed(AIDR, 'ArchMinorRev', '3:0', 'version 3.1', 1),
  fixed(AIDR, 'ArchMajorRev', '7:4', 'version 3.1', 0),
];

/** The fields that a description may only deny, by the name that it has for them. */
export const NOT_MODELLED: ReadonlyMap<string, IdField> = new Map(
  ID_FIELDS.filter(({ refused }) => refused !== '').map((field) => [field.refused, field]),
);
