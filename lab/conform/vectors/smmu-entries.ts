/** `smmuv3-entries`: stream table entries and context descriptors as the driver makes them, and level-1 descriptors. */
import { smmuV3 } from '#host';
import type { Tally } from '../tally.ts';
import { count, flag, hex, list, oneOf, record, type Shape, tagged, text } from './shape.ts';
import { FEATURE, featuresOf } from './smmu-names.ts';
import { hexWords, hi, int32s, lo } from './words.ts';

// biome-ignore lint/suspicious/noExplicitAny: inputs differ by maker; the shapes below say what each has
type Input = any;

export interface EntryVector {
  readonly name: string;
  readonly maker: string;
  readonly in: Input;
  readonly words: readonly string[];
  readonly used: readonly string[];
}

export interface Level1Vector {
  readonly kind: 'strtab_l1' | 'cdtab_l1';
  readonly l2ptr_dma: string;
  readonly words: readonly string[];
}

const features = { features: list(FEATURE) };
const master = { ats_enabled: count, stall_enabled: count };
const s2 = {
  vttbr: hex,
  vtcr: record({ ps: count, tg: count, sh: count, orgn: count, irgn: count, sl: count, tsz: count }),
  vmid: count,
  s2fwb: count,
};
const tcr = record({ tsz: count, tg: count, irgn: count, orgn: count, sh: count, ips: count });
const assumed = record({
  parange: count,
  vabits: count,
  page_size: count,
  mair_el1: hex,
  system_supports_haft: flag,
});

/** What each maker is given. */
const inputs: Readonly<Record<string, Shape>> = {
  abort: record({}),
  bypass: record(features),
  cdtable: record({ ...features, ...master, cdtab_dma: hex, s1cdmax: count, s1fmt: count, s1dss: oneOf(0, 1, 2) }),
  s2_domain: record({ ...features, ...master, ...s2 }),
  nested_domain: record({ ...features, ...master, ...s2, vste: list(hex, 2) }),
  s1: record({ tcr, ttbr: hex, mair: hex, asid: count, stall_enabled: count, arm_hd: count }),
  sva: record({ ...features, asid: count, mm: flag, pgd_pa: hex, stall_enabled: count, assumed }),
};

const entry = tagged(
  'maker',
  Object.fromEntries(
    Object.entries(inputs).map(([name, input]) => [
      name,
      record({ name: text, in: input, words: list(hex, 8), used: list(hex, 8) }),
    ]),
  ),
);

export const ENTRIES: Shape = record({
  ste: list(entry),
  cd: list(entry),
  l1: list(record({ kind: oneOf('strtab_l1', 'cdtab_l1'), l2ptr_dma: hex, words: list(hex, 1) })),
});

const masterOf = (input: Input): smmuV3.MasterState => ({
  ats: input.ats_enabled === 1,
  stall: input.stall_enabled === 1,
});
const stage2 = (input: Input): smmuV3.Stage2Domain => ({
  vmid: input.vmid,
  vttbrHi: hi(input.vttbr),
  vttbrLo: lo(input.vttbr),
  vtcr: input.vtcr,
  fwb: input.s2fwb === 1,
});

const makers: Readonly<Record<string, (into: Int32Array, input: Input) => void>> = {
  abort: (into) => smmuV3.makeAbortSte(into),
  bypass: (into, input) => smmuV3.makeBypassSte(into, featuresOf(input.features)),
  cdtable: (into, input) => {
    const { cdtab_dma, s1cdmax, s1fmt, s1dss } = input;
    const table = { addressHi: hi(cdtab_dma), addressLo: lo(cdtab_dma), s1CdMax: s1cdmax, s1Fmt: s1fmt };
    smmuV3.makeCdTableSte(into, featuresOf(input.features), table, s1dss, masterOf(input));
  },
  s2_domain: (into, input) => smmuV3.makeStage2Ste(into, featuresOf(input.features), stage2(input), masterOf(input)),
  nested_domain: (into, input) => {
    const guest = { words: int32s(input.vste), ats: false };
    smmuV3.makeNestedSte(into, featuresOf(input.features), stage2(input), guest, masterOf(input));
  },
  s1: (into, { asid, ttbr, mair, tcr, arm_hd, stall_enabled }) => {
    const domain = { asid, ttbrHi: hi(ttbr), ttbrLo: lo(ttbr), mairHi: hi(mair), mairLo: lo(mair), tcr };
    smmuV3.makeStage1Cd(into, { ...domain, dirtyTracking: arm_hd === 1 }, { stall: stall_enabled === 1 });
  },
  sva: (into, input) => {
    const { parange, vabits, page_size, mair_el1, system_supports_haft } = input.assumed;
    const cpu: smmuV3.CpuTranslation = {
      physicalRange: parange,
      virtualBits: vabits,
      pageShift: Math.log2(page_size),
      mairHi: hi(mair_el1),
      mairLo: lo(mair_el1),
      tableAccessFlag: system_supports_haft,
    };
    const process = input.mm ? { pgdHi: hi(input.pgd_pa), pgdLo: lo(input.pgd_pa) } : null;
    smmuV3.makeSvaCd(into, featuresOf(input.features), cpu, process, input.asid, masterOf(input));
  },
};

/** Compares one entry, and which of its bits hardware reads. */
export function checkEntry(kind: 'ste' | 'cd', vector: EntryVector, i: number, tally: Tally): void {
  const into = new Int32Array(smmuV3.ENTRY_INTS).fill(-1);
  tally.begin(kind === 'ste' ? 'STEs made' : 'CDs made', () => `${kind}[${i}], ${vector.name}`);
  makers[vector.maker]!(into, vector.in);
  tally.same('words', vector.words, hexWords(into));
  tally.end();
  tally.begin(kind === 'ste' ? 'bits of STEs in use' : 'bits of CDs in use', () => `${kind}[${i}], ${vector.name}`);
  const usedOf = kind === 'ste' ? smmuV3.usedOfSte : smmuV3.usedOfCd;
  usedOf(int32s(vector.words), into);
  tally.same('used', vector.used, hexWords(into));
  tally.end();
}

/** Compares one level-1 descriptor. */
export function checkLevel1({ kind, l2ptr_dma, words }: Level1Vector, i: number, tally: Tally): void {
  const into = new Int32Array(2).fill(-1);
  const make = kind === 'strtab_l1' ? smmuV3.makeL1std : smmuV3.makeL1cd;
  make(into, hi(l2ptr_dma), lo(l2ptr_dma));
  tally.check('level-1 descriptors', () => `l1[${i}], ${kind} of ${l2ptr_dma}`, 'words', words, hexWords(into));
}
