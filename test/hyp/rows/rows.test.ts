/**
 * The registry of rows: of each profile every row of the call specification, shortages included, has a test of that name
 * in which it decides the last call. A row without a way, or a way without a row, fails.
 */

import { describe, expect, test } from 'vitest';
import { type Profile, type ProfileName, profiles } from '#hypercall-abi';
import { type CheckedHypervisor, specificationOf } from '#lab/oracle/index';
import { ENTRY_ROWS, type EntryRow } from '#lab/oracle/spec/index';
import { type MachineDescription, tiny } from '#machine';
import { makeRig, tell } from '../../lab/oracle-rig.ts';
import { android16Ways } from './android16.ts';
import { domainWays } from './android17-domains.ts';
import { memoryWays } from './android17-memory.ts';
import { entryWays } from './entries.ts';
import { guestWays } from './guests.ts';
import { machine as olderMachine } from './older-rig.ts';
import { machine as firstMachine, rfcV1Ways } from './rfc-v1.ts';
import { rfcV2Ways } from './rfc-v2.ts';
import type { Ways } from './way.ts';

/** Ways of each profile, and the machine of those that name none. */
const registry: Readonly<Record<ProfileName, { readonly machine: MachineDescription; readonly ways: Ways }>> = {
  android17: { machine: tiny, ways: { ...memoryWays, ...domainWays, ...guestWays } },
  android16: { machine: olderMachine, ways: android16Ways },
  'rfc-v2': { machine: olderMachine, ways: rfcV2Ways },
  'rfc-v1': { machine: firstMachine, ways: rfcV1Ways },
};

const isEntry = (id: string): id is EntryRow => (ENTRY_ROWS as readonly string[]).includes(id);

/** Id of the row that decided last. */
function decided(profile: Profile, { lastRow }: CheckedHypervisor): string | undefined {
  return specificationOf(profile).rows.find(({ index }) => index === lastRow)?.id;
}

function hits(oracle: CheckedHypervisor, id: string): number {
  return oracle.rows().find((row) => row.id === id)?.hits ?? 0;
}

describe.each(profiles)('$name', (profile) => {
  const { machine, ways } = registry[profile.name];
  const ids = specificationOf(profile).rows.map(({ id }) => id);

  test.each(ids.filter(isEntry).map((id) => [`${profile.name} ${id}`, id] as const))('%s', (_, id) => {
    const oracle = entryWays[id](profile);
    expect(hits(oracle, id)).toBeGreaterThan(0);
    expect(tell(oracle.findings)).toBe('');
  });

  const calls = ids.filter((id) => !isEntry(id) && id in ways);
  test.each(calls.map((id) => [`${profile.name} ${id}`, id] as const))('%s', (_, id) => {
    const way = ways[id]!;
    const { run, ...own } = typeof way === 'function' ? { run: way } : way;
    const rig = makeRig({ machine, profile, full: 'never', ...own });
    run(rig);
    expect(decided(profile, rig.oracle)).toBe(id);
    rig.oracle.checkAll();
    expect(tell(rig.oracle.findings)).toBe('');
    expect(rig.session.boundary.violations).toEqual([]);
  });

  test(`${profile.name}: every row has its way, and every way its row`, () => {
    expect(Object.keys(ways).sort()).toEqual(ids.filter((id) => !isEntry(id)).sort());
  });
});
