/**
 * The command builder of the older driver (Linux 6.12): one description with every field that some command has, of which
 * each opcode takes its own. It knows fewer opcodes than the architecture.
 */

import { Errno } from '#hypercall-abi';
import { structures } from '#machine/host-view';
import {
  buildCfgiAll,
  buildCfgiCd,
  buildCfgiCdAll,
  buildCfgiSte,
  buildOpcode,
  buildPrefetchConfig,
  buildPriResp,
  buildResume,
  buildSync,
  type Command,
  PriAnswer,
  type ResumeAnswer,
  SyncSignal,
} from './commands.ts';
import { putAddress } from './entry.ts';

const { COMMAND_STRUCTURES, setField, setWord } = structures;
const c = COMMAND_STRUCTURES;

/** A command to be. Addresses are 64-bit (hi, lo) words. */
export interface GenericCommand {
  readonly opcode: number;
  readonly sid: number;
  readonly ssid: number;
  /** SSV. */
  readonly ssv: boolean;
  readonly leaf: boolean;
  readonly num: number;
  readonly scale: number;
  readonly asid: number;
  readonly vmid: number;
  readonly ttl: number;
  readonly tg: number;
  readonly addressHi: number;
  readonly addressLo: number;
  /** ATC_INV: log2 of the number of pages, and every substream. */
  readonly size: number;
  readonly global: boolean;
  /** PRI_RESP: the group. */
  readonly group: number;
  /** The answer of PRI_RESP or RESUME. */
  readonly answer: number;
  readonly stag: number;
  /** SYNC: where a message goes; 0 for an event. */
  readonly msiHi: number;
  readonly msiLo: number;
}

/**
 * Builds a command. On an error the words hold what was filled in before it was found.
 * @returns 0; -ENOENT for an opcode that this builder does not know; -EINVAL for an answer to a page request that there
 *   is none of
 */
export function buildGenericCommand(into: Command, command: GenericCommand): number {
  const { opcode, sid, ssid, leaf } = command;
  buildOpcode(into, opcode);
  switch (opcode) {
    case c.TLBI_EL2_ALL.opcode:
    case c.TLBI_NSNH_ALL.opcode:
      return 0;
    case c.PREFETCH_CONFIG.opcode:
      buildPrefetchConfig(into, sid);
      return 0;
    case c.CFGI_CD.opcode:
      buildCfgiCd(into, sid, ssid, leaf);
      return 0;
    case c.CFGI_STE.opcode:
      buildCfgiSte(into, sid, leaf);
      return 0;
    case c.CFGI_CD_ALL.opcode:
      buildCfgiCdAll(into, sid);
      return 0;
    case c.CFGI_STE_RANGE.opcode:
      buildCfgiAll(into);
      return 0;
    case c.TLBI_NH_VA.opcode:
    case c.TLBI_EL2_VA.opcode:
    case c.TLBI_S2_IPA.opcode:
      buildByAddress(into, command);
      return 0;
    case c.TLBI_NH_ASID.opcode:
      setField(into, c.TLBI_NH_ASID.field.ASID, command.asid);
      setField(into, c.TLBI_NH_ASID.field.VMID, command.vmid);
      return 0;
    case c.TLBI_S12_VMALL.opcode:
      setField(into, c.TLBI_S12_VMALL.field.VMID, command.vmid);
      return 0;
    case c.TLBI_EL2_ASID.opcode:
      setField(into, c.TLBI_EL2_ASID.field.ASID, command.asid);
      return 0;
    case c.ATC_INV.opcode: {
      const { field } = c.ATC_INV;
      setField(into, field.SSV, Number(command.ssv));
      setField(into, field.Global, Number(command.global));
      setField(into, field.SSID, ssid);
      setField(into, field.SID, sid);
      setField(into, field.Size, command.size);
      setWord(into, field.Address, command.addressHi, command.addressLo);
      return 0;
    }
    case c.PRI_RESP.opcode: {
      const known = command.answer <= PriAnswer.success;
      buildPriResp(into, sid, ssid, command.ssv, command.group, known ? (command.answer as PriAnswer) : 0);
      return known ? 0 : -Errno.EINVAL;
    }
    case c.RESUME.opcode:
      buildResume(into, sid, command.stag, command.answer as ResumeAnswer);
      return 0;
    case c.SYNC.opcode: {
      const message = (command.msiHi | command.msiLo) !== 0;
      buildSync(into, message ? SyncSignal.interrupt : SyncSignal.event, command.msiHi, command.msiLo);
      return 0;
    }
    default:
      return -Errno.ENOENT;
  }
}

/** A TLBI with an address: stage 1 in the EL1 or the EL2 world, or stage 2. */
function buildByAddress(into: Command, command: GenericCommand): void {
  const { field } = c.TLBI_NH_VA;
  setField(into, field.NUM, command.num);
  setField(into, field.SCALE, command.scale);
  if (command.opcode !== c.TLBI_EL2_VA.opcode) setField(into, field.VMID, command.vmid);
  if (command.opcode !== c.TLBI_S2_IPA.opcode) setField(into, field.ASID, command.asid);
  setField(into, field.Leaf, Number(command.leaf));
  setField(into, field.TTL, command.ttl);
  setField(into, field.TG, command.tg);
  if (command.opcode === c.TLBI_S2_IPA.opcode)
    putAddress(into, c.TLBI_S2_IPA.field.Address, command.addressHi, command.addressLo);
  else setWord(into, field.Address, command.addressHi, command.addressLo);
}
