/**
 * Where QEMU's SMMUv3 is known to differ from the architecture, per version. Each is a switch of the predictor
 * (`predict.ts`), which says what QEMU does with an access, success included; none of them excuses anything else.
 */

import type { StageName } from './types.ts';

/** QEMU's version as numbers. */
export type Version = readonly [number, number, number];

interface DeviationRow {
  readonly text: string;
  /** First version known to differ, and the first that no longer does. */
  readonly from?: Version;
  readonly until?: Version;
  /** Programs that can meet it; any when left out. */
  readonly stages?: readonly StageName[];
}

const ONE: readonly StageName[] = [1, 'nested'];
const TWO: readonly StageName[] = [2, 'nested'];
const BOTH: readonly StageName[] = ['nested'];

const rows = {
  'unprivileged-ignored': {
    text: 'AP[1] and APTable[0] are ignored: every access counts as privileged',
    stages: ONE,
  },
  'block-at-any-level': {
    text: 'a block descriptor is taken at levels that have no blocks; it should be F_TRANSLATION',
  },
  'access-flag-ignored': {
    text: 'a leaf with AF 0 translates; it should be F_ACCESS',
    until: [9, 1, 0],
  },
  'output-size-ignored': {
    text: 'an output address beyond IPS or OAS passes; it should be F_ADDR_SIZE',
    until: [9, 1, 0],
  },
  'output-size-late': {
    text: 'the output address size is judged after access flag and permission',
    from: [9, 1, 0],
  },
  'bypass-size-ignored': {
    text: 'an address beyond OAS passes a bypassing stream; it should be F_ADDR_SIZE',
  },
  'table-size-ignored': {
    text: 'a next-level table beyond IPS or OAS is fetched; it should be F_ADDR_SIZE',
  },
  'aptable-early': {
    text: 'APTable write protection is judged on the way down: F_PERMISSION comes before faults of deeper levels',
    stages: ONE,
  },
  'aptable-not-cached': {
    text: 'a cached translation forgets APTable: a write passes after a read has filled the TLB',
    stages: ONE,
  },
  'upper-for-lower': {
    text: 'an address that the lower half does not cover is looked up in the upper half; it should be F_TRANSLATION',
    until: [8, 0, 0],
    stages: ONE,
  },
  'global-tagged': {
    text: 'a global leaf is cached for one ASID: TLBI_NH_VA for another ASID leaves it in place',
    stages: ONE,
  },
  's2-input-size': {
    text: 'an address beyond IAS ends without an event; it should be F_ADDR_SIZE',
    stages: TWO,
  },
  'concatenation-lost': {
    text: 'of stage-2 start tables side by side only the first is read, whatever the address',
    stages: TWO,
  },
  's2-range-late': {
    text: 'an address beyond S2T0SZ passes where another stream of the VMID has it cached; it should be F_TRANSLATION',
    stages: TWO,
  },
  's2-cached-silent': {
    text: 'what a cached stage-2 leaf forbids ends without an event; it should be F_PERMISSION',
    stages: TWO,
  },
  's2-updates-accepted': {
    text: 'S2HA and S2HD are not C_BAD_STE, although there is no hardware update',
    stages: TWO,
  },
  's2-start-early': {
    text: 'a start level above the one that S2T0SZ needs is accepted; it should be C_BAD_STE',
    stages: TWO,
  },
  's2ps-limits-input': {
    text: 'S2PS below the input size is C_BAD_STE, although it only limits the output',
    stages: TWO,
  },
  's1cdmax-rejected': {
    text: 'S1CDMax other than 0 is C_BAD_STE, although without substreams the field does not exist',
    stages: ONE,
  },
  's1-fields-judged': {
    text: 'S1CDMax and S1STALLD are C_BAD_STE also where stage 1 is off',
    stages: TWO,
  },
  'ste-checks-missing': {
    text: 'a context pointer beyond OAS is not C_BAD_STE',
    stages: ONE,
  },
  'level2-too-long': {
    text: 'a level-2 stream table has 2^Span entries; it should be 2^(Span-1), and C_BAD_STREAMID beyond',
  },
  'bad-streamid-always': {
    text: 'C_BAD_STREAMID is recorded although CR2.RECINVSID is 0',
  },
  'class-zero': {
    text: 'CLASS of F_TRANSLATION, F_ADDR_SIZE, F_ACCESS and F_PERMISSION is 0; it should say what was being done',
    until: [9, 1, 0],
  },
  'cd-fetch-address': {
    text: 'F_CD_FETCH has its address in word 2; it should be in word 3',
    stages: ONE,
  },
  'ipa-offset': {
    text: 'word 3 of a stage-2 event keeps the offset inside the page, below the IPA field',
    stages: TWO,
  },
  'eabt-class-in': {
    text: 'F_WALK_EABT of stage 2 says that the access itself failed; CLASS should say a table walk',
    stages: TWO,
  },
  'ttb-early': {
    text: 'stage 2 is asked for the tables of both halves with the CD: its fault comes before the range check and C_BAD_CD',
    stages: BOTH,
  },
  'decode-reads': {
    text: 'a stage-2 fault of the CD or of a TTB says RnW read, whatever the access was',
    stages: BOTH,
  },
  'root-kept': {
    text: 'the physical address of the stage-1 table is kept with the CD: TLBI_S2_IPA and TLBI_S12_VMALL leave it',
    stages: BOTH,
  },
  'root-cut': {
    text: 'the physical address of the stage-1 table loses the bits above IPS, which only limits IPAs',
    stages: BOTH,
  },
  'table-base': {
    text: 'stage 2 is asked for the start of a stage-1 table only: what follows is read behind it, mapped so or not',
    stages: BOTH,
  },
  'table-fault-stage1': {
    text: 'a stage-2 fault of a stage-1 table below the root says S2 0, and CD.R decides about its record',
    stages: BOTH,
  },
  's2ptw-ignored': {
    text: 'S2PTW is ignored: CD and stage-1 tables are read from Device memory; it should be F_PERMISSION',
    stages: BOTH,
  },
  'ttrnw-missing': {
    text: 'TTRnW is 0 where stage 2 forbids to read a stage-1 descriptor',
    stages: BOTH,
  },
  'cached-read': {
    text: 'a read passes a cached leaf of stage 2 that only lets writes through, below stage 1 and for its structures',
    stages: BOTH,
  },
  'cached-fault-no-ipa': {
    text: 'F_PERMISSION of stage 2 by a cached translation of both stages has IPA 0',
    stages: BOTH,
  },
} as const satisfies Record<string, DeviationRow>;

export type DeviationId = keyof typeof rows;

/** A known deviation. */
export interface Deviation {
  readonly id: DeviationId;
  readonly text: string;
}

/** Every deviation, whatever the version. */
export const DEVIATIONS: readonly Deviation[] = Object.entries(rows).map(([id, { text }]) => ({
  id: id as DeviationId,
  text,
}));

/** The deviations that this version is known for, in programs of one stage or of both. */
export function deviationsOf(version: Version, stage: StageName = 1): Deviation[] {
  return DEVIATIONS.filter(({ id }) => {
    const row: DeviationRow = rows[id];
    if (row.stages !== undefined && !row.stages.includes(stage)) return false;
    if (row.from !== undefined && before(version, row.from)) return false;
    return row.until === undefined || before(version, row.until);
  });
}

/** Reads `QEMU emulator version 7.2.22 (…)` or `7.2.22`; null when there is no version in it. */
export function parseVersion(text: string): Version | null {
  const found = /(\d+)\.(\d+)\.(\d+)/.exec(text);
  return found === null ? null : [Number(found[1]), Number(found[2]), Number(found[3])];
}

function before(a: Version, b: Version): boolean {
  const i = [0, 1, 2].find((k) => a[k] !== b[k]);
  return i !== undefined && a[i]! < b[i]!;
}
