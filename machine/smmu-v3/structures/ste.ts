/**
 * The stream table entry (STE, 64 bytes), which says what happens to a stream, and the level-1 stream table descriptor.
 * Fields of secure streams are kept as whole blocks. A field is judged only where Config uses it.
 */

import { row, structure } from './field.ts';
import { ADDRESS_SIZES, CACHEABILITY, ENDIANNESS, GRANULES, INCOMING, ON_OFF, SHAREABILITY } from './values.ts';

/** STE.Config. Values 0 to 3 abort without an event. */
export const SteConfig = { abort: 0, bypass: 4, stage1: 5, stage2: 6, nested: 7 } as const;

const address = { kind: 'address' } as const;
const flag = { values: ON_OFF };

export const STE = structure('STE', 'Stream table entry', 8, [
  row('V', 0, '0', 'the entry is valid', { values: { 0: 'invalid', 1: 'valid' }, illegal: '0' }),
  row('Config', 0, '3:1', 'what the stream does', {
    values: {
      0: 'abort',
      1: 'abort',
      2: 'abort',
      3: 'abort',
      4: 'bypass',
      5: 'stage 1',
      6: 'stage 2',
      7: 'stage 1 and stage 2',
    },
    illegal: 'a stage that the SMMU does not have',
  }),
  row('S1Fmt', 0, '5:4', 'shape of the table of CDs; ignored when S1CDMax or SSIDSIZE is 0', {
    values: { 0: 'linear', 1: 'two levels, 4K leaves', 2: 'two levels, 64K leaves', 3: 'linear' },
    illegal: '1 or 2 without two-level CD tables (CD2L = 0)',
  }),
  row('S1ContextPtr', 0, '55:6', 'address of the CD or of the table of CDs; an IPA when nested', {
    ...address,
    illegal: 'a PA of OAS bits or more, an IPA of IAS bits or more',
  }),
  row('S1CDMax', 0, '63:59', 'log2 of the number of CDs', { illegal: 'above SSIDSIZE, when that is not 0' }),
  row('S1DSS', 1, '1:0', 'a transaction without SubstreamID, when S1CDMax is not 0', {
    values: { 0: 'terminate', 1: 'bypass stage 1', 2: 'use CD 0', 3: 'terminate' },
  }),
  row('S1CIR', 1, '3:2', 'inner cacheability of CD fetches', { values: CACHEABILITY }),
  row('S1COR', 1, '5:4', 'outer cacheability of CD fetches', { values: CACHEABILITY }),
  row('S1CSH', 1, '7:6', 'shareability of CD fetches', { values: SHAREABILITY }),
  row('S2HWU', 1, '11:8', 'hardware may use bits 62:59 of stage-2 descriptors'),
  row('DRE', 1, '12', 'destructive reads are allowed', flag),
  row('CONT', 1, '16:13', 'log2 of the number of identical entries around this one'),
  row('DCP', 1, '17', 'directed cache prefetch is allowed', flag),
  row('PPAR', 1, '18', 'page responses carry the PASID', flag),
  row('MEV', 1, '19', 'similar events may be merged', flag),
  row('SW', 1, '23:20', 'for software'),
  row('S1PIE', 1, '24', 'stage-1 permission indirection', flag),
  row('S2FWB', 1, '25', 'stage 2 decides the memory type', flag),
  row('S1MPAM', 1, '26', 'partition numbers come from the CD', flag),
  row('S1STALLD', 1, '27', 'stage 1 does not stall', { ...flag, illegal: '1 when STALL_MODEL is not 0' }),
  row('EATS', 1, '29:28', 'ATS', {
    values: { 0: 'off', 1: 'full', 2: 'split stage', 3: 'checked by the DPT' },
    illegal:
      '2 unless nested, with S2S = 1 or with NS1ATS = 1; 1 with stage 2 and S2S = 1; 3 outside the EL1 world with a DPT',
  }),
  row('STRW', 1, '31:30', 'world of a stage-1 stream', {
    values: { 0: 'EL1', 1: 'reserved', 2: 'EL2', 3: 'reserved' },
    illegal: '1 or 3 without stage 2, where there are EL2 worlds (Hyp = 1)',
  }),
  row('MemAttr', 1, '35:32', 'memory type that replaces the incoming one'),
  row('MTCFG', 1, '36', 'MemAttr is used', flag),
  row('ALLOCCFG', 1, '40:37', 'allocation hints that replace the incoming ones'),
  row('SHCFG', 1, '45:44', 'shareability', { values: { 0: 'none', 1: 'incoming', 2: 'outer', 3: 'inner' } }),
  row('NSCFG', 1, '47:46', 'security attribute'),
  row('PRIVCFG', 1, '49:48', 'privilege', { values: { ...INCOMING, 2: 'unprivileged', 3: 'privileged' } }),
  row('INSTCFG', 1, '51:50', 'kind of access', { values: { ...INCOMING, 2: 'data', 3: 'instruction' } }),
  row('S2VMID', 2, '15:0', 'virtual machine: tags what is cached', { illegal: 'above 8 bits with VMID16 = 0' }),
  row('S2T0SZ', 2, '37:32', 'stage 2 translates 64 - S2T0SZ bits', {
    illegal: 'out of range (16 or 64 - IAS, to 39 or with small tables 48), or not fitting S2SL0 and S2TG',
  }),
  row('S2SL0', 2, '39:38', 'start level, by granule', { illegal: 'not fitting S2T0SZ and S2TG' }),
  row('S2IR0', 2, '41:40', 'inner cacheability of stage-2 walks', { values: CACHEABILITY }),
  row('S2OR0', 2, '43:42', 'outer cacheability of stage-2 walks', { values: CACHEABILITY }),
  row('S2SH0', 2, '45:44', 'shareability of stage-2 walks', { values: SHAREABILITY }),
  row('S2TG', 2, '47:46', 'stage-2 granule', { values: GRANULES, illegal: 'reserved, or a granule that is missing' }),
  row('S2PS', 2, '50:48', 'size of the addresses that stage 2 makes; above OAS it acts as OAS', {
    values: ADDRESS_SIZES,
  }),
  row('S2AA64', 2, '51', 'format of the stage-2 tables', {
    values: { 0: 'AArch32', 1: 'AArch64' },
    illegal: 'a format that is missing (TTF)',
  }),
  row('S2ENDI', 2, '52', 'endianness of the stage-2 tables', { values: ENDIANNESS, illegal: 'one that is missing' }),
  row('S2AFFD', 2, '53', 'stage 2 has no access flag faults', flag),
  row('S2PTW', 2, '54', 'a stage-1 walk that lands on Device memory faults', flag),
  row('S2HD', 2, '55', 'hardware updates the dirty state of stage 2', { ...flag, illegal: '1 with HTTU below 2' }),
  row('S2HA', 2, '56', 'hardware updates the access flag of stage 2', { ...flag, illegal: '1 with HTTU = 0' }),
  row('S2S', 2, '57', 'stage-2 faults stall', { ...flag, illegal: '1 with STALL_MODEL = 1, 0 with STALL_MODEL = 2' }),
  row('S2R', 2, '58', 'stage-2 faults are recorded', flag),
  row('S2HAFT', 2, '59', 'access flag of stage-2 table descriptors', { ...flag, illegal: '1 without S2HA (HTTU = 3)' }),
  row('S2PIE', 2, '60', 'stage-2 permission indirection', flag),
  row('S2POE', 2, '61', 'stage-2 permission overlays', { ...flag, illegal: '1 without S2PIE' }),
  row('DPT_VMATCH', 2, '63:62', 'VMID check of the device permission table'),
  row('S2NSW', 3, '0', 'security of stage-2 walks'),
  row('S2NSA', 3, '1', 'security of what stage 2 makes'),
  row('S2SL0_2', 3, '2', 'third bit of the start level', { illegal: 'not fitting S2T0SZ and S2TG' }),
  row('S2DS', 3, '3', '52-bit addresses with 4K and 16K granules', flag),
  row('S2TTB', 3, '55:4', 'address of the first stage-2 table', {
    ...address,
    illegal: 'above S2PS, or above 48 bits with 4K or 16K granules and S2DS = 0',
  }),
  row('S2SKL', 3, '62:61', 'levels to skip'),
  row('IMPDEF', 4, '15:0', 'implementation defined'),
  row('PARTID', 4, '31:16', 'partition number'),
  row('SecureStage2', 4, '63:32', 'stage-2 fields of a secure stream, placed as in word 2'),
  row('PMG', 5, '7:0', 'performance monitoring group'),
  row('VMSPtr', 5, '55:12', 'address of the virtual machine structure', {
    ...address,
    illegal: 'above OAS when nested with S1MPAM',
  }),
  row('S_S2TTB', 6, '55:4', 'address of the first stage-2 table of a secure stream', address),
  row('S2POI0', 7, '31:0', 'stage-2 permission overlays 0 to 7, 4 bits each', { illegal: 'a reserved overlay' }),
  row('S2POI1', 7, '63:32', 'stage-2 permission overlays 8 to 15, 4 bits each', { illegal: 'a reserved overlay' }),
]);

export const L1STD = structure('L1STD', 'Level-1 stream table descriptor', 1, [
  row('Span', 0, '4:0', 'the level-2 table has 2^(Span - 1) entries', {
    values: { 0: 'no table' },
    illegal: '0, above 11, or above SPLIT + 1',
  }),
  row('L2Ptr', 0, '55:6', 'address of the level-2 table, which hardware aligns to its size', address),
]);
