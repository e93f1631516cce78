/**
 * What a stream's entry (and context descriptor) must say for the domain that it is attached to, and what they say: every
 * field of the architecture, and zero everywhere else. The first difference is answered as a sentence; null when all is
 * as it must be.
 */

import {
  bits,
  CD_BYTES,
  CD_FIELDS,
  cdIllegal,
  cdValid,
  type Field,
  type SmmuCapabilities,
  STE_FIELDS,
  STE_WORDS,
  SteConfig,
  steConfig,
  steIllegal,
  steS1ContextPtr,
  steValid,
} from './decode/index.ts';
import { type Facts, type Geometry, IDENTITY_VMID, type OracleSmmu, SIZE_CODES, TWO32 } from './facts.ts';
import { hex } from './findings.ts';

/** MAIR: 0 normal non-cacheable, 1 write-back, 2 device, 3 inner non-cacheable outer write-back. */
const MAIR_LO = 0xf404ff44;
/** SHCFG: the shareability that comes with the access. */
const INCOMING = 1;
/** Values of STALL_MODEL. */
const STALL_MODELS = { both: 0, terminate: 1, stall: 2 } as const;

/** What a stream, or one PASID of it, is attached to. */
export interface ExpectedAttachment {
  /** Tag of the domain's translations. */
  readonly domain: number;
  /** Where the domain's table is. */
  readonly root: number;
  /** Whether its faults stall. */
  readonly stalls: boolean;
}

/**
 * A linear table of 2^bits context descriptors, fetched write-back and inner shareable; accesses without a SubstreamID
 * use the first. VMID 0 tags stage 1.
 */
function stage1Entry(bits: number): Expected {
  return {
    V: 1,
    Config: SteConfig.stage1,
    S1Fmt: 0,
    S1CDMax: bits,
    S1ContextPtr: null,
    S1DSS: 2,
    S1CIR: 1,
    S1COR: 1,
    S1CSH: 3,
  };
}

/** What the described hardware can do; the model of it is AArch64 only, little endian, abort-only. */
export function capabilitiesOf(smmu: OracleSmmu): SmmuCapabilities {
  return {
    stage1: smmu.stage1,
    stage2: smmu.stage2,
    aarch64: true,
    aarch32: false,
    httu: 0,
    ats: false,
    el2Worlds: false,
    noSplitStageAts: false,
    asid16: smmu.asid16,
    vmid16: smmu.vmid16,
    twoLevelCdTables: false,
    twoLevelStreamTable: smmu.twoLevelStreamTable,
    stallModel: STALL_MODELS[smmu.stallModel ?? 'terminate'],
    abortOnly: true,
    tableEndianness: 2,
    sidBits: smmu.sidBits,
    ssidBits: smmu.ssidBits,
    smallTables: false,
    executeNeverAtBothLevels: smmu.stage2,
    oasBits: smmu.oas,
    iasBits: smmu.oas,
    granule4k: true,
    granule16k: false,
    granule64k: false,
    largeVa: false,
  };
}

/** How hardware fetches tables: write-back and inner shareable where it sees the CPUs' caches, from memory where not. */
interface WalkAttributes {
  readonly cached: number;
  readonly shareability: number;
}
const COHERENT: WalkAttributes = { cached: 1, shareability: 3 };
const NOT_COHERENT: WalkAttributes = { cached: 0, shareability: 2 };

function walkAttributes({ coherent }: OracleSmmu): WalkAttributes {
  return coherent ? COHERENT : NOT_COHERENT;
}

/** S2SL0 by start level, 4 KiB granule. */
const SL0 = [2, 1, 0] as const;

/**
 * Fields of an entry or descriptor that are not zero. All others, and all bits that are in no field, must be zero; a
 * value of null is judged elsewhere.
 */
type Expected = Readonly<Record<string, number | null>>;

/** The entry of a stream that translates at stage 2 alone, by a table of that shape. */
function stage2Entry(
  { inputBits, startLevel }: Geometry,
  { cached, shareability }: WalkAttributes,
  oas: number,
  vmid: number,
  { root, stalls }: Pick<ExpectedAttachment, 'root' | 'stalls'>,
): Expected {
  return {
    V: 1,
    Config: SteConfig.stage2,
    SHCFG: INCOMING,
    S2VMID: vmid,
    S2T0SZ: 64 - inputBits,
    S2SL0: SL0[startLevel] ?? -1,
    S2IR0: cached,
    S2OR0: cached,
    S2SH0: shareability,
    S2PS: SIZE_CODES[oas] ?? -1,
    S2AA64: 1,
    S2S: stalls ? 1 : 0,
    S2R: 1,
    S2TTB: root,
  };
}

/** Fields of a table by name. */
const fieldMaps = new Map<readonly Field[], ReadonlyMap<string, Field>>();

function fieldsByName(fields: readonly Field[]): ReadonlyMap<string, Field> {
  let byName = fieldMaps.get(fields);
  if (byName === undefined) {
    byName = new Map(fields.map((field) => [field.name, field]));
    fieldMaps.set(fields, byName);
  }
  return byName;
}

/** What 64 bytes must be, put together from their fields: far quicker to compare with than field by field. */
class Image {
  private readonly words = new Int32Array(STE_WORDS);
  /** Bits that are judged. */
  private readonly mask = new Int32Array(STE_WORDS);

  /** Whether the 64 bytes at index `i` are exactly what is expected. No answer but yes is final. */
  holds(fields: readonly Field[], expected: Expected, memory: Int32Array, i: number): boolean {
    const { words, mask } = this;
    for (let k = 0; k < STE_WORDS; k++) {
      words[k] = 0;
      mask[k] = -1;
    }
    const byName = fieldsByName(fields);
    for (const name in expected) if (!this.put(byName.get(name)!, expected[name]!)) return false;
    for (let k = 0; k < STE_WORDS; k++) if (((memory[i + k]! ^ words[k]!) & mask[k]!) !== 0) return false;
    return true;
  }

  /** Puts a value in its place; one that is judged elsewhere leaves the mask. @returns whether the field can hold it */
  private put({ word, hi, lo, address }: Field, value: number | null): boolean {
    if (value === null) {
      for (let bit = lo; bit <= hi; bit++) this.mask[2 * word + (bit >>> 5)]! &= ~(1 << (bit & 31));
      return true;
    }
    const inPlace = address === true ? value : value * 2 ** lo;
    if (!(inPlace >= 0 && inPlace < 2 ** (hi + 1) && inPlace % 2 ** lo === 0)) return false;
    this.words[2 * word]! |= inPlace | 0;
    this.words[2 * word + 1]! |= (inPlace / TWO32) | 0;
    return true;
  }
}

export class ExpectedStream {
  private readonly facts: Facts;
  private readonly capabilities: readonly SmmuCapabilities[];

  constructor(facts: Facts) {
    this.facts = facts;
    this.capabilities = facts.description.smmus.map(capabilitiesOf);
  }

  /**
   * The entry at `ste` (0: there is no table for the stream) of a stream that is attached to nothing.
   * @param isSettled whether all hardware has always answered: an attach that it did not answer leaves words behind
   */
  blocked(ste: number, isSettled: boolean): string | null {
    if (ste === 0) return null;
    const i = this.facts.memory.indexOf(ste);
    if (!this.isZero(i, 2)) return 'has an entry whose first word is not zero';
    return !isSettled || this.isZero(i, STE_WORDS) ? null : 'has an entry that was not cleared';
  }

  private isZero(i: number, count: number): boolean {
    const { words } = this.facts.memory;
    for (let k = 0; k < count; k++) if (words[i + k] !== 0) return false;
    return true;
  }

  /** The entry at `ste` of a stream that is attached at stage 2. */
  attachedStage2(smmu: number, ste: number, to: ExpectedAttachment): string | null {
    const described = this.facts.description.smmus[smmu]!;
    const geometry = this.facts.geometry(smmu, 2);
    const expected = stage2Entry(geometry, walkAttributes(described), described.oas, to.domain, to);
    return this.entry(smmu, ste, 2, expected);
  }

  /**
   * The entry at `ste` of a stream that is attached at stage 1 with room for 2^bits PASIDs, and all its descriptors.
   * @param isSettled as for {@link blocked}
   * @param attachment what a PASID is attached to; null for nothing
   */
  attachedStage1(
    smmu: number,
    ste: number,
    bits: number,
    isSettled: boolean,
    attachment: (pasid: number) => ExpectedAttachment | null,
  ): string | null {
    const wrong = this.entry(smmu, ste, 1, stage1Entry(bits));
    if (wrong !== null) return wrong;
    const { memory } = this.facts;
    const i = memory.indexOf(ste);
    const table = steS1ContextPtr(memory.words[i + 1]!, memory.words[i]!);
    for (let pasid = 0; pasid < 2 ** bits; pasid++) {
      const cd = table + pasid * CD_BYTES;
      if (this.facts.pageOf(cd) < 0) return `has a context descriptor outside RAM, at ${hex(cd)}`;
      const to = attachment(pasid);
      const found = to === null ? this.freeDescriptor(cd, isSettled) : this.descriptor(smmu, i, cd, to);
      if (found !== null) return `${found}${pasid === 0 ? '' : ` (PASID ${pasid})`}`;
    }
    return null;
  }

  private entry(smmu: number, ste: number, stage: number, expected: Expected): string | null {
    if (ste === 0) return 'has no entry';
    const { memory } = this.facts;
    const i = memory.indexOf(ste);
    const { words } = memory;
    if (!steValid(words[i]!)) return 'has an entry that is not valid';
    const config = stage === 1 ? SteConfig.stage1 : SteConfig.stage2;
    if (steConfig(words[i]!) !== config) return `does not translate at stage ${stage}`;
    const illegal = steIllegal(words, i, this.capabilities[smmu]!);
    if (illegal !== null) return `has an illegal entry: ${illegal}`;
    const wrong = this.difference(STE_FIELDS, i, expected);
    return wrong === null ? null : `has an entry whose ${wrong}`;
  }

  /** The entry at `ste` of a stream that reaches the host's memory through the identity table at `root`. */
  identity(smmu: number, ste: number, root: number): string | null {
    const { identityGeometry, identityBits, description } = this.facts;
    const described = description.smmus[smmu]!;
    const to = { root, stalls: described.stallModel === 'stall' };
    return this.entry(
      smmu,
      ste,
      2,
      stage2Entry(identityGeometry, walkAttributes(described), identityBits, IDENTITY_VMID, to),
    );
  }

  private outputSize(smmu: number): number {
    return SIZE_CODES[this.facts.description.smmus[smmu]!.oas] ?? -1;
  }

  /** A descriptor that nothing is attached to: hardware must take it for none. */
  private freeDescriptor(cd: number, isSettled: boolean): string | null {
    const c = this.facts.memory.indexOf(cd);
    if (!this.isZero(c, 2)) return 'has a context descriptor that nobody asked for';
    return !isSettled || this.isZero(c, CD_BYTES / 4) ? null : 'has a context descriptor that was not cleared';
  }

  /** The context descriptor at `cd`, in the table of the entry at index `i`. */
  private descriptor(smmu: number, i: number, cd: number, to: ExpectedAttachment): string | null {
    const { memory } = this.facts;
    const { words } = memory;
    const c = memory.indexOf(cd);
    if (!cdValid(words[c]!)) return 'has a context descriptor that is not valid';
    const illegal = cdIllegal(words, c, words, i, this.capabilities[smmu]!);
    if (illegal !== null) return `has an illegal context descriptor: ${illegal}`;
    const { cached, shareability } = walkAttributes(this.facts.description.smmus[smmu]!);
    const wrong = this.difference(CD_FIELDS, c, {
      T0SZ: 64 - this.facts.geometry(smmu, 1).inputBits,
      IR0: cached,
      OR0: cached,
      SH0: shareability,
      EPD1: 1,
      V: 1,
      IPS: this.outputSize(smmu),
      AA64: 1,
      S: to.stalls ? 1 : 0,
      R: 1,
      A: 1,
      ASET: 1,
      ASID: to.domain,
      TTB0: to.root,
      MAIR0: MAIR_LO,
      // No leaf names the attributes 4 to 7.
      MAIR1: null,
    });
    return wrong === null ? null : `has a context descriptor whose ${wrong}`;
  }

  /** The first field of the 64 bytes at index `i` that is not as it must be, in words. */
  private difference(fields: readonly Field[], i: number, expected: Expected): string | null {
    const { words } = this.facts.memory;
    if (this.image.holds(fields, expected, words, i)) return null;
    this.rest.set(words.subarray(i, i + STE_WORDS));
    for (const { name, word, hi, lo, address } of fields) {
      const value = bits(words[i + 2 * word + 1]!, words[i + 2 * word]!, hi, lo);
      const found = address === true ? value * 2 ** lo : value;
      const required = Object.hasOwn(expected, name) ? expected[name]! : 0;
      if (required !== null && found !== required) {
        const say = address === true ? hex : String;
        return `${name} is ${say(found)} instead of ${say(required)}`;
      }
      for (let bit = lo; bit <= hi; bit++) this.rest[2 * word + (bit >>> 5)]! &= ~(1 << (bit & 31));
    }
    const at = this.rest.findIndex((word) => word !== 0);
    return at < 0 ? null : `word ${at >>> 1} has bits outside of its fields`;
  }

  private readonly image = new Image();
  /** Scratch of {@link difference}: bits that no field has accounted for. */
  private readonly rest = new Int32Array(STE_WORDS);
}
