/**
 * Invalidation of a range of a domain, wherever the domain is attached: the commands that an invalidation array stands
 * for. Order matters between stages and between SMMU and device: what is invalidated first must be complete before the
 * next, so each group ends with a SYNC. The limit of 64 commands in a batch is left out: it only adds SYNCs.
 */

import { structures } from '#machine/host-view';
import { ATC_ALL, buildAtcInv, buildTlbi, COMMAND_INTS, type Command } from './commands.ts';
import type { SmmuFeatures } from './features.ts';
import { type Invalidation, type InvalidationArray, InvalidationType } from './invalidation-array.ts';
import { buildAtcInvRange, type InvalidRange, isTooBig, tlbiRange } from './range-invalidation.ts';

const c = structures.COMMAND_STRUCTURES;

/** Takes commands for the SMMU with this index. */
export interface CommandSink {
  /** A command of a batch. It is reused: take a copy. */
  add(smmu: number, command: Command): void;
  /** The batch is complete: a SYNC, and wait for it. */
  sync(smmu: number): void;
}

const scratch = new Int32Array(COMMAND_INTS);
const isAts = (type: InvalidationType) => type >= InvalidationType.ATS;

/** Whether the commands of `entry` must be complete before those of `next`. */
function endsBatch(entry: Invalidation, next: Invalidation | undefined): boolean {
  if (next === undefined || next.smmu !== entry.smmu) return true;
  // Devices fill their caches from the TLB, and combined entries are made again from stage 2.
  if (isAts(next.type) && !isAts(entry.type)) return true;
  return entry.type === InvalidationType.S2_VMID && next.type === InvalidationType.S2_VMID_S1_CLEAR;
}

/** Invalidates a range. @param smmus what each SMMU can do, by index */
export function invalidateDomain(
  smmus: readonly SmmuFeatures[],
  array: InvalidationArray,
  range: InvalidRange,
  sink: CommandSink,
): void {
  const live = array.entries.filter(({ users }) => users > 0);
  let pending = false;
  live.forEach((entry, i) => {
    const add = (command: Command) => {
      sink.add(entry.smmu, command);
      pending = true;
    };
    commandsOf(smmus[entry.smmu]!, entry, range, add);
    if (endsBatch(entry, live[i + 1]) && pending) {
      sink.sync(entry.smmu);
      pending = false;
    }
  });
}

function commandsOf(
  smmu: SmmuFeatures,
  entry: Invalidation,
  range: InvalidRange,
  add: (command: Command) => void,
): void {
  const { id, ssid, pageShift } = entry;
  const all = isTooBig(smmu, range);
  switch (entry.type) {
    case InvalidationType.S1_ASID:
      if (all) {
        buildTlbi(scratch, smmu.e2h ? c.TLBI_EL2_ASID.opcode : c.TLBI_NH_ASID.opcode, id, 0);
        add(scratch);
      } else {
        tlbiRange(smmu, smmu.e2h ? c.TLBI_EL2_VA.opcode : c.TLBI_NH_VA.opcode, id, 0, pageShift, range, add);
      }
      return;
    case InvalidationType.S2_VMID:
      if (all) {
        buildTlbi(scratch, c.TLBI_S12_VMALL.opcode, 0, id);
        add(scratch);
      } else {
        tlbiRange(smmu, c.TLBI_S2_IPA.opcode, 0, id, pageShift, range, add);
      }
      return;
    case InvalidationType.S2_VMID_S1_CLEAR:
      // TLBI_S12_VMALL has taken stage 1 too.
      if (all) return;
      buildTlbi(scratch, c.TLBI_NH_ALL.opcode, 0, id);
      add(scratch);
      return;
    case InvalidationType.ATS:
      buildAtcInvRange(scratch, id, ssid, range.iova, range.size);
      add(scratch);
      return;
    case InvalidationType.ATS_FULL:
      buildAtcInv(scratch, id, 0, 0, ATC_ALL);
      add(scratch);
      return;
  }
}
