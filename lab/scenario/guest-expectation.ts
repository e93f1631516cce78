/**
 * What follows the arrow of a guest's call: `0`, `invalid`, `domain`, `0, 0x1000 bytes`, `token 0x9050000 0x20`, `again`,
 * and what it asks the host for: `request iommu 1`, `request pages 0x10000 0x1000 bytes`.
 */

import { type GuestCallSpec, GuestStatus } from '#hypercall-abi';
import { printPlace } from './expectation.ts';
import type { GuestExpectation, GuestRequest, Value } from './types.ts';
import { parseNumber, parsePage } from './value.ts';

/** What x1 holds on return; null for a raw crossing whose call is not known from its text. */
export type GuestKind = GuestCallSpec['x1'] | null;

const POOL_REQUEST = /\s*\brequest (heap|iommu) (\d{1,10})$/;
const PAGE_REQUEST = /\s*\brequest pages (\S+) (\S+) bytes$/;
const LARGEST = 2 ** 31;

/** A guest call's expectation, or null when `text` is none of the forms of that kind. */
export function parseGuestExpectation(text: string, kind: GuestKind): GuestExpectation | null {
  if (text === '*') return {};
  const split = splitRequest(text);
  if (split === null) return null;
  const asked = split.request === null ? {} : { request: split.request };
  const { main } = split;
  if (main === '') return split.request === null ? null : asked;
  if (main === 'again') return { again: true, ...asked };
  if (main === 'domain') return kind === 'domain' || kind === null ? { domain: true, ...asked } : null;
  const token = /^token (\S+) (\S+)$/.exec(main);
  if (token !== null) {
    const halves = [place(token[1]!), place(token[2]!)] as const;
    const [first, second] = halves;
    return (kind !== 'token' && kind !== null) || first === null || second === null
      ? null
      : { token: [first, second], ...asked };
  }
  const [first = '', second, ...more] = main.split(/\s*,\s*/);
  const status = parseStatus(first);
  if (more.length > 0) return null;
  if (second === undefined) {
    if (status !== null) return { status, ...asked };
    const value = parseResult(first, kind);
    return value === null ? null : { value, ...asked };
  }
  const value = parseResult(second, kind);
  return status === null || value === null ? null : { status, value, ...asked };
}

function splitRequest(text: string): { main: string; request: GuestRequest | null } | null {
  const pool = POOL_REQUEST.exec(text);
  if (pool !== null) {
    const pages = Number(pool[2]);
    return pages >= 2 ** 32 ? null : { main: text.slice(0, pool.index), request: { pool: poolName(pool[1]!), pages } };
  }
  const wanted = PAGE_REQUEST.exec(text);
  if (wanted === null) return { main: text, request: null };
  const ipa = parseNumber(wanted[1]!);
  const bytes = parseNumber(wanted[2]!);
  return ipa === null || bytes === null ? null : { main: text.slice(0, wanted.index), request: { ipa, bytes } };
}

function poolName(text: string): 'heap' | 'iommu' {
  return text === 'heap' ? 'heap' : 'iommu';
}

/** `0`, `invalid`, `not supported`, or a negative number. */
function parseStatus(text: string): number | null {
  if (text === '0') return GuestStatus.success;
  if (text === 'invalid') return GuestStatus.invalid;
  if (text === 'not supported') return GuestStatus.notSupported;
  if (!/^-\d{1,10}$/.test(text)) return null;
  const status = Number(text) || 0;
  return status < -LARGEST ? null : status;
}

function printStatus(status: number): string {
  if (status === GuestStatus.invalid) return 'invalid';
  return status === GuestStatus.notSupported ? 'not supported' : String(status);
}

function parseResult(text: string, kind: GuestKind): Value | null {
  if (kind === 'bytes') return text.endsWith(' bytes') ? place(text.slice(0, -' bytes'.length)) : null;
  return kind === null && text.startsWith('value ') ? place(text.slice('value '.length)) : null;
}

function place(text: string): Value | null {
  return parseNumber(text) ?? parsePage(text);
}

/** What {@link parseGuestExpectation} takes for that kind, for a message. */
export function guestExpectationForms(kind: GuestKind): string {
  const forms = {
    none: '0, invalid',
    domain: 'domain, invalid',
    bytes: 'a status (0, invalid), a number of bytes, or both (0, 0x1000 bytes)',
    token: 'token ADDRESS STREAM, invalid',
  };
  const main = kind === null ? '0, invalid, not supported, or value N' : forms[kind];
  return `${main}, again, with "request POOL N" or "request pages IPA N bytes" if it matters, or *`;
}

/** An expectation as {@link parseGuestExpectation} reads it. */
export function printGuestExpectation(expect: GuestExpectation, kind: GuestKind): string {
  const parts: string[] = [];
  if (expect.again) parts.push('again');
  if (expect.status !== undefined) parts.push(printStatus(expect.status));
  if (expect.domain) parts.push('domain');
  if (expect.token !== undefined) parts.push(`token ${expect.token.map((half) => printPlace(half)).join(' ')}`);
  if (expect.value !== undefined) {
    const text = printPlace(expect.value);
    parts.push(kind === 'bytes' ? `${text} bytes` : `value ${text}`);
  }
  const { request } = expect;
  return (
    [parts.join(', '), request === undefined ? '' : printRequest(request)].filter((part) => part !== '').join(' ') ||
    '*'
  );
}

function printRequest(request: GuestRequest): string {
  if ('pool' in request) return `request ${request.pool} ${request.pages}`;
  return `request pages ${printPlace(request.ipa)} ${printPlace(request.bytes)} bytes`;
}
