/**
 * Bad input: one table of cases against every entry point of every profile, with all oracles, on a machine where
 * nothing has happened yet and on one where much has. Never an exception, never a hang, and (the oracles' part) no
 * change on failure but what the tables allow.
 */

import { expect, test } from 'vitest';
import { createHypervisor as createStepped } from '#hyp';
import { type CallSpec, type Profile, profiles, setBig } from '#hypercall-abi';
import { Session } from '#lab/session/session';
import { type Machine, type MachineDescription, type Steps, type Touch, tiny, twoSmmus } from '#machine';
import { badAddresses, badFrames, unknownIds } from './bad-input.ts';

const WIDTHS = [1, 2, 4, 8] as const;

/** Pauses that no single call comes to: a map of all RAM by pages stays below. */
const PAUSES_MAX = 2_000_000;

/** The build that pauses, run to its end, which must come. */
function bounded<T>(steps: Steps<T>): T {
  const iterator = steps as Iterator<Touch, T>;
  for (let i = 0; i < PAUSES_MAX; i++) {
    const { done, value } = iterator.next();
    if (done) return value;
  }
  throw new Error(`does not end after ${PAUSES_MAX} pauses`);
}

function steppedHypervisor(machine: Machine, profile?: Profile) {
  const stepped = createStepped(machine, profile);
  return {
    identity: stepped.identity,
    profile: stepped.profile,
    boot: (parameters: Parameters<typeof stepped.boot>[0]) => bounded(stepped.boot(parameters)),
    hvc: (cpu: number, x: Int32Array) => bounded(stepped.hvc(cpu, x)),
    abort: (...access: Parameters<typeof stepped.abort>) => bounded(stepped.abort(...access)),
  };
}

interface Rig {
  readonly session: Session;
  readonly say: () => string;
}

function rig(machine: MachineDescription, profile: Profile, stepped: boolean): Rig {
  const hypervisor = stepped ? { hypervisor: steppedHypervisor } : {};
  const session = new Session({ machine, profile, full: 'never', ...hypervisor });
  return {
    session,
    say: () =>
      session
        .violations()
        .map(({ property, rule, text }) => `${property}/${rule}: ${text}`)
        .join('\n'),
  };
}

/** Much has happened: a domain with a stream and mappings, pages in both pools. */
function furnish({ session }: Rig): void {
  const { driver, hostMemory } = session;
  const domain = driver.allocDomain(0, 1);
  driver.attach(0, domain, session.machine.description.devices[0]!.sid);
  for (const iova of [0, 0x200000, 2 ** 39]) driver.map(domain, iova, hostMemory.alloc(), 4096, 1, 3);
}

function cross({ session }: Rig, cpu: number, frame: readonly bigint[]): void {
  const x = session.boundary.registers(cpu);
  for (let n = 0; n < 8; n++) setBig(x, n, frame[n] ?? 0n);
  session.boundary.hvc(cpu);
}

const entries = profiles.flatMap((profile) =>
  profile.calls.map((spec) => ({ profile, spec, name: `${profile.name} ${spec.name}` })),
);

function sweepCall(
  profile: Profile,
  spec: CallSpec,
  machine: MachineDescription,
  stepped: boolean,
  furnished: boolean,
): void {
  const made = rig(machine, profile, stepped);
  if (furnished) furnish(made);
  // Afterwards each frame meets what the ones before have left.
  for (const frame of badFrames(spec, machine)) {
    cross(made, 0, frame);
    if (made.session.violationCount() !== 0) break;
  }
  made.session.oracle?.checkAll();
  expect(made.say()).toBe('');
}

test.each(entries)('$name, nothing set up', ({ profile, spec }) => {
  sweepCall(profile, spec, tiny, false, false);
});

test.each(entries)('$name, domains and mappings set up', ({ profile, spec }) => {
  sweepCall(profile, spec, twoSmmus, false, true);
});

test.each(entries)('$name, in the build that pauses', ({ profile, spec }) => {
  sweepCall(profile, spec, tiny, true, true);
});

test.each(profiles)('$name: function ids that are no call, and all registers at one edge', (profile) => {
  for (const stepped of [false, true]) {
    const made = rig(tiny, profile, stepped);
    for (const id of unknownIds(profile)) {
      for (const rest of [0n, 2n ** 64n - 1n]) cross(made, 1, [id, rest, rest, rest, rest, rest, rest, rest]);
    }
    made.session.oracle?.checkAll();
    expect(made.say()).toBe('');
  }
});

test.each([tiny, twoSmmus])('aborts and register accesses at extreme addresses, machine $name', (machine) => {
  for (const profile of profiles) {
    for (const stepped of [false, true]) {
      const made = rig(machine, profile, stepped);
      const { oracle, boundary } = made.session;
      for (const ipa of badAddresses(machine)) {
        for (const width of WIDTHS) {
          const at = ipa - (ipa % width);
          for (const write of [false, true]) oracle!.abort(0, at, write, width, -1);
          try {
            boundary.read(0, at, width);
            boundary.write(1, at, width, -1, -1);
          } catch (error) {
            // Where stage 2 maps what the bus does not have, the CPU's access itself fails; the hypervisor has no part in it.
            expect((error as Error).name, `${width} bytes at 0x${at.toString(16)}`).toBe('BusError');
          }
        }
      }
      oracle!.checkAll();
      expect(made.say()).toBe('');
    }
  }
});
