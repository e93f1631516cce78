/**
 * Two implementations of the invalidation automaton, the oracle's and a plain one, on random runs: what they say that
 * hardware may still hold is the same after every step, for the hypervisor as it is and for ones that forget to
 * invalidate.
 */

import { expect, test } from 'vitest';
import { hypLayout } from '#hyp/layout';
import { createHypervisor } from '#hyp/plain';
import type { CallName } from '#hypercall-abi';
import { LEAF_PAGES } from '#lab/oracle/maplets';
import { T } from '#lab/oracle/node-store';
import { S, StaleKind } from '#lab/oracle/stale-set';
import { type HypervisorFactory, Session } from '#lab/session/session';
import { buildHypervisor } from '#lab/zoo/loader';
import { type MachineDescription, tiny } from '#machine';
import { Dice, PAGE, RandomHost, RW } from './oracle-rig.ts';
import { ReferenceAutomaton } from './reference-automaton.ts';

const smmu = tiny.smmus[0]!;
const machines: readonly MachineDescription[] = [
  tiny,
  { ...tiny, name: 'without ranges', smmus: [{ ...smmu, rangeInvalidation: false }] },
  { ...tiny, name: 'stage 2 alone', smmus: [{ ...smmu, stage1: false }] },
];

/** What the oracle's automaton says, in the words of the other. */
function mayHold(session: Session): string[] {
  const { stale, store, reach } = session.oracle!['monitor'];
  const found: string[] = [];
  for (let i = 0; i < stale.size; i++) {
    const at = stale.at(i);
    const tag = stale.word(at, S.tag);
    const kind = stale.kind(at);
    const sid = stale.word(at, S.sid);
    if (kind === StaleKind.ste) found.push(`ste ${sid} 0`);
    if (kind === StaleKind.cd) found.push(`cd ${sid} ${stale.word(at, S.iovaLo)}`);
    if (kind > StaleKind.table || reach.isIdentity(tag)) continue;
    const level = stale.level(at);
    const stage = store.tag(tag, T.stage);
    const name = `${stage}:${stage === 1 ? store.tag(tag, T.asid) : store.tag(tag, T.vmid)} L${level}`;
    const pages = LEAF_PAGES[level]!;
    if (kind === StaleKind.table) found.push(`table ${name} ${stale.iovaPage(at) * PAGE}`);
    for (let n = 0; kind === StaleKind.leaf && n < stale.word(at, S.count); n++) {
      const [iova, target] = [(stale.iovaPage(at) + n * pages) * PAGE, (stale.targetPage(at) + n * pages) * PAGE];
      found.push(`leaf ${name} ${iova} -> ${target}`);
    }
  }
  return [...new Set(found)].sort();
}

/** The other's words without what an entry other than a leaf leads to. */
function comparable(reference: ReferenceAutomaton): string[] {
  const said = reference.mayHold().map((text) => (text.startsWith('leaf') ? text : text.replace(/ ->.*/, '')));
  return [...new Set(said)].sort();
}

/** A host that attaches, maps and unmaps all the time, in few places: what may be cached comes and goes. */
function busyHost(session: Session, seed: number): () => void {
  const { boundary, hostMemory, machine } = session;
  const dice = new Dice(seed);
  const call = (name: CallName, ...args: readonly number[]): void => void boundary.call(0, name, ...args);
  const { stage1 } = machine.description.smmus[0]!;
  for (let i = 0; i < 6; i++) call('alloc_mgt_refill', 1, hostMemory.alloc(3) + 3, 1);
  const pages = Array.from({ length: 6 }, () => hostMemory.alloc());
  const block = hostMemory.alloc(9);
  const iova = (): number => dice.pick([0, 0x1fe000, 0x200000, 0x40000000 - 0x2000]) + PAGE * dice.below(4);
  return () => {
    const [domain, sid] = [1 + dice.below(3), dice.below(3)];
    const deeds: readonly (() => void)[] = [
      () => call('alloc_domain', 0, 0, domain, stage1 ? domain % 2 : 1),
      () => call('attach_dev', 0, domain, sid, 0, 0, 0),
      () => call('map_pages', domain, iova(), dice.pick(pages), PAGE, 1, RW),
      () => call('map_pages', domain, iova(), block, PAGE, 1 + dice.below(9), RW),
      () => call('map_pages', domain, 0x200000 * (1 + dice.below(2)), block, 0x200000, 1, RW),
      () => call('unmap_pages', domain, iova(), PAGE, 1 + dice.below(5)),
      () => call('unmap_pages', domain, 0x200000 * dice.below(3), 0x200000, 1),
      () => (dice.chance(40) ? call('detach_dev', 0, domain, sid, 0) : undefined),
      () => (dice.chance(60) ? call('free_domain', domain) : undefined),
    ];
    dice.pick(deeds)();
  };
}

/** Without the descriptors of streams whose own entry may be held: with it hardware may hold them all. */
function wholes(said: readonly string[]): string[] {
  return said.filter((text) => !text.startsWith('cd') || !said.includes(`ste ${text.split(' ')[1]} 0`));
}

const stepOf = (host: RandomHost) => () => host.step();

/** Run both on a random host. @returns where they first differ, and how many entries there were in all */
function race(
  machine: MachineDescription,
  hypervisor: HypervisorFactory,
  seed: number,
  steps: number,
  isBusy: boolean,
) {
  const session = new Session({ machine, hypervisor, full: 'never' });
  const { memory } = session.machine;
  memory.mark();
  const layout = hypLayout(machine);
  const { rangeInvalidation, oas } = machine.smmus[0]!;
  const reference = new ReferenceAutomaton(memory, layout, rangeInvalidation, oas);
  const step = isBusy ? busyHost(session, seed) : stepOf(new RandomHost(session, seed));
  let entries = 0;
  for (let i = 0; i < steps; i++) {
    reference.begin();
    step();
    reference.end();
    const [mine, others] = [wholes(mayHold(session)), wholes(comparable(reference))];
    entries += mine.length;
    // A table that goes while it may be cached holds something else soon, which only the oracle follows.
    const isOver = session.oracle!.findings.some(({ rule }) => rule === 'table-freed-early');
    const agrees = isOver ? others.every((text) => mine.includes(text)) : mine.join('\n') === others.join('\n');
    if (!agrees) return { step: i, mine, others, entries };
    if (isOver) break;
  }
  return { step: -1, mine: [], others: [], entries };
}

test.each(machines)('the hypervisor as it is leaves nothing, and both say so, machine $name', (machine) => {
  for (const isBusy of [true, false]) {
    const nothing = { step: -1, mine: [], others: [], entries: 0 };
    expect(race(machine, createHypervisor, 1, isBusy ? 150 : 100, isBusy)).toEqual(nothing);
  }
});

const edits: readonly (readonly [string, string, string, string, string])[] = [
  [
    'no SYNC',
    'hyp/smmu.ts',
    'syncCommands',
    '  const issued = yield* issueCommand(h, smmu, 0, CMD_SYNC | SYNC_SIGNAL_SEV, 0, 0);',
    '  const issued = 0;',
  ],
  [
    'no invalidation after an unmap',
    'hyp/page-table-ops.ts',
    'flushGather',
    '    const result = yield* invalidateRange(h, gather.start, gather.end - gather.start, gather.granule, true);',
    '    const result = 0;',
  ],
  [
    'the last page of a range is left out',
    'hyp/page-table-ops.ts',
    'flushGather',
    '    const result = yield* invalidateRange(h, gather.start, gather.end - gather.start, gather.granule, true);',
    [
      '    const all = gather.end - gather.start;',
      '    const size = all > gather.granule ? all - gather.granule : all;',
      '    const result = yield* invalidateRange(h, gather.start, size, gather.granule, true);',
    ].join('\n'),
  ],
  [
    'only leaves where tables were removed',
    'hyp/page-table-ops.ts',
    'flushWalk',
    '      if ((yield* invalidateRange(h, iova, size, granule, false)) !== 0) h.invalidated = false;',
    '      if ((yield* invalidateRange(h, iova, size, granule, true)) !== 0) h.invalidated = false;',
  ],
  [
    'no flush when a domain goes',
    'hyp/page-table-ops.ts',
    'flushAll',
    '      if ((yield* invalidateDomain(h)) !== 0) h.invalidated = false;',
    '',
  ],
  [
    'CFGI_STE of another stream',
    'hyp/smmu.ts',
    'syncSte',
    '  const issued = yield* issueCommand(h, smmu, sid, CMD_CFGI_STE, 0, leaf ? LEAF : 0);',
    '  const issued = yield* issueCommand(h, smmu, sid ^ 1, CMD_CFGI_STE, 0, leaf ? LEAF : 0);',
  ],
];

test.each(edits)('both say what is left: %s', (id, file, name, before, after) => {
  const { createHypervisor: broken } = buildHypervisor([{ id, edits: [{ file, function: name, before, after }] }]);
  let entries = 0;
  for (const machine of machines) {
    const result = race(machine, broken, 5, 220, true);
    expect({ ...result, entries: 0 }).toEqual({ step: -1, mine: [], others: [], entries: 0 });
    entries += result.entries;
  }
  expect(entries).toBeGreaterThan(0);
});
