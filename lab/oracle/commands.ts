/**
 * Only allowed commands: what the hypervisor may put into a command queue (SMMUv3 4.2 to 4.7; the upstream driver's own
 * list). Everything else is refused by default: prefetches, ATC and PRI commands, those of EL2's own translations, and
 * what no table knows. Bits that an opcode does not define must be zero, a command must be legal on that SMMU, and a SYNC
 * must not make the hardware write an MSI or raise an interrupt: the write would be the hypervisor's.
 */

import { COMMAND_WORDS, COMMANDS, commandName, commandOpcode, Opcode } from './decode/index.ts';
import type { Facts } from './facts.ts';
import { type Findings, hex } from './findings.ts';

const STAGE1_ONLY = 1;
const STAGE2_ONLY = 2;

/** Opcodes that may be queued, and the stage that an SMMU must have for them. */
const ALLOWED: ReadonlyMap<number, number> = new Map([
  [Opcode.CFGI_STE, 0],
  [Opcode.CFGI_STE_RANGE, 0],
  [Opcode.CFGI_CD, STAGE1_ONLY],
  [Opcode.CFGI_CD_ALL, STAGE1_ONLY],
  [Opcode.TLBI_NH_ALL, STAGE1_ONLY],
  [Opcode.TLBI_NH_ASID, STAGE1_ONLY],
  [Opcode.TLBI_NH_VA, STAGE1_ONLY],
  [Opcode.TLBI_NH_VAA, STAGE1_ONLY],
  [Opcode.TLBI_S12_VMALL, STAGE2_ONLY],
  [Opcode.TLBI_S2_IPA, STAGE2_ONLY],
  [Opcode.TLBI_NSNH_ALL, 0],
  [Opcode.RESUME, 0],
  [Opcode.SYNC, 0],
]);

/** Completion signals of a SYNC that write nothing: none, and an event for CPUs that wait. */
const SYNC_NONE = 0;
const SYNC_EVENT = 2;
const SYNC_SIGNAL_SHIFT = 12;
/** Range of CFGI_STE_RANGE that means all streams. */
const ALL_STREAMS = 31;
/** Granule field of a range invalidation, and its 4 KiB. */
const GRANULE_SHIFT = 10;
const GRANULE_4K = 1;

/** By opcode: the stage that is needed, or -1 when the command is not allowed. */
const STAGE_OF = new Int8Array(256).fill(-1);
/** By opcode, {@link COMMAND_WORDS} words each: the bits that the opcode defines. */
const DEFINED = new Int32Array(256 * COMMAND_WORDS);
for (const [opcode, stage] of ALLOWED) {
  STAGE_OF[opcode] = stage;
  DEFINED[opcode * COMMAND_WORDS] = 0xff;
  for (const { word, hi, lo } of COMMANDS.get(opcode)!.fields) {
    for (let bit = lo; bit <= hi; bit++) DEFINED[opcode * COMMAND_WORDS + 2 * word + (bit >>> 5)]! |= 1 << (bit & 31);
  }
}

export class CommandCheck {
  private readonly facts: Facts;
  private readonly findings: Findings;

  constructor(facts: Facts, findings: Findings) {
    this.facts = facts;
    this.findings = findings;
  }

  /** The command in the four words from `words[at]` on was queued for that SMMU. */
  queued(smmu: number, words: Int32Array, at: number): void {
    const opcode = commandOpcode(words[at]!);
    const stage = STAGE_OF[opcode]!;
    if (stage < 0) {
      this.wrong('opcode', smmu, `gets ${commandName(opcode)}, which is none of the hypervisor’s commands`, opcode);
      return;
    }
    for (let i = 0; i < COMMAND_WORDS; i++) {
      const stray = words[at + i]! & ~DEFINED[opcode * COMMAND_WORDS + i]!;
      if (stray === 0) continue;
      this.wrong(
        'reserved',
        smmu,
        `gets ${commandName(opcode)} with reserved bits ${hex(stray >>> 0)} of word ${i}`,
        opcode,
      );
      return;
    }
    const why = this.illegal(smmu, opcode, stage, words, at);
    if (why !== null) this.wrong('illegal', smmu, `gets ${commandName(opcode)} ${why}`, opcode);
  }

  private illegal(smmu: number, opcode: number, stage: number, words: Int32Array, at: number): string | null {
    const {
      stage1,
      stage2,
      sidBits,
      rangeInvalidation,
      stallModel = 'terminate',
    } = this.facts.description.smmus[smmu]!;
    if (stage === STAGE1_ONLY && !stage1) return 'although it has no stage 1';
    if (stage === STAGE2_ONLY && !stage2) return 'although it has no stage 2';
    switch (opcode) {
      case Opcode.SYNC: {
        const signal = (words[at]! >>> SYNC_SIGNAL_SHIFT) & 3;
        return signal === SYNC_NONE || signal === SYNC_EVENT ? null : `with completion signal ${signal}`;
      }
      case Opcode.CFGI_STE_RANGE:
        return (words[at + 2]! & ALL_STREAMS) === ALL_STREAMS ? null : 'for a part of the streams';
      case Opcode.CFGI_STE:
      case Opcode.CFGI_CD:
      case Opcode.CFGI_CD_ALL: {
        const sid = words[at + 1]! >>> 0;
        return sid < 2 ** sidBits ? null : `for stream ${hex(sid)}, which it cannot have`;
      }
      case Opcode.RESUME:
        // Its stream and tag are the host's words: what they do not match stays as it is.
        return stallModel === 'terminate' ? 'although its faults never stall' : null;
      case Opcode.TLBI_NH_VA:
      case Opcode.TLBI_NH_VAA:
      case Opcode.TLBI_S2_IPA:
        return illegalRange(words[at]!, words[at + 2]!, rangeInvalidation);
    }
    return null;
  }

  private wrong(rule: string, smmu: number, text: string, opcode: number): void {
    const { name } = this.facts.description.smmus[smmu]!;
    this.findings.add('commands', rule, `the command queue of ${name} ${text}`, { smmu, opcode });
  }
}

/** What is wrong with the range of an invalidation by address (SMMUv3 4.4.1.1); null for nothing. */
function illegalRange(lo0: number, lo1: number, hasRanges: boolean): string | null {
  const granule = (lo1 >>> GRANULE_SHIFT) & 3;
  const num = (lo0 >>> 12) & 31;
  const scale = (lo0 >>> 20) & 31;
  const level = (lo1 >>> 8) & 3;
  if (granule === 0) return num !== 0 || scale !== 0 || level !== 0 ? 'with a range, but no granule for it' : null;
  if (!hasRanges) return 'with a range, which it does not have';
  if (granule !== GRANULE_4K) return 'for another granule than its tables have';
  return num === 0 && scale === 0 && level === 0 ? 'with a range of one page and no level, which is reserved' : null;
}
