/**
 * What a stream's entry (and context descriptor) must say for the domain that it is attached to, and what they say.
 * The first difference is answered as a sentence; null when all is as it must be.
 */

import {
  cdAsid,
  cdFlag,
  cdGranuleBits0,
  cdIllegal,
  cdIps,
  cdT0sz,
  cdTtb,
  cdValid,
  levelShift,
  type SmmuCapabilities,
  SteConfig,
  stage2StartLevel,
  steConfig,
  steIllegal,
  steS1CdMax,
  steS1ContextPtr,
  steS1Fmt,
  steS2Flag,
  steS2GranuleBits,
  steS2Ps,
  steS2Sl0,
  steS2T0sz,
  steS2Ttb,
  steS2Vmid,
  steValid,
} from './decode/index.ts';
import { type Facts, type OracleSmmu, SIZE_CODES } from './facts.ts';
import { hex } from './findings.ts';

/** MAIR: 0 normal non-cacheable, 1 write-back, 2 device, 3 inner non-cacheable outer write-back. */
const MAIR_LO = 0xf404ff44 | 0;
const EATS_MASK = 0x30000000;
const STRW_MASK = 0xc0000000 | 0;
const AA64_BIT = 41;
const S2AA64_BIT = 51;

/** What the described hardware can do; the model of it is AArch64 only, little endian, terminate-only, abort-only. */
export function capabilitiesOf(smmu: OracleSmmu): SmmuCapabilities {
  return {
    stage1: smmu.stage1,
    stage2: smmu.stage2,
    aarch64: true,
    aarch32: false,
    httu: 0,
    ats: false,
    noSplitStageAts: false,
    asid16: smmu.asid16,
    vmid16: smmu.vmid16,
    twoLevelCdTables: false,
    twoLevelStreamTable: smmu.twoLevelStreamTable,
    stallModel: 1,
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

export class ExpectedStream {
  private readonly facts: Facts;
  private readonly capabilities: readonly SmmuCapabilities[];

  constructor(facts: Facts) {
    this.facts = facts;
    this.capabilities = facts.description.smmus.map(capabilitiesOf);
  }

  /** The entry at `ste` (0: there is no table for the stream) of a stream that is attached to nothing. */
  blocked(ste: number): string | null {
    if (ste === 0) return null;
    const { memory } = this.facts;
    const i = memory.indexOf(ste);
    return memory.words[i] === 0 && memory.words[i + 1] === 0 ? null : 'has an entry that is not all zero';
  }

  /** The entry at `ste` of a stream that is attached to domain `id`, whose table is at `root`. */
  attached(smmu: number, ste: number, id: number, stage: number, root: number): string | null {
    if (ste === 0) return 'has no entry';
    const { memory } = this.facts;
    const i = memory.indexOf(ste);
    const { words } = memory;
    if (!steValid(words[i]!)) return 'has an entry that is not valid';
    const illegal = steIllegal(words, i, this.capabilities[smmu]!);
    if (illegal !== null) return `has an illegal entry: ${illegal}`;
    if ((words[i + 2]! & EATS_MASK) !== 0) return 'may send translated requests (EATS)';
    if ((words[i + 2]! & STRW_MASK) !== 0) return 'is in another world than EL1 (STRW)';
    return stage === 1 ? this.stage1(smmu, i, id, root) : this.stage2(smmu, i, id, root);
  }

  private stage1(smmu: number, i: number, id: number, root: number): string | null {
    const { memory } = this.facts;
    const { words } = memory;
    if (steConfig(words[i]!) !== SteConfig.stage1) return 'does not translate at stage 1';
    if (steS1Fmt(words[i]!) !== 0 || steS1CdMax(words[i + 1]!) !== 0) return 'has more than one context descriptor';
    const cd = steS1ContextPtr(words[i + 1]!, words[i]!);
    if (this.facts.pageOf(cd) < 0) return `has a context descriptor outside RAM, at ${hex(cd)}`;
    const c = memory.indexOf(cd);
    if (!cdValid(words[c]!)) return 'has a context descriptor that is not valid';
    const illegal = cdIllegal(words, c, words, i, this.capabilities[smmu]!);
    if (illegal !== null) return `has an illegal context descriptor: ${illegal}`;
    if (!cdFlag(words[c + 1]!, words[c]!, AA64_BIT)) return 'has a context descriptor of another format';
    if (cdAsid(words[c + 1]!) !== id) return `has ASID ${cdAsid(words[c + 1]!)}`;
    if (cdTtb(words[c + 3]!, words[c + 2]!) !== root)
      return `has its table at ${hex(cdTtb(words[c + 3]!, words[c + 2]!))}`;
    const { inputBits } = this.facts.geometry(smmu, 1);
    if (cdT0sz(words[c]!) !== 64 - inputBits || cdGranuleBits0(words[c]!) !== 12) return 'has a table of another shape';
    if (!cdFlag(words[c + 1]!, words[c]!, 30) || cdFlag(words[c + 1]!, words[c]!, 14))
      return 'has the wrong half enabled';
    if (cdIps(words[c + 1]!) !== SIZE_CODES[this.facts.description.smmus[smmu]!.oas]) return 'has another output size';
    return words[c + 6] === MAIR_LO ? null : 'has other memory attributes';
  }

  private stage2(smmu: number, i: number, id: number, root: number): string | null {
    const { words } = this.facts.memory;
    if (steConfig(words[i]!) !== SteConfig.stage2) return 'does not translate at stage 2';
    const vmid = steS2Vmid(words[i + 4]!);
    if (vmid !== id) return `has VMID ${vmid}`;
    const ttb = steS2Ttb(words[i + 7]!, words[i + 6]!);
    if (ttb !== root) return `has its table at ${hex(ttb)}`;
    const hi2 = words[i + 5]!;
    const { inputBits, startLevel, rootPages } = this.facts.geometry(smmu, 2);
    const level = stage2StartLevel(steS2Sl0(hi2, words[i + 6]!), steS2T0sz(hi2), 12, false);
    if (steS2T0sz(hi2) !== 64 - inputBits || steS2GranuleBits(hi2) !== 12 || level !== startLevel) {
      return 'has a table of another shape';
    }
    if (Math.max(1, 2 ** (inputBits - levelShift(level) - 9)) !== rootPages) return 'has a first table of another size';
    if (!steS2Flag(hi2, S2AA64_BIT)) return 'has tables of another format';
    return steS2Ps(hi2) === SIZE_CODES[this.facts.description.smmus[smmu]!.oas] ? null : 'has another output size';
  }
}
