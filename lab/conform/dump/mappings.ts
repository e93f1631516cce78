/**
 * Every mapping that a capture's log says is there, looked up twice: by the oracle's literal walker and by the model of
 * the SMMU. Address, size, permissions and descriptor must be the log's; and no stream may have a leaf that the log
 * does not know.
 */
import type { Smmu } from '#machine';
import type { ExpectedMapping, Fixture } from '../../fixture/fixture.ts';
import { hex64 } from '../../oracle/decode/fields.ts';
import { SteConfig, steConfig } from '../../oracle/decode/ste.ts';
import { leavesOf } from '../../walk/leaves.ts';
import type { WalkSource } from '../../walk/source.ts';
import { presentStreams } from '../../walk/stream.ts';
import { walkAccess } from '../../walk/walk.ts';
import type { Tally } from '../tally.ts';
import { step, type Watch } from '../watch.ts';

const READ = 1;
const WRITE = 2;
const NOEXEC = 8;
const WORD = 4;

/** What a device may do with a mapping. */
interface Rights {
  readonly read: boolean;
  readonly write: boolean;
}

/**
 * What the driver's protection comes to: stage 1 cannot forbid reads, so WRITE alone is read and write there. Null when
 * the log does not tell.
 */
function rightsOf(prot: number | null, stage: 1 | 2): Rights | null {
  if (prot === null) return null;
  const write = (prot & WRITE) !== 0;
  return { write, read: (prot & READ) !== 0 || (stage === 1 && write) };
}

/** Compares all mappings of a fixture; true when it was stopped early. */
export async function checkMappings(
  fixture: Fixture,
  source: WalkSource,
  smmu: Smmu,
  tally: Tally,
  watch: Watch,
): Promise<boolean> {
  const { expected } = fixture;
  for (const [i, mapping] of expected.entries()) {
    if (i % 256 === 0 && (await step(watch, i, expected.length))) return true;
    checkOracle(source, mapping, i, tally);
    checkModel(source, smmu, mapping, i, tally);
  }
  checkNothingElse(fixture, source, tally);
  checkStreams(fixture, source, tally);
  return false;
}

function checkOracle(source: WalkSource, mapping: ExpectedMapping, i: number, tally: Tally): void {
  const { sid, iova, pa, size, prot, pte } = mapping;
  tally.begin('mappings by the oracle’s walker', place(mapping, i));
  const walk = walkAccess(source, sid, iova, mustWrite(pte));
  const { outcome } = walk;
  if (outcome.kind !== 'translated') {
    tally.differs('outcome', `translation to ${hex(pa)}`, outcome.kind === 'fault' ? outcome.event : outcome.kind);
  } else {
    tally.same('physical address', hex(pa), hex(outcome.pa));
    tally.same('size', size, outcome.size);
    if (pte !== null)
      tally.same('descriptor', hex64(pte.hi, pte.lo), hex64(outcome.leaf.value.hi, outcome.leaf.value.lo));
    const stage = walk.steps.at(-1)?.stage ?? 1;
    const rights = rightsOf(prot, stage);
    const { read, write, execute } = outcome.permissions;
    if (rights !== null) {
      tally.same('permissions', rights, { read, write });
      tally.same('executable', (prot! & NOEXEC) === 0, execute);
    }
    const last = walkAccess(source, sid, iova + size - WORD, mustWrite(pte)).outcome;
    tally.same('address of the last word', hex(pa + size - WORD), 'pa' in last ? hex(last.pa) : last.kind);
  }
  tally.end();
}

function checkModel(source: WalkSource, smmu: Smmu, mapping: ExpectedMapping, i: number, tally: Tally): void {
  const { sid, iova, pa, size, prot, pte } = mapping;
  tally.begin('mappings by the SMMU model', place(mapping, i));
  const { ok, descriptors, leafSize, stage, fault, pa: at } = smmu.explain(sid, iova, mustWrite(pte));
  tally.same('outcome', 'a translation', ok ? 'a translation' : fault || 'an abort without an event');
  if (ok) {
    const leaf = descriptors.at(-1);
    tally.same('physical address', hex(pa), hex(at));
    tally.same('size', size, leafSize);
    if (pte !== null) tally.same('descriptor', hex64(pte.hi, pte.lo), hex64(leaf?.hi ?? 0, leaf?.lo ?? 0));
    const may = (write: boolean): boolean => smmu.translate(sid, iova, write).ok;
    const got = { read: may(false), write: may(true) };
    const rights = rightsOf(prot, stage === 2 ? 2 : 1);
    if (rights !== null) tally.same('permissions', rights, got);
    const last = smmu.translate(sid, iova + size - WORD, mustWrite(pte));
    tally.same(
      'address of the last word',
      hex(pa + size - WORD),
      last.ok ? hex(last.pa) : `fault 0x${last.fault.toString(16)}`,
    );
    // The two agree with each other where the log is silent, too.
    const oracle = walkAccess(source, sid, iova, mustWrite(pte)).outcome;
    if (oracle.kind === 'translated') {
      const { read, write } = oracle.permissions;
      tally.same('permissions, as the oracle sees them', { read, write }, got);
    }
  }
  tally.end();
}

/** A leaf in the tables that no mapping of the log accounts for. */
function checkNothingElse({ expected }: Fixture, source: WalkSource, tally: Tally): void {
  const known = new Set(expected.map(({ sid, iova }) => `${sid}:${iova}`));
  for (const sid of presentStreams(source)) {
    const leaves = leavesOf(source, sid);
    tally.begin('streams without further mappings', `stream ${hex(sid)}`);
    for (const { iova, pa } of leaves) {
      if (!known.has(`${sid}:${iova}`)) tally.differs(`IOVA ${hex(iova)}`, 'no mapping', `a mapping to ${hex(pa)}`);
    }
    tally.end();
  }
}

/** The streams that the capture's own walker saw. */
function checkStreams({ streams }: Fixture, source: WalkSource, tally: Tally): void {
  const present = presentStreams(source);
  for (const { sid, config, table } of streams) {
    tally.begin('streams', `stream ${hex(sid)}`);
    tally.same('is there', true, present.includes(sid));
    const ste = walkAccess(source, sid, 0).steps.find(({ kind }) => kind === 'ste');
    const lo = ste?.words[0]?.lo ?? 0;
    tally.same('STE.Config', config, steConfig(lo));
    const first =
      config === SteConfig.stage2
        ? ste?.words[3]
        : walkAccess(source, sid, 0).steps.find(({ kind }) => kind === 'cd')?.words[1];
    if (table !== null && first !== undefined) {
      tally.same('first table', hex(table), hex((first.hi & 0xfffff) * 2 ** 32 + ((first.lo & ~15) >>> 0)));
    }
    tally.end();
  }
}

/** A stage-2 leaf that only allows writes (S2AP 2) is reached by a write; bit 6 of a stage-1 leaf is always set here. */
function mustWrite(pte: ExpectedMapping['pte']): boolean {
  return pte !== null && (pte.lo & 0x40) === 0;
}

function place({ sid, iova }: ExpectedMapping, i: number): () => string {
  return () => `expected[${i}], stream ${hex(sid)}, IOVA ${hex(iova)}`;
}

function hex(value: number): string {
  return `0x${value.toString(16)}`;
}
