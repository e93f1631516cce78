/**
 * The event queue of a capture: each record is decoded, and its access is put once more to the frozen tables, by the
 * SMMU model and by the oracle's walker. The record that the model writes must be the captured one, bit for bit, but
 * for two things that emulators leave undone; these are named and counted.
 */
import type { Smmu } from '#machine';
import type { Fixture } from '../../fixture/fixture.ts';
import { decodeEvent } from '../../oracle/decode/event.ts';
import { hex64 } from '../../oracle/decode/fields.ts';
import type { WalkSource } from '../../walk/source.ts';
import { presentStreams } from '../../walk/stream.ts';
import { walkAccess } from '../../walk/walk.ts';
import type { Note } from '../report.ts';
import type { Tally } from '../tally.ts';

/** CLASS, in the upper half of word 1. */
const CLASS = 3 << 8;
const RNW = 1 << 3;
/** Bits of the IPA field, word 3, that are below it. */
const BELOW_IPA = 0xfff;

/** What emulators are known to leave undone, as often as it was seen. */
export interface EventDeviations {
  /** CLASS is 0 although the access itself faulted. */
  classLeftOut: number;
  /** Word 3 has the offset inside the page, where the field begins at bit 12. */
  offsetInIpa: number;
}

/** Compares every event record. */
export function checkEvents(fixture: Fixture, source: WalkSource, smmu: Smmu, tally: Tally): EventDeviations {
  const deviations: EventDeviations = { classLeftOut: 0, offsetInIpa: 0 };
  const present = new Set(presentStreams(source));
  for (const [i, words] of fixture.events.entries()) {
    const event = decodeEvent(words);
    const where = `evtq[${i}], ${event.name}, stream 0x${event.sid.toString(16)}`;
    tally.check('events decoded', where, 'number of a known event', true, event.known);
    const { inputAddress } = event;
    if (!event.known || inputAddress === null || !present.has(event.sid)) continue;
    rederive(words, event.sid, inputAddress, where, source, smmu, tally, deviations);
  }
  return deviations;
}

function rederive(
  words: Int32Array,
  sid: number,
  iova: number,
  where: string,
  source: WalkSource,
  smmu: Smmu,
  tally: Tally,
  deviations: EventDeviations,
): void {
  const write = (words[3]! & RNW) === 0;
  const { event } = smmu.transact(sid, iova, write);
  tally.begin('events by the SMMU model', where);
  if (event === null) tally.differs('outcome', 'an event', 'none');
  else {
    const expected = tolerated(words, event.words, deviations);
    for (let word = 0; word < 4; word++) {
      const [at, up] = [2 * word, 2 * word + 1];
      tally.same(`word ${word}`, hex64(expected[up]!, expected[at]!), hex64(event.words[up]!, event.words[at]!));
    }
    tally.same('is recorded', true, event.recorded);
  }
  tally.end();
  const { outcome } = walkAccess(source, sid, iova, write);
  tally.begin('events by the oracle’s walker', where);
  if (outcome.kind !== 'fault') tally.differs('outcome', 'a fault', outcome.kind);
  else {
    tally.same('number', words[0]! & 0xff, outcome.code);
    tally.same('stage 2', (words[3]! & 0x80) !== 0, outcome.stage === 2);
    tally.same('is recorded', true, outcome.recorded);
  }
  tally.end();
}

/** The captured record with what is known to be left undone filled in from ours. */
function tolerated(words: Int32Array, ours: Int32Array, deviations: EventDeviations): Int32Array {
  const expected = words.slice(0, 8);
  if ((words[3]! & CLASS) === 0 && (ours[3]! & CLASS) !== 0) {
    expected[3] = words[3]! | (ours[3]! & CLASS);
    deviations.classLeftOut++;
  }
  if (words[6] !== ours[6] && (words[6]! & BELOW_IPA) === (words[4]! & BELOW_IPA)) {
    expected[6] = words[6]! & ~BELOW_IPA;
    deviations.offsetInIpa++;
  }
  return expected;
}

/** The deviations in words. */
export function deviationNotes({ classLeftOut, offsetInIpa }: EventDeviations): Note[] {
  const notes: Note[] = [];
  if (classLeftOut > 0) notes.push({ name: 'deviation', text: `CLASS left 0 in ${classLeftOut} events (QEMU 7.2)` });
  if (offsetInIpa > 0) {
    notes.push({ name: 'deviation', text: `offset inside the page left in the IPA of ${offsetInIpa} events (QEMU)` });
  }
  return notes;
}
