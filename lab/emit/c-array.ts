/**
 * A scenario as a C array of what a kernel would do: register frames with the results that are expected, and accesses to
 * memory in between. For a kernel selftest, or a proxy in front of a real hypervisor. Plain C99, without headers of others.
 */
import { decodeFunction, formatCall, formatGuestCall, hexRegister, VmDescription } from '#hypercall-abi';
import { recordScenario } from '../narrator/record.ts';
import { hasSchedule, profileOf, type Scenario } from '../scenario/index.ts';
import type { HypervisorFactory } from '../session/session.ts';
import { type Crossing, logged } from './frames.ts';

interface Entry {
  readonly kind:
    | 'POSTERN_HVC'
    | 'POSTERN_GUEST_HVC'
    | 'POSTERN_WRITE32'
    | 'POSTERN_WRITE64'
    | 'POSTERN_READ32'
    | 'POSTERN_NOTE';
  readonly cpu: number;
  readonly x: readonly string[];
  readonly result: readonly string[];
  /** Bit n: x[n] of the result is to be compared. */
  readonly mask: number;
  readonly text: string;
}

/** Registers that hold results. */
const RESULTS = 4;

/**
 * Run the scenario and write down what crossed.
 * @throws RangeError for schedule points, which an array of whole calls cannot say
 */
export function cArray(scenario: Scenario, hypervisor: HypervisorFactory): string {
  if (hasSchedule(scenario.steps))
    throw new RangeError('a C array cannot say schedule points: its calls run to their end');
  const log: Crossing[] = [];
  const entries: Entry[] = [];
  recordScenario(scenario, logged(hypervisor, log), {
    each: ({ step, outcome, text, executor }) => {
      const crossings = log.splice(0);
      for (const crossing of crossings) {
        // What a topup writes before it calls; for a refill as such, those are steps of the scenario.
        for (const link of step.kind === 'topup' ? crossing.links : [])
          entries.push(linkEntry(crossing.cpu, link, text));
        entries.push(crossingEntry(crossing, scenario, text));
      }
      if (crossings.length > 0) return;
      const cpu = 'cpu' in step ? step.cpu : 0;
      if ((step.kind === 'write' || step.kind === 'read') && step.width === undefined) {
        const at = Number(executor.names.resolve(step.at, 'pa'));
        const value = step.kind === 'write' ? Number(executor.names.resolve(step.value, 'flags')) : 0;
        const read = outcome.kind === 'read' && typeof outcome.read === 'number' ? outcome.read : null;
        const isThrough = outcome.kind === 'write' ? outcome.access === 'ok' : read !== null;
        entries.push({
          kind: step.kind === 'write' ? 'POSTERN_WRITE32' : 'POSTERN_READ32',
          cpu,
          x: [hex(at), hex(value)],
          result: [isThrough ? '0' : '1', hex(read ?? 0)],
          mask: read === null ? 1 : 3,
          text,
        });
        return;
      }
      if (step.kind === 'describe') {
        const at = Number(executor.names.resolve(step.at, 'pa'));
        const values = [
          [VmDescription.handle, executor.names.resolve(step.vm, 'handle')],
          [VmDescription.protected, executor.names.resolve(step.isProtected, 'flags')],
          [VmDescription.vcpus, executor.names.resolve(step.vcpus, 'flags')],
        ] as const;
        for (const [offset, value] of values) {
          const x = [hex(at + offset), hex(Number(value))];
          entries.push({ kind: 'POSTERN_WRITE32', cpu, x, result: ['0'], mask: 1, text });
        }
        return;
      }
      entries.push({ kind: 'POSTERN_NOTE', cpu, x: [], result: [], mask: 0, text });
    },
  });
  return fileOf(scenario, entries);
}

function linkEntry(cpu: number, [pa, hi, lo]: Crossing['links'][number], text: string): Entry {
  const value = hex((hi >>> 0) * 2 ** 32 + (lo >>> 0));
  return { kind: 'POSTERN_WRITE64', cpu, x: [hex(pa), value], result: ['0'], mask: 1, text };
}

function crossingEntry({ cpu, isGuest, before, after }: Crossing, scenario: Scenario, text: string): Entry {
  const profile = profileOf(scenario);
  const spec = isGuest ? undefined : decodeFunction(before, profile);
  const call = isGuest ? formatGuestCall(before) : formatCall(before, profile);
  // A handle is the hypervisor's to choose.
  const results = isGuest || profile.request !== 'x2' ? RESULTS : RESULTS - 1;
  const mask = spec?.x1 === 'handleOrErrno' && after[3]! >= 0 ? 1 : 2 ** results - 1;
  return {
    kind: isGuest ? 'POSTERN_GUEST_HVC' : 'POSTERN_HVC',
    cpu,
    x: registers(before, 8),
    result: registers(after, RESULTS),
    mask,
    text: `${text} => ${call}`,
  };
}

function registers(x: Int32Array, count: number): string[] {
  return Array.from({ length: count }, (_, n) => `${hexRegister(x, n)}ULL`);
}

function hex(value: number): string {
  return `0x${value.toString(16)}ULL`;
}

function fileOf({ title = 'A scenario', profile, machine, hypervisor }: Scenario, entries: readonly Entry[]): string {
  const rows = entries.map(({ kind, cpu, x, result, mask, text }) => {
    const list = (values: readonly string[]): string => (values.length === 0 ? '{ 0 }' : `{ ${values.join(', ')} }`);
    return `\t{ ${kind}, ${cpu}, ${list(x)},\n\t  ${list(result)}, 0x${mask.toString(16)}, ${cString(text)} },`;
  });
  return `/*
 * ${comment(title)}
 *
 * Made by Postern from a scenario for profile ${profile} on machine ${machine}, hypervisor ${hypervisor}.
 * Perform the entries in order; where bit n of mask is set, result register n must hold what is given.
 * Addresses are those of the machine: RAM that the host owns, at the same places.
 */
#ifndef POSTERN_FRAMES_H
#define POSTERN_FRAMES_H

enum postern_kind {
\tPOSTERN_HVC,		/* x[0..7] are the host's registers; result[0..3] are x0..x3 afterwards */
\tPOSTERN_GUEST_HVC,	/* the same for the guest whose vCPU is loaded on that CPU */
\tPOSTERN_WRITE32,	/* store x[1] at x[0]; result[0] is 1 when the access aborts */
\tPOSTERN_WRITE64,	/* the same with 64 bits */
\tPOSTERN_READ32,		/* load from x[0]; result[0] as above, result[1] is what is read */
\tPOSTERN_NOTE		/* something that a CPU cannot do: an access of a device, in words */
};

struct postern_frame {
\tenum postern_kind kind;
\tunsigned int cpu;
\tunsigned long long x[8];
\tunsigned long long result[4];
\tunsigned int mask;
\tconst char *text;
};

static const struct postern_frame postern_frames[] = {
${rows.join('\n')}
};

enum { POSTERN_FRAME_COUNT = sizeof(postern_frames) / sizeof(postern_frames[0]) };

#endif
`;
}

function comment(text: string): string {
  return text.replaceAll('*/', '* /');
}

function cString(text: string): string {
  return `"${text.replace(/[\\"]/g, (letter) => `\\${letter}`).replace(/\?\?/g, '?\\?')}"`;
}
