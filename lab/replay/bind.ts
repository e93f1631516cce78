/** What a fixture adds to a log: which streams use which translation root, and at which stage they translate. */
import type { Fixture } from '../fixture/fixture.ts';
import { type BoundTable, bindRoots } from '../trace/bind.ts';
import type { OperationLog } from '../trace/operation.ts';
import { leavesOf } from '../walk/leaves.ts';
import { walkSource } from '../walk/source.ts';

const IDR0_S1P = 2;

/** Stage at which Linux translates on that machine: 1 where the hardware has it. */
export function stageOf(fixture: Fixture): 1 | 2 {
  return ((fixture.registers.get('IDR0')?.lo ?? IDR0_S1P) & IDR0_S1P) !== 0 ? 1 : 2;
}

/** Streams of each root of the log, by root number; roots whose domain was gone at the end are absent. */
export function streamsOfRoots(log: OperationLog, fixture: Fixture): ReadonlyMap<number, readonly number[]> {
  const byTable = new Map<number, number[]>();
  for (const { sid, table } of fixture.streams) {
    if (table === null) continue;
    const sids = byTable.get(table);
    if (sids === undefined) byTable.set(table, [sid]);
    else sids.push(sid);
  }
  const tables: BoundTable[] = [...byTable].map(([table, sids]) => ({ table, sids }));
  const source = walkSource(fixture);
  const pages = new Map<number, Map<number, number>>();
  const holds = (sid: number, iova: number, pa: number): boolean => {
    let leaves = pages.get(sid);
    if (leaves === undefined) {
      leaves = new Map();
      for (const leaf of leavesOf(source, sid)) {
        for (let offset = 0; offset < leaf.size; offset += 4096) leaves.set(leaf.iova + offset, leaf.pa + offset);
      }
      pages.set(sid, leaves);
    }
    return leaves.get(iova) === pa;
  };
  return new Map([...bindRoots(log, tables, holds)].map(([root, { sids }]) => [root, sids]));
}
