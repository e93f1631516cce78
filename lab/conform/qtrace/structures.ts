/** What QEMU says of the STEs and CDs it fetches, against the oracle's decoders over the captured memory and the model. */
import type { Smmu } from '#machine';
import { cdFlag, cdGranuleBits0, cdGranuleBits1, cdIps, cdT0sz, cdTtb } from '../../oracle/decode/cd.ts';
import { bits, SIZE_BITS } from '../../oracle/decode/fields.ts';
import { l1stdEntries, l1stdL2Ptr } from '../../oracle/decode/l1std.ts';
import { steS1ContextPtr } from '../../oracle/decode/ste.ts';
import type { Walk, WalkStep } from '../../walk/result.ts';
import type { WalkSource } from '../../walk/source.ts';
import { walkAccess } from '../../walk/walk.ts';
import type { Tally } from '../tally.ts';
import { num, type QemuEvent, word } from './line.ts';

/** Compares the lines between the miss of a configuration and the look-up of the translation. */
export class StructureCheck {
  private readonly tally: Tally;
  private readonly smmu: Smmu;
  private readonly source: WalkSource;
  /** How often QEMU counted the entries of a level-2 table as 2^SPAN, which is twice what the architecture says. */
  spanDoubled = 0;

  /** @param source the captured structures as the SMMU sees them at the time */
  constructor(smmu: Smmu, source: WalkSource, tally: Tally) {
    this.smmu = smmu;
    this.source = source;
    this.tally = tally;
  }

  /** One line about the configuration of stream `sid`. */
  check(sid: number, event: QemuEvent): void {
    const { tally } = this;
    const walk = walkAccess(this.source, sid, 0);
    const { ste, cd } = this.smmu.explain(sid, 0, false);
    const where = `line ${event.line}, stream ${hex(sid)}`;
    switch (event.name) {
      case 'smmuv3_find_ste':
        tally.begin('STEs and CDs fetched', where);
        tally.same('stream', num(event, 'sid'), sid);
        tally.same('SPLIT', num(event, 'split'), (this.source.strtabBaseCfg >>> 6) & 31);
        tally.end();
        break;
      case 'smmuv3_find_ste_2lvl':
        this.level1(sid, event, where, walk);
        break;
      case 'smmuv3_get_ste':
        tally.begin('STEs and CDs fetched', where);
        tally.same('STE address by the oracle', hex(num(event, 'addr')), hex(stepOf(walk, 'ste')?.address ?? -1));
        tally.same('STE address by the model', hex(num(event, 'addr')), hex(ste?.pa ?? -1));
        tally.end();
        break;
      case 'smmuv3_get_cd': {
        const words = stepOf(walk, 'ste')?.words[0];
        tally.begin('STEs and CDs fetched', where);
        const pointer = words === undefined ? -1 : steS1ContextPtr(words.hi, words.lo);
        tally.same('S1ContextPtr', hex(num(event, 'addr')), hex(pointer));
        tally.same('CD address by the model', hex(num(event, 'addr')), hex(cd?.pa ?? -1));
        tally.end();
        break;
      }
      case 'smmuv3_decode_cd':
      case 'smmuv3_decode_cd_tt':
        this.contextDescriptor(event, where, walk);
        break;
      default:
        break;
    }
  }

  private level1(sid: number, event: QemuEvent, where: string, walk: Walk): void {
    const { tally, source } = this;
    const split = (source.strtabBaseCfg >>> 6) & 31;
    const l1 = stepOf(walk, 'l1std');
    tally.begin('STEs and CDs fetched', where);
    tally.same('STRTAB_BASE', word(event, 'base'), source.strtabBase);
    const words = l1?.words[0];
    if (words === undefined || l1 === undefined) tally.differs('L1STD', 'one', 'none');
    else {
      tally.same('L1STD address', hex(num(event, 'l1')), hex(l1.address));
      tally.same('index at level 1', num(event, 'l1Index'), Math.floor(sid / 2 ** split));
      tally.same('L2Ptr', hex(num(event, 'l2')), hex(l1stdL2Ptr(words.hi, words.lo)));
      tally.same('index at level 2', num(event, 'l2Index'), sid % 2 ** split);
      const entries = l1stdEntries(words.lo, split);
      const said = num(event, 'last') + 1;
      if (said === 2 * entries) this.spanDoubled++;
      else tally.same('entries at level 2', said, entries);
    }
    tally.end();
  }

  private contextDescriptor(event: QemuEvent, where: string, walk: Walk): void {
    const { tally } = this;
    const cd = stepOf(walk, 'cd')?.words;
    tally.begin('STEs and CDs fetched', where);
    const [q0, q1, q2] = cd ?? [];
    if (q0 === undefined || q1 === undefined || q2 === undefined) tally.differs('CD', 'one', 'none');
    else if (event.name === 'smmuv3_decode_cd') {
      tally.same(
        'output bits',
        num(event, 'oas'),
        Math.min(SIZE_BITS[cdIps(q0.hi)]!, this.source.capabilities.oasBits),
      );
    } else {
      const upper = num(event, 'half') === 1;
      const table = upper ? q2 : q1;
      tally.same('TxSZ', num(event, 'tsz'), upper ? bits(q0.hi, q0.lo, 21, 16) : cdT0sz(q0.lo));
      tally.same('TTB', hex(num(event, 'ttb')), hex(cdTtb(table.hi, table.lo)));
      tally.same('granule', num(event, 'granule'), upper ? cdGranuleBits1(q0.lo) : cdGranuleBits0(q0.lo));
      tally.same('HAD', num(event, 'had'), Number(cdFlag(table.hi, table.lo, 1)));
    }
    tally.end();
  }
}

function stepOf(walk: Walk, kind: WalkStep['kind']): WalkStep | undefined {
  return walk.steps.find((step) => step.kind === kind);
}

function hex(value: number): string {
  return value < 0 ? 'none' : `0x${value.toString(16)}`;
}
