import { expect, test } from 'vitest';
import { type DecodedField, decodeFields } from '#lab/oracle/decode/fields';
import { CD_FIELDS, STE_FIELDS } from '#lab/oracle/decode/index';
import { L1CD_FIELDS, L1STD_FIELDS, l1stdEntries, l1stdL2Ptr } from '#lab/oracle/decode/l1std';
import { int32s, vectors } from './rig.ts';

const { ste, cd, l1 } = vectors('smmuv3-entries');

/** The fields that are not zero. */
function said(fields: readonly DecodedField[]): Record<string, number> {
  return Object.fromEntries(fields.filter(({ value }) => value !== 0).map(({ name, value }) => [name, value]));
}

function nonZero(fields: Record<string, number>): Record<string, number> {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== 0));
}

/** Bits [top:bottom] of a hexadecimal number, in place. */
function inPlace(hex: string, top: number, bottom: number): number {
  const value = BigInt(`0x${hex}`);
  return Number(BigInt.asUintN(top + 1, value) - BigInt.asUintN(bottom, value));
}

type Inputs = Record<string, unknown> & { features: string[] };

function stage2Fields(input: Inputs): Record<string, number> {
  const vtcr = input.vtcr as Record<string, number>;
  return {
    S2VMID: input.vmid as number,
    S2T0SZ: vtcr.tsz!,
    S2SL0: vtcr.sl!,
    S2IR0: vtcr.irgn!,
    S2OR0: vtcr.orgn!,
    S2SH0: vtcr.sh!,
    S2TG: vtcr.tg!,
    S2PS: vtcr.ps!,
    S2AA64: 1,
    S2PTW: 1,
    S2R: 1,
    S2TTB: inPlace(input.vttbr as string, 51, 4),
    S2FWB: input.s2fwb as number,
    EATS: input.ats_enabled as number,
    SHCFG: input.features.includes('ATTR_TYPES_OVR') ? 1 : 0,
  };
}

/** What the driver put in, as fields: the inverse of decoding. */
const steMakers: Record<string, (input: Inputs) => Record<string, number>> = {
  abort: () => ({ V: 1 }),
  bypass: ({ features }) => ({ V: 1, Config: 4, SHCFG: features.includes('ATTR_TYPES_OVR') ? 1 : 0 }),
  cdtable: ({ cdtab_dma, s1cdmax, s1fmt, s1dss, ats_enabled, stall_enabled, features }) => ({
    V: 1,
    Config: 5,
    S1ContextPtr: inPlace(cdtab_dma as string, 51, 6),
    S1CDMax: (s1cdmax as number) & 31,
    S1Fmt: s1fmt as number,
    S1DSS: s1dss as number,
    S1CIR: 1,
    S1COR: 1,
    S1CSH: 3,
    S1STALLD: features.includes('STALLS') && stall_enabled === 0 ? 1 : 0,
    EATS: ats_enabled as number,
    STRW: features.includes('E2H') ? 2 : 0,
    SHCFG: s1dss === 1 && features.includes('ATTR_TYPES_OVR') ? 1 : 0,
  }),
  s2_domain: (input) => ({ V: 1, Config: 6, ...stage2Fields(input) }),
  nested_domain: (input) => {
    const [v0, v1] = input.vste as [string, string];
    const guest = said(decodeFields(STE_FIELDS, int32s([v0, v1, '0', '0', '0', '0', '0', '0'])));
    if (guest.V === undefined || guest.Config === undefined) return { V: 1 };
    if (guest.Config === 4) return { V: 1, Config: 6, ...stage2Fields(input) };
    return { ...guest, Config: 7, MEV: 1, ...stage2Fields(input) };
  },
};

function mairFields(mair: string): Record<string, number> {
  const digits = mair.padStart(16, '0');
  return { MAIR0: Number.parseInt(digits.slice(8), 16), MAIR1: Number.parseInt(digits.slice(0, 8), 16) };
}

const cdMakers: Record<string, (input: Inputs) => Record<string, number>> = {
  s1: (input) => {
    const tcr = input.tcr as Record<string, number>;
    return {
      T0SZ: tcr.tsz!,
      TG0: tcr.tg!,
      IR0: tcr.irgn!,
      OR0: tcr.orgn!,
      SH0: tcr.sh!,
      IPS: tcr.ips!,
      EPD1: 1,
      V: 1,
      AA64: 1,
      HA: input.arm_hd as number,
      HD: input.arm_hd as number,
      S: input.stall_enabled as number,
      R: 1,
      A: 1,
      ASET: 1,
      ASID: input.asid as number,
      TTB0: inPlace(input.ttbr as string, 51, 4),
      ...mairFields(input.mair as string),
    };
  },
  sva: ({ asid, mm, pgd_pa, stall_enabled, features, assumed }) => {
    const cpu = assumed as Record<string, number> & { mair_el1: string };
    const forced = features.includes('STALL_FORCE');
    const stalls = forced || (mm === true && stall_enabled === 1);
    return {
      ...(mm === true
        ? { T0SZ: 64 - cpu.vabits!, IR0: 1, OR0: 1, SH0: 3, TTB0: inPlace(pgd_pa as string, 51, 4) }
        : { EPD0: 1 }),
      EPD1: 1,
      V: 1,
      IPS: cpu.parange!,
      AA64: 1,
      HA: features.includes('HA') ? 1 : 0,
      HD: features.includes('HD') ? 1 : 0,
      HAFT: features.includes('HAFT') ? 1 : 0,
      S: stalls ? 1 : 0,
      R: mm === true || forced ? 1 : 0,
      A: 1,
      ASET: 1,
      ASID: asid as number,
      ...mairFields(cpu.mair_el1),
    };
  },
};

test.each(Object.keys(steMakers))('every STE that the driver makes for %s decodes to what went into it', (maker) => {
  const entries = ste.filter((entry: { maker: string }) => entry.maker === maker);
  expect(entries.length).toBeGreaterThan(0);
  for (const { name, in: input, words } of entries) {
    expect(said(decodeFields(STE_FIELDS, int32s(words))), name).toEqual(nonZero(steMakers[maker]!(input)));
  }
});

test.each(Object.keys(cdMakers))('every CD that the driver makes for %s decodes to what went into it', (maker) => {
  const entries = cd.filter((entry: { maker: string }) => entry.maker === maker);
  expect(entries.length).toBeGreaterThan(0);
  for (const { name, in: input, words } of entries) {
    expect(said(decodeFields(CD_FIELDS, int32s(words))), name).toEqual(nonZero(cdMakers[maker]!(input)));
  }
});

test('no entry of the vectors is left undecoded', () => {
  expect(ste.every(({ maker }: { maker: string }) => maker in steMakers)).toBe(true);
  expect(cd.every(({ maker }: { maker: string }) => maker in cdMakers)).toBe(true);
});

test('level-1 descriptors decode to the table they point to', () => {
  for (const { kind, l2ptr_dma, words } of l1) {
    const found = int32s(words);
    if (kind === 'strtab_l1') {
      expect(said(decodeFields(L1STD_FIELDS, found))).toEqual({ Span: 9, L2Ptr: inPlace(l2ptr_dma, 51, 6) });
    } else {
      expect(said(decodeFields(L1CD_FIELDS, found))).toEqual({ V: 1, L2Ptr: inPlace(l2ptr_dma, 51, 12) });
    }
  }
});

test('a level-1 stream table descriptor reaches 2^(Span-1) entries, none when Span is reserved or too wide', () => {
  expect([0, 1, 9, 10, 11, 12, 31].map((span) => l1stdEntries(span, 8))).toEqual([0, 1, 256, 0, 0, 0, 0]);
  expect([9, 10, 11, 12].map((span) => l1stdEntries(span, 10))).toEqual([256, 512, 1024, 0]);
  // The hardware aligns the pointer to the table: 256 entries are 16 KiB.
  expect(l1stdL2Ptr(0, 0x6b261000 | 9)).toBe(0x6b260000);
});
