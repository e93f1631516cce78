/** The predictor's reading of a stream's configuration: its STE, and for stage 1 its CD, with QEMU's deviations. */
import { cdFlag, cdGranuleBits0, cdIps, cdT0sz, cdTtb } from '../oracle/decode/cd.ts';
import { EventCode } from '../oracle/decode/event.ts';
import { SIZE_BITS, type Word64 } from '../oracle/decode/fields.ts';
import type { SmmuCapabilities } from '../oracle/decode/idr.ts';
import { cdIllegal, steIllegal } from '../oracle/decode/legal.ts';
import {
  steConfig,
  steS1CdMax,
  steS1ContextPtr,
  steS2Flag,
  steS2Ps,
  steS2T0sz,
  steS2Vmid,
} from '../oracle/decode/ste.ts';
import type { DeviationId } from './deviations.ts';
import { configFault, FaultClass, Refused, silent } from './predict-fault.ts';
import { locate } from './predict-stream.ts';
import { type Deviating, type Stage, stage1Of, stage2Of } from './predict-walk.ts';
import type { Setup } from './types.ts';

/** What a stream's structures say. */
export interface Config {
  readonly kind: 'abort' | 'bypass' | 'translate';
  /** The lower half of stage 1, and the upper. */
  readonly stage1: Stage | null;
  readonly upper: Stage | null;
  readonly stage2: Stage | null;
  /** Physical address of the stage-1 table of a nested stream, where it is kept with the rest; else null. */
  readonly root: number | null;
  readonly because: ReadonlySet<DeviationId>;
}

/** What reading a configuration needs of the predictor. */
export interface ConfigContext {
  readonly smmu: SmmuCapabilities;
  readonly setup: Setup;
  /** The access for which it is read. */
  readonly iova: number;
  readonly write: boolean;
  readonly deviating: Deviating;
  /** The deviations noted so far. */
  readonly because: ReadonlySet<DeviationId>;
  read(pa: number): Word64 | null;
  /** Translates an IPA for a fetch. @throws Refused */
  second(stage2: Stage, ipa: number, eventClass: FaultClass): number;
}

/**
 * Reads STE and CD of a stream. @throws Refused
 * @param deadly called for entries that end some versions of QEMU, or that they take in undefined ways
 */
export function decodeStream(context: ConfigContext, sid: number, deadly: () => void): Config {
  const { smmu, setup, deviating } = context;
  const place = locate(
    (pa) => context.read(pa),
    setup,
    smmu,
    sid,
    (id) => deviating.use(id),
  );
  if (place.event === EventCode.C_BAD_STREAMID && (setup.cr2 & 2) === 0 && !deviating.use('bad-streamid-always')) {
    throw silent();
  }
  if (place.event !== 0) throw configFault(place.event, place.ste);
  const ste = wordsAt(context, place.ste);
  if (ste === null) throw configFault(EventCode.F_STE_FETCH, place.ste);
  const config = steConfig(ste[0]!);
  if (config >= 6 && (!steS2Flag(ste[5]!, 51) || steS2Ps(ste[5]!) > 5)) deadly();
  if (steRefused(context, ste, deadly)) throw configFault(EventCode.C_BAD_STE);
  const none = { stage1: null, upper: null, stage2: null, root: null, because: new Set(context.because) };
  if (config < 4) return { ...none, kind: 'abort' };
  if (config === 4) return { ...none, kind: 'bypass' };
  const stage2 = config >= 6 ? stage2Of(ste, smmu) : null;
  if (config === 6) return { ...none, kind: 'translate', stage2 };
  const { cd, roots } = readContext(context, ste, stage2, deadly);
  const vmid = smmu.stage2 ? steS2Vmid(ste[4]!) : 0;
  const stage1 = stage1Of(cd, 0, vmid, smmu);
  const upper = stage1Of(cd, 1, vmid, smmu);
  const root = stage2 !== null && deviating.has('root-kept') ? roots[0]! : null;
  return { kind: 'translate', stage1, upper, stage2, root, because: new Set(context.because) };
}

/** Why an STE is ILLEGAL where QEMU takes it all the same, and how the entry looks without that. */
const ACCEPTED: readonly { reason: RegExp; id: DeviationId; without(ste: Int32Array): void }[] = [
  {
    reason: /S1ContextPtr/,
    id: 'ste-checks-missing',
    without: (ste) => {
      ste[1]! &= 0xff000000;
    },
  },
  {
    reason: /S2HA|S2HD/,
    id: 's2-updates-accepted',
    without: (ste) => {
      ste[5]! &= ~(3 << 23);
    },
  },
  {
    reason: /S2SL0/,
    id: 's2-start-early',
    without: (ste) => {
      ste[5] = (ste[5]! & ~63) | (steS2T0sz(ste[5]!) + startBits(ste).bits - 1);
    },
  },
];

/** Is the STE refused, by the architecture or by QEMU? */
function steRefused({ smmu, deviating }: ConfigContext, ste: Int32Array, deadly: () => void): boolean {
  const config = steConfig(ste[0]!);
  const rest = Int32Array.from(ste);
  for (let reason = steIllegal(rest, 0, smmu); reason !== null; reason = steIllegal(rest, 0, smmu)) {
    const row = ACCEPTED.find((other) => other.reason.test(reason!));
    if (row === undefined || (row.id === 's2-start-early' && startsTooLate(ste))) return true;
    if (row.id === 's2-start-early' && startsFarTooEarly(ste)) deadly();
    if (!deviating.use(row.id)) return true;
    row.without(rest);
  }
  if (config >= 5 && smmu.ssidBits === 0 && steS1CdMax(ste[1]!) !== 0) {
    if (deviating.use(config === 6 ? 's1-fields-judged' : 's1cdmax-rejected')) return true;
  }
  if (config === 6 && (ste[2]! & 0x08000000) !== 0 && deviating.use('s1-fields-judged')) return true;
  if (config < 6) return false;
  const narrow = SIZE_BITS[steS2Ps(ste[5]!)]! < 64 - steS2T0sz(ste[5]!);
  return narrow && deviating.use('s2ps-limits-input');
}

/** Bits that the tables of the start level resolve, of 16 at most; negative where the level has more than the input. */
function startBits(ste: Int32Array): { readonly bits: number; readonly most: number } {
  const stage = stage2Of(ste, { oasBits: 48 } as SmmuCapabilities);
  const stride = stage.granuleBits - 3;
  return { bits: stage.inputBits - stage.granuleBits - (3 - stage.startLevel) * stride, most: stride + 4 };
}

function startsTooLate(ste: Int32Array): boolean {
  const { bits, most } = startBits(ste);
  return ((ste[5]! >>> 6) & 3) === 3 || bits > most;
}

/** QEMU's sizes of such a table are shifts by negative numbers. */
function startsFarTooEarly(ste: Int32Array): boolean {
  return startBits(ste).bits < -3;
}

/** The CD, and the roots of its halves where QEMU translates them with it (else null). @throws Refused */
function readContext(
  context: ConfigContext,
  ste: Int32Array,
  stage2: Stage | null,
  deadly: () => void,
): { readonly cd: Int32Array; readonly roots: readonly (number | null)[] } {
  const { smmu, deviating } = context;
  const pointer = steS1ContextPtr(ste[1]!, ste[0]!);
  let at = pointer;
  if (stage2 !== null) {
    // Such a pointer is no input of stage 2; that fault would be the CD's to record, which is not there yet.
    if (pointer >= 2 ** smmu.oasBits) throw silent();
    at = decoding(context, () => context.second(stage2, pointer, FaultClass.CD));
  }
  const cd = wordsAt(context, at);
  if (cd === null) {
    const { use } = deviating;
    throw use('cd-fetch-address')
      ? new Refused({ event: EventCode.F_CD_FETCH, recorded: true, input: at })
      : configFault(EventCode.F_CD_FETCH, at);
  }
  if (cdIps(cd[1]!) > 5) deadly();
  const reason = cdIllegal(cd, 0, ste, 0, smmu);
  const illegal = configFault(EventCode.C_BAD_CD);
  const ofHalf1 = reason !== null && /TG1|T1SZ|TTB1/.test(reason);
  if (reason !== null && !ofHalf1) throw illegal;
  const roots: (number | null)[] = [null, null];
  for (const half of [0, 1]) {
    if (half === 1 && reason !== null) throw illegal;
    if (stage2 === null || !deviating.has('ttb-early') || cdFlag(cd[1]!, cd[0]!, half === 0 ? 14 : 30)) continue;
    const ttb = cdTtb(cd[2 * half + 3]!, cd[2 * half + 2]!);
    try {
      roots[half] = decoding(context, () => context.second(stage2, ttb, FaultClass.TTD));
    } catch (error) {
      // In time, the access would have met the same fault where the table is one page of the half that it goes to.
      if (half === 1 || reason !== null || !reaches(cd, context.iova)) deviating.use('ttb-early');
      throw error;
    }
  }
  return { cd, roots };
}

/** Does a walk of half 0 for this address begin in the page of TTB0? */
function reaches(cd: Int32Array, iova: number): boolean {
  return iova < 2 ** (64 - cdT0sz(cd[0]!)) && cdGranuleBits0(cd[0]!) === 12;
}

/** Runs a translation that belongs to reading the configuration: QEMU takes the access for a read then. */
function decoding<T>({ deviating, write }: ConfigContext, run: () => T): T {
  try {
    return run();
  } catch (error) {
    if (!(error instanceof Refused) || !write || !deviating.use('decode-reads')) throw error;
    throw new Refused({ ...error.fault, saysRead: true });
  }
}

function wordsAt(context: ConfigContext, address: number): Int32Array | null {
  const words = new Int32Array(16);
  for (let i = 0; i < 8; i++) {
    const word = context.read(address + 8 * i);
    if (word === null) return null;
    words[2 * i] = word.lo;
    words[2 * i + 1] = word.hi;
  }
  return words;
}
