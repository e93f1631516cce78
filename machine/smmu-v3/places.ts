/** Where an IPA may be in physical memory: what stage 2 of its VMID says now, and everything that is cached of it. */

import type { PhysicalMemory } from '../memory/index.ts';
import { POW2 } from '../pow2.ts';
import { descriptorAddress, isDevice, judgeLeaf, Regime, WalkResult, walk, walkFrom } from '../table-walk.ts';
import { Field, Kind, type StaleSet } from './stale-set.ts';
import type { TableReach } from './table-reach.ts';

export class Places {
  private readonly memory: PhysicalMemory;
  private readonly stale: StaleSet;
  private readonly tables: TableReach;
  private readonly regime = new Regime();
  private readonly result = new WalkResult();

  constructor(memory: PhysicalMemory, stale: StaleSet, tables: TableReach) {
    this.memory = memory;
    this.stale = stale;
    this.tables = tables;
  }

  /**
   * Physical addresses of an IPA.
   * @param combined stage-1 entries may hold it too: a walk is looked up there, a CD is not
   */
  of(vmid: number, ipa: number, combined: boolean): number[] {
    const { memory, tables, stale, regime, result } = this;
    const found: number[] = [];
    const add = (): void => {
      // Under S2PTW nothing is fetched from Device memory.
      if (result.pa < 0 || (regime.protectsWalks && isDevice(result.lo))) return;
      if (!found.includes(result.pa)) found.push(result.pa);
    };
    for (let root = 1; root <= tables.top; root++) {
      if (tables.stage(root) !== 2 || tables.tag(root) >>> 16 !== vmid) continue;
      tables.regime(root, regime);
      walk(memory, regime, ipa, false, result);
      add();
    }
    const page = Math.floor(ipa / 4096);
    for (let i = 0; i < stale.size; i++) {
      const kind = stale.kind(i);
      if ((kind !== Kind.leaf && kind !== Kind.table) || stale.stage(i) !== 2) continue;
      if (stale.get(i, Field.tag) >>> 16 !== vmid || (stale.combined(i) && !combined)) continue;
      const pages = stale.pagesPer(i);
      const k = Math.floor((page - stale.page(i)) / pages);
      if (k < 0 || k >= stale.get(i, Field.count)) continue;
      stale.regime(i, regime);
      const level = stale.level(i);
      if (kind === Kind.leaf) {
        stale.leafWord(i, k, Math.log2(pages) + 12);
        judgeLeaf(regime, level, stale.leafHi, stale.leafLo, 0, ipa, false, result);
      } else {
        const hi = stale.get(i, Field.oldHi);
        const table = descriptorAddress(hi, stale.get(i, Field.oldLo), regime.granule, regime.wide);
        if (table >= POW2[regime.outputBits]!) continue;
        walkFrom(memory, regime, level + 1, table, 0, ipa, false, result);
      }
      add();
    }
    return found;
  }
}
