/**
 * Stage 2 under a nested stage 1: it translates the IPA of the CD, of each stage-1 descriptor, and of the access itself.
 * Each gets a full check, and its fault says by CLASS which of them it was. A stage-1 walk or a CD fetch that lands on
 * Device memory is refused when STE.S2PTW says so; the update of a stage-1 descriptor is a write.
 */

import { isDevice, type Underneath, WalkFault, WalkResult } from '../table-walk.ts';
import { EventClass, EventType } from './events.ts';
import { FAULT_EVENTS, isUnfounded, TlbChoice, TlbUse, walkWith } from './lookup.ts';
import type { TranslationUnit } from './unit.ts';

export class SecondStage implements Underneath {
  /** The walk that was done last. */
  readonly walk: WalkResult = new WalkResult();
  private readonly unit: TranslationUnit;
  private readonly choice = new TlbChoice();

  constructor(unit: TranslationUnit) {
    this.unit = unit;
  }

  descriptor(ipa: number, update: boolean): number {
    return this.through(ipa, update, EventClass.TTD);
  }

  /** Translates an IPA. @returns the physical address, or -1: then the unit's fault says why */
  through(ipa: number, write: boolean, eventClass: EventClass): number {
    const { unit, walk, choice } = this;
    const { ste, fault, adversary } = unit;
    if (adversary !== null) adversary.stage2(ipa, eventClass, choice);
    walkWith(unit.memory, ste.stage2, ipa, write, adversary === null ? null : choice, walk, null);
    let regime = ste.stage2;
    if (adversary !== null) {
      if (isUnfounded(choice, walk)) adversary.refute();
      if (choice.tlb !== TlbUse.none && choice.tlbRegime !== null) regime = choice.tlbRegime;
    }
    if (walk.fault === WalkFault.none && eventClass !== EventClass.IN && regime.protectsWalks && isDevice(walk.lo)) {
      walk.fault = WalkFault.permission;
    }
    if (walk.fault === WalkFault.none) {
      if (walk.updateAt >= 0) unit.noteUpdate(walk.updateAt, walk.lo, walk.updateLo);
      return walk.pa;
    }
    fault.type = FAULT_EVENTS[walk.fault]!;
    fault.stage2 = true;
    fault.ipa = ipa;
    fault.eventClass = eventClass;
    fault.tableRead = eventClass === EventClass.TTD && fault.type === EventType.F_PERMISSION && !write;
    fault.recorded = ste.stage2Records || ste.stage2Stalls;
    fault.stalls = ste.stage2Stalls;
    if (walk.fault === WalkFault.external) {
      if (eventClass === EventClass.IN) fault.eventClass = EventClass.TTD;
      fault.fetchAddress = walk.fetchPa[walk.fetches - 1]!;
      fault.recorded = true;
      fault.stalls = false;
    }
    return -1;
  }
}
