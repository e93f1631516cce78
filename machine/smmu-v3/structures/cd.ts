/**
 * The context descriptor (CD, 64 bytes), which says how stage 1 translates, and the level-1 context descriptor. Fields
 * of a half of the address space are judged only while its EPD is 0.
 */

import { row, structure } from './field.ts';
import { ADDRESS_SIZES, CACHEABILITY, ENDIANNESS, GRANULES, ON_OFF, SHAREABILITY } from './values.ts';

const address = { kind: 'address' } as const;
const flag = { values: ON_OFF };

const sizeIllegal = 'out of range (16, or 12 for 52-bit addresses, to 39, or with small tables 48)';
const granuleIllegal = 'reserved, or a granule that is missing';
const tableIllegal = 'above IPS, or above 48 bits with 4K or 16K granules and DS = 0';

export const CD = structure('CD', 'Context descriptor', 8, [
  row('T0SZ', 0, '5:0', 'TTB0 translates 64 - T0SZ bits', { illegal: sizeIllegal }),
  row('TG0', 0, '7:6', 'granule of TTB0', { values: GRANULES, illegal: granuleIllegal }),
  row('IR0', 0, '9:8', 'inner cacheability of TTB0 walks', { values: CACHEABILITY }),
  row('OR0', 0, '11:10', 'outer cacheability of TTB0 walks', { values: CACHEABILITY }),
  row('SH0', 0, '13:12', 'shareability of TTB0 walks', { values: SHAREABILITY }),
  row('EPD0', 0, '14', 'the TTB0 half is not walked', flag),
  row('ENDI', 0, '15', 'endianness of the tables', {
    values: ENDIANNESS,
    illegal: 'one that is missing, unless both halves are off',
  }),
  row('T1SZ', 0, '21:16', 'TTB1 translates 64 - T1SZ bits', { illegal: sizeIllegal }),
  row('TG1', 0, '23:22', 'granule of TTB1', {
    values: { 0: 'reserved', 1: '16K', 2: '4K', 3: '64K' },
    illegal: granuleIllegal,
  }),
  row('IR1', 0, '25:24', 'inner cacheability of TTB1 walks', { values: CACHEABILITY }),
  row('OR1', 0, '27:26', 'outer cacheability of TTB1 walks', { values: CACHEABILITY }),
  row('SH1', 0, '29:28', 'shareability of TTB1 walks', { values: SHAREABILITY }),
  row('EPD1', 0, '30', 'the TTB1 half is not walked', flag),
  row('V', 0, '31', 'the descriptor is valid', { values: { 0: 'invalid', 1: 'valid' }, illegal: '0' }),
  row('IPS', 0, '34:32', 'size of the addresses that stage 1 makes; above OAS it acts as OAS', {
    values: ADDRESS_SIZES,
  }),
  row('AFFD', 0, '35', 'no access flag faults', flag),
  row('WXN', 0, '36', 'what is writable is not executable', flag),
  row('UWXN', 0, '37', 'what is writable without privilege is not executable with it', flag),
  row('TBI0', 0, '38', 'the top byte is ignored in the TTB0 half', flag),
  row('TBI1', 0, '39', 'the top byte is ignored in the TTB1 half', flag),
  row('PAN', 0, '40', 'privileged accesses do not reach what is unprivileged', flag),
  row('AA64', 0, '41', 'format of the tables', {
    values: { 0: 'AArch32', 1: 'AArch64' },
    illegal: 'a format that is missing (TTF), or AArch64 over an AArch32 stage 2',
  }),
  row('HD', 0, '42', 'hardware updates the dirty state', { ...flag, illegal: '1 with HTTU below 2' }),
  row('HA', 0, '43', 'hardware updates the access flag', { ...flag, illegal: '1 with HTTU = 0' }),
  row('S', 0, '44', 'faults stall', {
    ...flag,
    illegal: '1 with STE.S1STALLD or STALL_MODEL = 1, 0 with STALL_MODEL = 2',
  }),
  row('R', 0, '45', 'faults are recorded; ignored when S = 1', flag),
  row('A', 0, '46', 'a terminated access aborts', {
    values: { 0: 'reads 0, ignores writes', 1: 'aborts' },
    illegal: '0 with TERM_MODEL = 1',
  }),
  row('ASET', 0, '47', 'the ASID is the device’s own', { values: { 0: 'shared with CPUs', 1: 'own' } }),
  row('ASID', 0, '63:48', 'address space: tags what is cached', { illegal: 'above 8 bits with ASID16 = 0' }),
  row('NSCFG0', 1, '0', 'security of TTB0 walks'),
  row('HAD0', 1, '1', 'tables do not restrict permissions in the TTB0 half', flag),
  row('E0PD0', 1, '2', 'unprivileged accesses fault in the TTB0 half', flag),
  row('HAFT', 1, '3', 'access flag of table descriptors', { ...flag, illegal: '1 without HA (HTTU = 3)' }),
  row('TTB0', 1, '55:4', 'address of the first TTB0 table', { ...address, illegal: tableIllegal }),
  row('PnCH', 1, '58', 'the protected attribute is in descriptors', flag),
  row('EPAN', 1, '59', 'PAN covers executable memory too', flag),
  row('HWU0', 1, '63:60', 'hardware may use bits 62:59 of TTB0 descriptors'),
  row('NSCFG1', 2, '0', 'security of TTB1 walks'),
  row('HAD1', 2, '1', 'tables do not restrict permissions in the TTB1 half', flag),
  row('E0PD1', 2, '2', 'unprivileged accesses fault in the TTB1 half', flag),
  row('AIE', 2, '3', 'memory attribute indirection', flag),
  row('TTB1', 2, '55:4', 'address of the first TTB1 table', { ...address, illegal: tableIllegal }),
  row('DS', 2, '58', '52-bit addresses with 4K and 16K granules', flag),
  row('PIE', 2, '59', 'permission indirection', flag),
  row('HWU1', 2, '63:60', 'hardware may use bits 62:59 of TTB1 descriptors'),
  row('MAIR0', 3, '31:0', 'memory attributes 0 to 3, 8 bits each'),
  row('MAIR1', 3, '63:32', 'memory attributes 4 to 7, 8 bits each'),
  row('AMAIR0', 4, '31:0', 'auxiliary memory attributes 0 to 3'),
  row('AMAIR1', 4, '63:32', 'auxiliary memory attributes 4 to 7'),
  row('IMPDEF', 5, '31:0', 'implementation defined'),
  row('PARTID', 5, '47:32', 'partition number'),
  row('PMG', 5, '55:48', 'performance monitoring group'),
  row('PIIU', 6, '47:0', 'unprivileged permissions by index, 3 bits each'),
  row('PIIP', 7, '47:0', 'privileged permissions by index, 3 bits each'),
]);

export const L1CD = structure('L1CD', 'Level-1 context descriptor', 1, [
  row('V', 0, '0', 'the descriptor is valid', { values: { 0: 'invalid', 1: 'valid' }, illegal: '0' }),
  row('L2Ptr', 0, '55:12', 'address of the level-2 table', { ...address, illegal: 'out of range' }),
]);
