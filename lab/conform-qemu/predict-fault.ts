/** What the predictor says of an access that does not pass: the parts of its event, and the record they make. */
import { EventCode } from '../oracle/decode/event.ts';

/** CLASS: what was being done. */
export const FaultClass = { CD: 0, TTD: 1, IN: 2 } as const;
export type FaultClass = (typeof FaultClass)[keyof typeof FaultClass];

/** The parts of an event that do not follow from the access itself. */
export interface Fault {
  readonly event: number;
  /** Configuration asks for its record. */
  readonly recorded: boolean;
  /** It is stage 2's. */
  readonly stage2?: boolean;
  /** IN when left out. */
  readonly eventClass?: FaultClass;
  /** IPA, or address of a fetch: word 3. */
  readonly address?: number;
  /** TTRnW. */
  readonly tableRead?: boolean;
  /** RnW says read, whatever the access was. */
  readonly saysRead?: boolean;
  /** Word 2 where it is not the input address. */
  readonly input?: number;
}

/** Thrown where an access ends. */
export class Refused extends Error {
  readonly fault: Fault;
  constructor(fault: Fault) {
    super('refused');
    this.fault = fault;
  }
}

/** A fault that is always recorded and says no more than its number, and where a fetch failed. */
export function configFault(event: number, address = 0): Refused {
  return new Refused({ event, recorded: true, address });
}

/** An end without an event. */
export function silent(): Refused {
  return new Refused({ event: 0, recorded: false });
}

const RNW = 1 << 3;
const S2 = 1 << 7;
const CLASS_SHIFT = 8;
const TTRNW = 1 << 12;

/** The eight int32s of the record that an access of `sid` at `iova` leaves. */
export function faultRecord(fault: Fault, sid: number, iova: number, write: boolean): number[] {
  const { event, address = 0 } = fault;
  const ofAccess = event === EventCode.F_WALK_EABT || event >= EventCode.F_TRANSLATION;
  const input = fault.input ?? (ofAccess ? iova : 0);
  let flags = 0;
  if (ofAccess) {
    flags = (fault.eventClass ?? FaultClass.IN) << CLASS_SHIFT;
    if (!write || fault.saysRead === true) flags |= RNW;
    if (fault.stage2 === true) flags |= S2;
    if (fault.tableRead === true) flags |= TTRNW;
  }
  return [event, sid, 0, flags, low(input), high(input), low(address), high(address)];
}

function low(value: number): number {
  return (value % 2 ** 32) | 0;
}

function high(value: number): number {
  return Math.floor(value / 2 ** 32) | 0;
}
