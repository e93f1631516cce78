/** What one translation works with: its scratch and its result. */

import type { SmmuFeatures } from '../description.ts';
import type { PhysicalMemory } from '../memory/index.ts';
import { type Regime, WalkResult } from '../table-walk.ts';
import { Cd } from './cd.ts';
import { Fault, type RegisterFile } from './events.ts';
import type { Adversary } from './lookup.ts';
import { SecondStage } from './second-stage.ts';
import { Ste } from './ste.ts';
import { StePlace, StreamTable } from './stream-table.ts';

/** Descriptors that one access may update: each level of a nested walk, and the leaves of both stages. */
const MOST_UPDATES = 16;

/** Scratch and result of translations of one SMMU. Everything in it is good until the next translation. */
export class TranslationUnit {
  readonly memory: PhysicalMemory;
  readonly smmu: SmmuFeatures;
  readonly registers: RegisterFile;
  readonly table: StreamTable = new StreamTable();
  readonly place: StePlace = new StePlace();
  readonly ste: Ste = new Ste();
  readonly cd: Cd = new Cd();
  readonly walk: WalkResult = new WalkResult();
  readonly second: SecondStage;
  readonly fault: Fault = new Fault();
  /** Physical address reached; -1 when the transaction does not go through. */
  pa = -1;
  /** Address of the STE and of the CD used; -1 when the transaction ended before. */
  steAt = -1;
  cdAt = -1;
  /** Stage that walked, 0 when none did; its regime, and the input address as an offset from the regime's start. */
  stage: 0 | 1 | 2 = 0;
  regime: Regime | null = null;
  input = 0;
  adversary: Adversary | null = null;
  /** A split-stage ATS request (EATS = 2) is answered: stage 1 has the last word. */
  splitStage = false;
  /** Updates of descriptors that hardware makes for this access: where, bits to set, bits to clear. */
  updates = 0;
  readonly updateAt: Float64Array = new Float64Array(MOST_UPDATES);
  readonly updateSet: Int32Array = new Int32Array(MOST_UPDATES);
  readonly updateClear: Int32Array = new Int32Array(MOST_UPDATES);

  constructor(memory: PhysicalMemory, smmu: SmmuFeatures, registers: RegisterFile) {
    this.memory = memory;
    this.smmu = smmu;
    this.registers = registers;
    this.second = new SecondStage(this);
  }

  /** Remembers that the access updates a descriptor. */
  noteUpdate(at: number, before: number, after: number): void {
    const n = this.updates++;
    this.updateAt[n] = at;
    this.updateSet[n] = after & ~before;
    this.updateClear[n] = before & ~after;
  }
}
