/**
 * Explains one access over a machine that runs: the walk of what memory says now, everything else that could happen by
 * what caches may still hold, the entries behind that, and the commands that are missing. The walk is by the literal
 * decoder, what caches hold by the machine.
 */
import { type Machine, type Outcome, type StaleEntry, streamsOf } from '#machine';
import { machineSource } from '../replay/live.ts';
import { heldSentence, missingCommands } from './held.ts';
import type { Walk } from './result.ts';
import { walkAccess } from './walk.ts';

/** Something that may be held, and matters to the access. */
export interface HeldEntry {
  readonly id: number;
  readonly kind: StaleEntry['kind'];
  readonly text: string;
  /** An invalidation covers it; it waits for the SYNC. */
  readonly pending: boolean;
  /** Commands after which it is gone, in order. */
  readonly missing: readonly string[];
  /** The access may end elsewhere because of it. */
  readonly decides: boolean;
}

/** One thing that may happen to the access. */
export interface PossibleOutcome {
  /** Physical address that it reaches; null when it does not go through. */
  readonly pa: number | null;
  /** What that address is called. */
  readonly place: string | null;
  /** Name of the fault; null for none, and for a silent abort. */
  readonly fault: string | null;
  /** The cached things that lead there, as the machine names them; empty for what the tables say. */
  readonly via: string;
}

export interface ModelWalk {
  /** Name of the device, or of the stream. */
  readonly device: string;
  readonly walk: Walk;
  /** The first is what the tables say now. */
  readonly outcomes: readonly PossibleOutcome[];
  /** What may be held and covers this access. */
  readonly held: readonly HeldEntry[];
  /** How many other entries may be held, which this access cannot use. */
  readonly elsewhere: number;
}

/** The access that is asked about. */
export interface ModelAccess {
  /** Index of the SMMU among those of the machine. */
  readonly smmu: number;
  readonly sid: number;
  readonly iova: number;
  readonly write: boolean;
}

const VIA_ENTRY = /(?:leaf|table|ste|cd|l1cd|l1std|strtab|tag):(\d+)/g;

/** Explain an access. Changes nothing. @param placeOf what a physical address is called */
export function explainAccess(machine: Machine, access: ModelAccess, placeOf: (pa: number) => string): ModelWalk {
  const { sid, iova, write } = access;
  const smmu = machine.smmus[access.smmu]!;
  const walk = walkAccess(machineSource(machine, access.smmu), sid, iova, write);
  const possible = smmu.possible(sid, iova, write);
  const deciding = new Set(possible.flatMap(({ via }) => [...via.matchAll(VIA_ENTRY)].map(([, id]) => Number(id))));
  const stale = smmu.stale();
  const nested = walk.steps.some(({ beneath }) => beneath !== null);
  const held = stale.filter((entry) => deciding.has(entry.id) || covers(entry, walk));
  const device = machine.description.devices.find((each) =>
    streamsOf(each).some((stream) => stream.sid === sid && stream.smmu === smmu.description.name),
  )?.name;
  return {
    device: device ?? `stream ${sid}`,
    walk,
    outcomes: possible.map((outcome) => outcomeOf(outcome, placeOf)),
    held: held.map((entry) => ({
      id: entry.id,
      kind: entry.kind,
      text: heldSentence(entry, entry.kind === 'leaf' ? placeOf(targetOf(entry, iova)) : null),
      pending: entry.pending,
      missing: missingCommands(entry, nested),
      decides: deciding.has(entry.id),
    })),
    elsewhere: stale.length - held.length,
  };
}

function outcomeOf({ ok, pa, event, via }: Outcome, placeOf: (pa: number) => string): PossibleOutcome {
  return { pa: ok ? pa : null, place: ok ? placeOf(pa) : null, fault: event === null ? null : event.name, via };
}

/** Where an old leaf leads an access at `iova`; its first byte for another address. */
function targetOf({ oldHi, oldLo, iova: from, size }: StaleEntry, iova: number): number {
  const base = (oldHi & 0xffff) * 2 ** 32 + ((oldLo & 0xfffff000) >>> 0);
  return iova >= from && iova < from + size ? base + (iova - from) : base;
}

/** Whether an entry speaks of this access's stream or address. */
function covers({ kind, stage, sid, iova, size }: StaleEntry, { registers, ...walk }: Walk): boolean {
  switch (kind) {
    case 'leaf':
    case 'table': {
      // Under a nested stage 1, stage 2 is asked for the IPAs on the way.
      const ipas = walk.steps.flatMap(({ beneath }) => (beneath === null ? [] : beneath.ipa));
      const asked = stage === 2 && ipas.length > 0 ? ipas : [walk.iova];
      return asked.some((address) => address >= iova && address < iova + size);
    }
    case 'ste':
    case 'cd':
    case 'l1cd':
      return sid === walk.sid;
    case 'l1std':
      return walk.sid >= sid && walk.sid < sid + 2 ** registers.split;
    case 'tag':
      return false;
    case 'strtab':
      return true;
  }
}
