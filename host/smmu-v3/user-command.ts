/**
 * Nesting: invalidation commands that a guest gives for its own SMMU, rewritten so that they reach nothing but the
 * guest's VMID and the guest's devices.
 */

import { Errno } from '#hypercall-abi';
import { structures } from '#machine/host-view';
import { buildTlbi, type Command } from './commands.ts';

const { COMMAND_STRUCTURES, getField, setField } = structures;
const c = COMMAND_STRUCTURES;

/** The virtual SMMU that a guest has. */
export interface VirtualSmmu {
  readonly vmid: number;
  /** StreamID of the device that the guest calls `vsid`; undefined when it has none of that name. */
  readonly streamOf: (vsid: number) => number | undefined;
}

/**
 * Rewrites a command in place.
 * @returns 0, or -EIO: a command that a guest must not give, or a stream that it does not have
 */
export function rewriteUserCommand(command: Command, { vmid, streamOf }: VirtualSmmu): number {
  switch (command[0]! & 0xff) {
    case c.TLBI_NSNH_ALL.opcode:
      buildTlbi(command, c.TLBI_NH_ALL.opcode, 0, vmid);
      return 0;
    case c.TLBI_NH_ALL.opcode:
    case c.TLBI_NH_ASID.opcode:
    case c.TLBI_NH_VA.opcode:
    case c.TLBI_NH_VAA.opcode:
      setField(command, c.TLBI_NH_ALL.field.VMID, vmid);
      return 0;
    case c.ATC_INV.opcode:
    case c.CFGI_CD.opcode:
    case c.CFGI_CD_ALL.opcode: {
      const sid = streamOf(getField(command, c.CFGI_CD.field.SID));
      if (sid === undefined) return -Errno.EIO;
      setField(command, c.CFGI_CD.field.SID, sid);
      return 0;
    }
    default:
      return -Errno.EIO;
  }
}
