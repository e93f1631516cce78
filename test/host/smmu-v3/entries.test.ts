import { expect, test } from 'vitest';
import { smmuV3 } from '#host';
import { featuresOf, hexWords, hi, int32s, lo, vectors } from './rig.ts';

const { ste, cd, l1 } = vectors('entries');

// biome-ignore lint/suspicious/noExplicitAny: inputs differ by maker.
type Input = any;

const master = (input: Input): smmuV3.MasterState => ({
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

const makers: Record<string, (entry: Int32Array, input: Input) => void> = {
  abort: (entry) => smmuV3.makeAbortSte(entry),
  bypass: (entry, input) => smmuV3.makeBypassSte(entry, featuresOf(input.features)),
  cdtable: (entry, input) => {
    const table = {
      addressHi: hi(input.cdtab_dma),
      addressLo: lo(input.cdtab_dma),
      s1CdMax: input.s1cdmax,
      s1Fmt: input.s1fmt,
    };
    smmuV3.makeCdTableSte(entry, featuresOf(input.features), table, input.s1dss, master(input));
  },
  s2_domain: (entry, input) => smmuV3.makeStage2Ste(entry, featuresOf(input.features), stage2(input), master(input)),
  nested_domain: (entry, input) => {
    const guest = { words: int32s(input.vste), ats: false };
    smmuV3.makeNestedSte(entry, featuresOf(input.features), stage2(input), guest, master(input));
  },
  s1: (entry, input) => {
    const domain: smmuV3.Stage1Domain = {
      asid: input.asid,
      ttbrHi: hi(input.ttbr),
      ttbrLo: lo(input.ttbr),
      mairHi: hi(input.mair),
      mairLo: lo(input.mair),
      tcr: input.tcr,
      dirtyTracking: input.arm_hd === 1,
    };
    smmuV3.makeStage1Cd(entry, domain, master(input));
  },
  sva: (entry, input) => {
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
    smmuV3.makeSvaCd(entry, featuresOf(input.features), cpu, process, input.asid, master(input));
  },
};

/** Entries that a maker gets wrong, by name: none should. Old content of the entry must not matter. */
function wrong(list: readonly { name: string; maker: string; in: Input; words: string[] }[]): string[] {
  const entry = new Int32Array(smmuV3.ENTRY_INTS);
  return list
    .filter((vector) => {
      entry.fill(-1);
      makers[vector.maker]!(entry, vector.in);
      return hexWords(entry).join() !== vector.words.join();
    })
    .map(({ name }) => name);
}

test('each of 540 STEs is made bit for bit', () => {
  expect(ste).toHaveLength(540);
  expect(new Set(ste.map(({ maker }: Input) => maker))).toEqual(
    new Set(['abort', 'bypass', 'cdtable', 's2_domain', 'nested_domain']),
  );
  expect(wrong(ste)).toEqual([]);
});

test('each of 207 CDs is made bit for bit', () => {
  expect(cd).toHaveLength(207);
  expect(new Set(cd.map(({ maker }: Input) => maker))).toEqual(new Set(['s1', 'sva']));
  expect(wrong(cd)).toEqual([]);
});

test('the bits that hardware uses are known for each of the 747 entries', () => {
  const used = new Int32Array(smmuV3.ENTRY_INTS);
  const check = (list: Input[], usedOf: (entry: Int32Array, used: Int32Array) => void) => {
    for (const { name, words, used: expected } of list) {
      used.fill(0x5555);
      usedOf(int32s(words), used);
      expect(hexWords(used), name).toEqual(expected);
    }
  };
  check(ste, smmuV3.usedOfSte);
  check(cd, smmuV3.usedOfCd);
});

test('each of 6 level-1 descriptors is made bit for bit', () => {
  expect(l1).toHaveLength(6);
  for (const { kind, l2ptr_dma, words } of l1) {
    const made = new Int32Array(2).fill(-1);
    const make = kind === 'strtab_l1' ? smmuV3.makeL1std : smmuV3.makeL1cd;
    make(made, hi(l2ptr_dma), lo(l2ptr_dma));
    expect(hexWords(made), `${kind} ${l2ptr_dma}`).toEqual(words);
  }
});
