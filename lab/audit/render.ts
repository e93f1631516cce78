/** An audit as text for a terminal, and as the JSON document of `audit --json`. */
import { hex64 } from '../oracle/decode/fields.ts';
import { sizeName } from '../walk/tables.ts';
import { entryText } from './audit.ts';
import { MOST_LISTED } from './ranges.ts';
import { rightsText } from './rights.ts';
import type { AuditedContext, AuditReport, AuditViolation, Entry, ReachRange } from './types.ts';

/** The report in lines. `most` limits the ranges that are listed for one context, and the violations. */
export function renderAudit(report: AuditReport, most = 12): string {
  const lines = [`audit of ${report.subject}`, ''];
  for (const context of report.contexts) lines.push(...contextLines(context, report, most), '');
  for (const { sid, ssid, reason } of report.denied) {
    lines.push(`${streamText([sid], ssid, report.names)}: no access passes, ${reason}`, '');
  }
  if (!report.enabled && report.contexts.length === 0) lines.push('the SMMU is off and GBPA aborts every access', '');
  lines.push(...violationLines(report, most));
  for (const gap of report.gaps) lines.push(`not looked at: ${gap}`);
  return `${lines.join('\n')}\n`;
}

function contextLines(context: AuditedContext, { names, enabled }: AuditReport, most: number): string[] {
  const { streams, ssid, translation, table, ranges, leaves, bytes } = context;
  const who = enabled
    ? streamText(
        streams.map(({ sid }) => sid),
        ssid,
        names,
      )
    : 'every stream';
  const how =
    translation === 'none' ? (enabled ? 'bypass' : 'the SMMU is off') : `${translation}, tables at ${hex(table!)}`;
  const what =
    leaves === 0
      ? 'reaches nothing'
      : `reaches ${sizeName(bytes)} in ${plural(ranges.length, 'range')} (${plural(leaves, 'entry', 'entries')})`;
  const lines = [`${who}: ${how}; ${what}`];
  for (const { sid, ste, cd } of streams) {
    lines.push(`  ${`STE of 0x${sid.toString(16)}`} ${entryText(ste)}${cd === null ? '' : `, CD at ${hex(cd)}`}`);
  }
  for (const range of ranges.slice(0, most)) lines.push(`  ${rangeText(range)}`);
  if (ranges.length > most) lines.push(`  and ${plural(ranges.length - most, 'more range')} (--all lists them)`);
  return lines;
}

function rangeText({ iova, pa, size, rights, leaves, entry, last, beneath }: ReachRange): string {
  const through = leaves === 1 ? entryText(entry) : `${leaves} entries, ${entryText(entry)} to ${hex(last.address)}`;
  const under = beneath === null ? '' : ` over ${entryText(beneath)}`;
  return `${hex(iova)} -> ${hex(pa)} ${sizeName(size)} ${rightsText(rights)} by ${through}${under}`;
}

function violationLines(report: AuditReport, most: number): string[] {
  const { violations, omitted, names, regions, enabled, gaps } = report;
  if (violations.length === 0) {
    const protectedCount = regions.filter(({ kind }) => kind === 'protected').length;
    const looked = gaps.length === 0 ? '' : ', as far as it could be looked at';
    return [
      `no violation${looked}: ${plural(protectedCount, 'protected range')} out of reach, ${plural(regions.length - protectedCount, 'table')} and queues not writable by any device`,
    ];
  }
  const lines = [plural(violations.length + omitted, 'violation')];
  for (const violation of violations.slice(0, most)) {
    const { kind, streams, ssid, region, iova, pa, size, rights, entry, beneath, leaves } = violation;
    const who = enabled ? streamText(streams, ssid, names) : 'every stream';
    const more = leaves === 1 ? '' : ` and ${plural(leaves - 1, 'further entry', 'further entries')}`;
    lines.push(
      `  ${kind}: ${region.name}, ${hex(region.start)}-${hex(region.end)}`,
      `    ${who} at IOVA ${hex(iova)} -> PA ${hex(pa)} ${sizeName(size)} ${rightsText(rights)}`,
      `    by ${entryText(entry)}${beneath === null ? '' : ` over ${entryText(beneath)}`}${more}`,
    );
  }
  if (violations.length > most)
    lines.push(`  and ${plural(violations.length - most, 'more violation')} (--all lists them)`);
  if (omitted > 0) lines.push(`  and ${plural(omitted, 'more violation')} of regions with ${MOST_LISTED} already`);
  return lines;
}

function streamText(sids: readonly number[], ssid: number | null, names: ReadonlyMap<number, string>): string {
  const list = sids.map((sid) => {
    const name = names.get(sid);
    return `0x${sid.toString(16)}${name === undefined ? '' : ` (${name})`}`;
  });
  const substream = ssid === null ? '' : ` substream 0x${ssid.toString(16)}`;
  return `stream${sids.length === 1 ? '' : 's'} ${list.join(', ')}${substream}`;
}

/** The document of `audit --json`: everything, addresses and words in hexadecimal, sizes in bytes. */
export function auditDocument(report: AuditReport): Record<string, unknown> {
  return {
    format: 'postern-audit/1',
    subject: report.subject,
    enabled: report.enabled,
    contexts: report.contexts.map((context) => ({
      streams: context.streams.map(({ sid, ste, cd }) => ({
        sid,
        ...(report.names.has(sid) ? { name: report.names.get(sid) } : {}),
        ste: entryDocument(ste),
        cd: cd === null ? null : hex(cd),
      })),
      ssid: context.ssid,
      translation: context.translation,
      table: context.table === null ? null : hex(context.table),
      leaves: context.leaves,
      bytes: context.bytes,
      ranges: context.ranges.map(rangeDocument),
    })),
    denied: report.denied,
    regions: report.regions.map((region) => ({ ...region, start: hex(region.start), end: hex(region.end) })),
    violations: report.violations.map(violationDocument),
    omitted: report.omitted,
    gaps: report.gaps,
  };
}

function rangeDocument({ iova, pa, size, rights, leaves, entry, last, beneath }: ReachRange): Record<string, unknown> {
  return {
    iova: hex(iova),
    pa: hex(pa),
    size,
    rights,
    leaves,
    entry: entryDocument(entry),
    last: entryDocument(last),
    ...(beneath === null ? {} : { beneath: entryDocument(beneath) }),
  };
}

function violationDocument(violation: AuditViolation): Record<string, unknown> {
  const { region, iova, pa, entry, beneath, ...rest } = violation;
  return {
    ...rest,
    region: { ...region, start: hex(region.start), end: hex(region.end) },
    iova: hex(iova),
    pa: hex(pa),
    entry: entryDocument(entry),
    ...(beneath === null ? {} : { beneath: entryDocument(beneath) }),
  };
}

function entryDocument({ address, value }: Entry): { address: string; value: string } {
  return { address: hex(address), value: hex64(value.hi, value.lo) };
}

function plural(count: number, one: string, many = `${one}s`): string {
  return `${count.toLocaleString('en')} ${count === 1 ? one : many}`;
}

function hex(value: number): string {
  return `0x${value.toString(16)}`;
}
