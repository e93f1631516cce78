/**
 * What a log tells of invalidation: how many commands the driver submitted, and whether each unmap invalidates and
 * waits (strict) or freed addresses are flushed together, later (lazy).
 */
import { commandName, commandOpcode, isTlbInvalidation } from '../oracle/decode/command.ts';
import type { CommandListEvent, TraceEvent } from './event.ts';
import type { CommandStatistics } from './operation.ts';

/** Fewer reused addresses than this give no sign of the policy. */
const LEAST_REUSES = 32;
/** A strict allocator hands out a freed address again at once; a lazy one keeps it until its queue is flushed. */
const STRICT_DISTANCE = 8;

/** Sums up the command submissions; null when the log has none. */
export function commandStatistics(events: readonly TraceEvent[]): CommandStatistics | null {
  const byName = new Map<string, number>();
  let submissions = 0;
  let afterUnmap = 0;
  let commands = 0;
  let invalidations: number | null = 0;
  let syncs: number | null = 0;
  let previous: TraceEvent | undefined;
  for (const event of events) {
    if (event.kind === 'cmdlist') {
      submissions++;
      commands += event.count;
      if (previous?.kind === 'unmap' && previous.cpu === event.cpu && previous.pid === event.pid) afterUnmap++;
      if (event.sync === null) syncs = null;
      else if (syncs !== null && event.sync) syncs++;
      const opcodes = seenOpcodes(event);
      for (const opcode of opcodes) byName.set(commandName(opcode), (byName.get(commandName(opcode)) ?? 0) + 1);
      if (event.shifted) invalidations = null;
      else if (invalidations !== null) invalidations += opcodes.filter(isTlbInvalidation).length;
    }
    previous = event;
  }
  return submissions === 0 ? null : { submissions, afterUnmap, commands, invalidations, syncs, byName };
}

/** Opcodes of a submission. The probe sees two commands; the others of a list are like the second. */
function seenOpcodes({ count, shifted, first, second }: CommandListEvent): number[] {
  if (shifted || count === 0) return [];
  return Array.from({ length: count }, (_, i) => commandOpcode(i === 0 ? first[0] : second[0]));
}

/** Strict or lazy: by the commands where probes show them, else by how soon a freed address is used again. */
export function invalidationPolicy(
  events: readonly TraceEvent[],
  commands: CommandStatistics | null,
): 'strict' | 'lazy' | null {
  let unmaps = 0;
  const freed = new Map<number, number>();
  const distances: number[] = [];
  for (const event of events) {
    if (event.kind === 'unmap') freed.set(event.iova, ++unmaps);
    if (event.kind !== 'map') continue;
    const when = freed.get(event.iova);
    if (when === undefined) continue;
    distances.push(unmaps - when);
    freed.delete(event.iova);
  }
  if (unmaps === 0) return null;
  if (commands !== null) return 2 * commands.afterUnmap > unmaps ? 'strict' : 'lazy';
  if (distances.length < LEAST_REUSES) return null;
  distances.sort((a, b) => a - b);
  return distances[distances.length >> 1]! <= STRICT_DISTANCE ? 'strict' : 'lazy';
}
