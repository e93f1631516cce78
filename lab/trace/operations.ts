/**
 * From events to operations. With probes, their calls are the events and a stock event that sums them up is the same
 * event; stock maps before the first probe are boot-time ones. Without probes, stock events are all there is, and an
 * unmap is matched to a live mapping (see `extents.ts`).
 */
import { CallGroups } from './calls.ts';
import type { MapEvent, TraceEvent, UnmapEvent } from './event.ts';
import { ExtentMatcher } from './extents.ts';
import type { MapOperation, Operation, OperationLog, UnmapOperation } from './operation.ts';
import { commandStatistics, invalidationPolicy } from './policy.ts';
import { RootTable } from './roots.ts';

/** The operations of a trace, in the order in which they began. */
export function operationsOf(events: readonly TraceEvent[]): OperationLog {
  const slots: (Operation[] | null)[] = [];
  const roots = new RootTable();
  const calls = new CallGroups(slots);
  const matcher = new ExtentMatcher(() => roots.infer());
  const reaches = scatterLists(events);
  const domains = new Map<string, string>();
  const devices = new Set<string>();
  /** Has any probe spoken, and one that tells roots? */
  let armed = false;
  let probed = false;
  let bootMaps = 0;
  let previous: { reach: number; end: number; root: number } | null = null;

  const stockMap = (event: MapEvent, at: number): void => {
    const { iova, pa, size, line } = event;
    const reach = reaches[at]!;
    const preferred: number | null = previous?.end === iova && previous.reach === reach ? previous.root : null;
    const root = matcher.map(iova, pa, size, reach, preferred);
    previous = { reach, end: iova + size, root };
    slots.push([{ kind: 'map', root, iova, pa, size, prot: null, line }]);
    if (!armed) {
      bootMaps++;
      roots.addBoot(root, iova, size);
    }
  };
  const stockUnmap = ({ iova, unmapped, line }: UnmapEvent): void => {
    if (unmapped === 0) return;
    slots.push(matcher.unmap(iova, unmapped).map((piece) => ({ kind: 'unmap', ...piece, line })));
  };

  for (let at = 0; at < events.length; at++) {
    const event = events[at]!;
    switch (event.kind) {
      case 'pg_map': {
        armed = true;
        probed = true;
        const root = roots.named(event.ops, event.pgd);
        roots.maps(root, event.iova, event.iova + event.pageSize * event.count);
        calls.map(event, root);
        break;
      }
      case 'pg_unmap': {
        armed = true;
        probed = true;
        const root = roots.ofOps(event.ops);
        roots.unmaps(root, event.iova, event.iova + event.pageSize * event.count);
        calls.unmap(event, root);
        break;
      }
      case 'map':
        if (!calls.closeMap(event.iova, event.pa, event.size, event.cpu, event.pid)) stockMap(event, at);
        break;
      case 'unmap':
        if (!calls.closeUnmap(event.iova, event.size, event.unmapped, event.cpu, event.pid)) stockUnmap(event);
        break;
      case 'attach':
        armed = true;
        domains.set(event.device, event.domain);
        devices.add(event.device);
        break;
      case 'attach_device_to_domain': {
        const { device, line } = event;
        slots.push([{ kind: 'attach', device, domain: domains.get(device) ?? null, line }]);
        domains.delete(device);
        devices.add(device);
        break;
      }
      case 'add_device_to_group':
        slots.push([{ kind: 'group', group: event.group, device: event.device, line: event.line }]);
        devices.add(event.device);
        break;
      case 'cmdlist':
        armed = true;
    }
  }
  calls.finish();

  const settled = roots.settle();
  const operations = slots
    .flatMap((slot) => slot ?? [])
    .map((operation): Operation => {
      return 'root' in operation ? { ...operation, root: settled.renumber(operation.root) } : operation;
    });
  const maps = operations.filter((operation): operation is MapOperation => operation.kind === 'map');
  const unmaps = operations.filter((operation): operation is UnmapOperation => operation.kind === 'unmap');
  const commands = commandStatistics(events);
  return {
    operations,
    roots: settled.roots,
    statistics: {
      maps: maps.length,
      unmaps: unmaps.length,
      mappedBytes: maps.reduce((sum, { size }) => sum + size, 0),
      unmappedBytes: unmaps.reduce((sum, { size }) => sum + size, 0),
      probed,
      bootMaps: probed ? bootMaps : 0,
      unpaired: calls.unpaired,
      unions: matcher.unions,
      ambiguous: matcher.ambiguous,
      split: matcher.split,
      unmatched: matcher.unmatched,
      devices: [...devices],
      commands,
      policy: invalidationPolicy(events, commands),
    },
  };
}

/**
 * For each map event, where the run of adjacent maps that it is part of ends: a scatter list is mapped piece by piece
 * by one task, each piece where the last one ended.
 */
function scatterLists(events: readonly TraceEvent[]): Float64Array {
  const reaches = new Float64Array(events.length);
  /** Per task on its CPU: the map that comes next, and where its run ends. */
  const next = new Map<number, { iova: number; reach: number }>();
  for (let at = events.length - 1; at >= 0; at--) {
    const event = events[at]!;
    const key = event.pid * 4096 + event.cpu;
    if (event.kind === 'unmap') next.delete(key);
    if (event.kind !== 'map') continue;
    const end = event.iova + event.size;
    const following = next.get(key);
    const reach = following?.iova === end ? following.reach : end;
    reaches[at] = reach;
    next.set(key, { iova: event.iova, reach });
  }
  return reaches;
}
