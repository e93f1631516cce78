/**
 * Where QEMU's SMMUv3 is known to differ from the architecture, per version. Each is a switch of the predictor
 * (`predict.ts`), which says what QEMU does with an access, success included; none of them excuses anything else.
 */

/** QEMU's version as numbers. */
export type Version = readonly [number, number, number];

interface DeviationRow {
  readonly text: string;
  /** First version known to differ, and the first that no longer does. */
  readonly from?: Version;
  readonly until?: Version;
  /** Only of this stage. */
  readonly stage?: 1 | 2;
}

const rows = {
  'unprivileged-ignored': {
    text: 'AP[1] and APTable[0] are ignored: every access counts as privileged',
    stage: 1,
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
    stage: 1,
  },
  'aptable-not-cached': {
    text: 'a cached translation forgets APTable: a write passes after a read has filled the TLB',
    stage: 1,
  },
  'global-tagged': {
    text: 'a global leaf is cached for one ASID: TLBI_NH_VA for another ASID leaves it in place',
    stage: 1,
  },
  's2-input-size': {
    text: 'an address beyond IAS ends without an event; it should be F_ADDR_SIZE',
    stage: 2,
  },
  'concatenation-lost': {
    text: 'of stage-2 start tables side by side only the first is read, whatever the address',
    stage: 2,
  },
  's2-range-late': {
    text: 'an address beyond S2T0SZ passes where another stream of the VMID has it cached; it should be F_TRANSLATION',
    stage: 2,
  },
  's2-cached-silent': {
    text: 'what a cached stage-2 leaf forbids ends without an event; it should be F_PERMISSION',
    stage: 2,
  },
  's2-updates-accepted': {
    text: 'S2HA and S2HD are not C_BAD_STE, although there is no hardware update',
    stage: 2,
  },
  's2ps-limits-input': {
    text: 'S2PS below the input size is C_BAD_STE, although it only limits the output',
    stage: 2,
  },
  's1cdmax-rejected': {
    text: 'S1CDMax other than 0 is C_BAD_STE, although without substreams the field does not exist',
    stage: 1,
  },
  'ste-checks-missing': {
    text: 'a context pointer beyond OAS is not C_BAD_STE',
    stage: 1,
  },
  'level2-too-long': {
    text: 'a level-2 stream table has 2^Span entries; it should be 2^(Span-1), and C_BAD_STREAMID beyond',
  },
  'bad-streamid-always': {
    text: 'C_BAD_STREAMID is recorded although CR2.RECINVSID is 0',
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

/** The deviations that this version is known for, in programs of one stage. */
export function deviationsOf(version: Version, stage: 1 | 2 = 1): Deviation[] {
  return DEVIATIONS.filter(({ id }) => {
    const row: DeviationRow = rows[id];
    if (row.stage !== undefined && row.stage !== stage) return false;
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
