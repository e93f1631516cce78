/** A replay as text for a terminal, and as one JSON document. */
import type { OperationLog } from '../trace/operation.ts';
import type { TraceSummary } from '../trace/parse.ts';
import type { LiveComparison } from './live.ts';
import type { ReplayReport } from './replay.ts';

/** Everything that a replay has to tell. */
export interface ReplayDocument {
  readonly trace: TraceSummary;
  readonly log: OperationLog;
  readonly report: ReplayReport;
  /** Null without a fixture. */
  readonly live: LiveComparison | null;
}

function count(n: number): string {
  return n.toLocaleString('en-US');
}

/** Bytes with a binary unit. */
export function bytes(n: number): string {
  const units = ['bytes', 'KiB', 'MiB', 'GiB', 'TiB'];
  let value = n;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${unit === 0 ? value : value.toFixed(1)} ${units[unit]}`;
}

function list(entries: Iterable<readonly [string, number]>): string {
  return [...entries].map(([name, n]) => `${name} ${count(n)}`).join(', ') || 'none';
}

function row(label: string, value: string): string {
  return `  ${label.padEnd(22)}${value}\n`;
}

/** How the kernel itself invalidated, in words. */
function kernelPolicy(log: OperationLog): string {
  const { policy, commands, unmaps } = log.statistics;
  if (policy === null) return 'the log does not show how the kernel invalidated';
  if (commands === null) return `${policy}; the log does not show its commands`;
  const flushes = commands.invalidations ?? commands.submissions;
  if (policy === 'strict') return `strict: ${count(flushes)} invalidations for ${count(unmaps)} unmaps`;
  const ratio = flushes === 0 ? '' : `, one for about ${Math.round(unmaps / flushes)}`;
  return `lazy: ${count(flushes)} flushes for ${count(unmaps)} unmaps${ratio}; replayed as one call per unmap`;
}

/** The report as text. */
export function renderReplay({ trace, log, report, live }: ReplayDocument): string {
  const { statistics } = log;
  const seconds = report.milliseconds / 1000;
  const events = [...trace.kinds.values(), ...trace.unknown.values()].reduce((sum, n) => sum + n, 0);
  let text = `${trace.file} on ${report.machine}, hypervisor ${report.hypervisor}, stage ${report.stage}\n`;
  text += row('events read', `${count(events)} in ${count(trace.lines)} lines: ${list(trace.kinds)}`);
  text += row('unknown events', list(trace.unknown));
  if (trace.lost.length > 0) text += row('lost events', `the tracer lost events in ${trace.lost.length} places`);
  text += row('devices', `${statistics.devices.length}: ${statistics.devices.join(', ')}`);
  text += row('operations', `${count(report.maps)} maps, ${count(report.unmaps)} unmaps`);
  text += row('ambiguous', `${count(statistics.ambiguous)} unmaps, ${count(statistics.unmatched)} unmatched`);
  text += row('domains', report.roots.map(domainText).join(', ') || 'none');
  text += row('hypercalls', `${count(report.hypercalls)}: ${list(Object.entries(report.calls))}`);
  text += row('top-ups', `${count(report.topUps)}: a call that ran out of memory is made again after one`);
  text += row('mapped', `${bytes(report.bytesMapped)}; unmapped ${bytes(report.bytesUnmapped)}`);
  text += row('peak table memory', `${bytes(report.peakTableBytes)} (${count(report.peakTablePages)} pages)`);
  text += row(
    'per unmap',
    `${report.invalidationsPerUnmap.toFixed(2)} TLB invalidations, ${report.syncsPerUnmap.toFixed(2)} SYNCs`,
  );
  text += row('the kernel was', kernelPolicy(log));
  if (live !== null) text += row('live at the end', liveText(live));
  for (const difference of live?.differences ?? []) text += `    ${difference}\n`;
  text += row('not as the kernel', `${count(report.mismatchCount)} operations`);
  for (const { line, what } of report.mismatches) text += `    line ${line}: ${what}\n`;
  text += row('checked', checkedHow(report));
  text += row('violations', count(report.violations.length));
  for (const violation of report.violations.slice(0, 10)) text += `    ${violation.property}: ${violation.text}\n`;
  const rate = seconds > 0 ? `, ${count(Math.round(report.operations / seconds))} operations/s` : '';
  text += row('time', `${seconds.toFixed(2)} s${rate}`);
  if (report.interrupted) text += '  interrupted: the rest of the trace was not replayed\n';
  return text;
}

function checkedHow({ fullChecks }: ReplayReport): string {
  if (fullChecks === 0) return 'not at all';
  return `after each call what it touched; everything decoded anew ${count(fullChecks)} times, the last at the end`;
}

function liveText({ compared, equal, expected }: LiveComparison): string {
  const how = compared === 'counts' ? 'mappings per IOVA' : 'mappings, bit for bit';
  return `${count(equal)} of ${count(expected)} ${how}, as in the fixture`;
}

function domainText({ domain, streams }: { domain: number; streams: readonly number[] }): string {
  const sids = streams.map((sid) => `0x${sid.toString(16)}`).join('+');
  return `${domain} (${sids === '' ? 'no stream' : sids})`;
}

/** The report as a JSON-able document. */
export function replayDocument({ trace, log, report, live }: ReplayDocument): Record<string, unknown> {
  const { commands, ...statistics } = log.statistics;
  return {
    schema: 'postern/replay/1',
    trace: {
      file: trace.file,
      lines: trace.lines,
      events: Object.fromEntries(trace.kinds),
      unknown: Object.fromEntries(trace.unknown),
      lost: trace.lost,
    },
    log: {
      ...statistics,
      roots: log.roots.length,
      kernelCommands: commands === null ? null : { ...commands, byName: Object.fromEntries(commands.byName) },
    },
    replay: report,
    live,
  };
}
