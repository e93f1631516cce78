/**
 * What follows `->`: reading, printing, and comparing it with what really came back. Which forms a call's result may
 * take follows from the call table: `0`, `-EINVAL`, `0x1000 bytes`, `3 pages`, `page:a`, `handle`, `not supported`.
 */

import { type CallSpec, Errno, errnoName, type ResultKind } from '#hypercall-abi';
import type { AccessExpectation, CallExpectation, DmaExpectation, ReadExpectation, Value } from './types.ts';
import { isName, parseNumber, parsePage, printNumber, printPage } from './value.ts';

const REQUEST = /\s*\brequest (heap|iommu) (\d{1,10})$/;
const LARGEST_REQUEST = 2 ** 32 - 1;
const LARGEST_ERRNO = 2 ** 31;

/** Result kind of a call; null for a raw crossing whose call is not known from its text. */
export type Kind = ResultKind | null;

export function kindOf(spec: CallSpec | undefined): Kind {
  return spec === undefined ? null : spec.x1;
}

/** A call's expectation, or null when `text` is none of the forms of that kind. */
export function parseCallExpectation(text: string, kind: Kind): CallExpectation | null {
  if (text === '*') return {};
  if (text === 'not supported') return { unsupported: true };
  const request = REQUEST.exec(text);
  if (request !== null && Number(request[2]) > LARGEST_REQUEST) return null;
  const asked =
    request === null ? {} : { request: { pool: request[1] as 'heap' | 'iommu', pages: Number(request[2]) } };
  const main = request === null ? text : text.slice(0, request.index);
  if (main === '') return request === null ? null : asked;
  if (main === 'handle') return kind === 'handleOrErrno' || kind === null ? { handle: true, ...asked } : null;
  const [first = '', second, ...more] = main.split(/\s*,\s*/);
  if (more.length > 0) return null;
  if (second !== undefined) {
    const errno = parseErrno(first);
    const value = parseResult(second, kind);
    return errno === null || value === null ? null : { errno, value, ...asked };
  }
  const value = parseResult(first, kind);
  if (value !== null) return { value, ...asked };
  const errno = kind === 'pa' || kind === 'list' ? null : parseErrno(first);
  return errno === null ? null : { errno, ...asked };
}

/** `0`, `-EINVAL` or `-22`. */
function parseErrno(text: string): number | null {
  if (text === '0') return 0;
  if (/^-\d{1,10}$/.test(text)) return Number(text) >= -LARGEST_ERRNO ? Number(text) || 0 : null;
  const name = text.slice(1);
  return text.startsWith('-') && Object.hasOwn(Errno, name) ? -Errno[name as keyof typeof Errno] : null;
}

function parseResult(text: string, kind: Kind): Value | null {
  const match = /^(?:(value) )?(\S+)(?: (bytes|pages))?$/.exec(text);
  if (match === null) return null;
  const [, prefix, body = '', unit] = match;
  if (kind === null ? prefix === undefined || unit !== undefined : prefix !== undefined) return null;
  if (kind === 'bytes' || kind === 'pages' ? unit !== kind : unit !== undefined) return null;
  if (kind === 'errno' || kind === 'none' || kind === 'handleOrErrno') return null;
  return parseNumber(body) ?? parsePage(body);
}

/** What {@link parseCallExpectation} takes for that kind, for a message. */
export function callExpectationForms(kind: Kind): string {
  const forms: Record<ResultKind, string> = {
    errno: '0 or a negative errno',
    none: '0',
    handleOrErrno: 'handle or a negative errno',
    bytes: 'an errno, a number of bytes, or both (0, 0x1000 bytes)',
    pa: 'an address or page:name',
    list: 'an address or page:name',
    pages: 'a number of pages (3 pages)',
  };
  return `${kind === null ? '0, a negative errno, or value N' : forms[kind]}, with "request POOL N" if it matters, or *`;
}

export function printCallExpectation(expect: CallExpectation, kind: Kind): string {
  if (expect.unsupported) return 'not supported';
  const parts: string[] = [];
  if (expect.errno !== undefined) parts.push(errnoName(expect.errno));
  if (expect.handle) parts.push('handle');
  if (expect.value !== undefined) parts.push(printResult(expect.value, kind));
  const { request } = expect;
  const asked = request === undefined ? '' : `request ${request.pool} ${request.pages}`;
  return [parts.join(', '), asked].filter((part) => part !== '').join(' ') || '*';
}

function printResult(value: Value, kind: Kind): string {
  const text = printPlace(value, kind !== 'pages');
  if (kind === null) return `value ${text}`;
  return kind === 'bytes' || kind === 'pages' ? `${text} ${kind}` : text;
}

/** An address: a page by name or a number. */
export function printPlace(value: Value, isHex = true): string {
  if (typeof value === 'number') return printNumber(value, isHex);
  if (isName(value)) throw new RangeError(`an address cannot be the name ${value.name}`);
  return 'page' in value ? printPage(value) : value.big;
}

/** `ok`, `abort` or `bus error`. */
export function parseAccessExpectation(text: string): AccessExpectation | null {
  return text === 'ok' || text === 'abort' || text === 'bus error' ? text : null;
}

/** What a read of the host returns: a number of that many bytes (4 when left out), `abort` or `bus error`. */
export function parseReadExpectation(text: string, width = 4): ReadExpectation | null {
  if (text === 'abort' || text === 'bus error') return text;
  const value = parseNumber(text);
  if (value === null || width === 8) return value;
  return typeof value === 'number' && value < 2 ** (8 * width) ? value : null;
}

export function printReadExpectation(expect: ReadExpectation): string {
  if (typeof expect === 'object') return expect.big;
  return typeof expect === 'number' ? `0x${expect.toString(16)}` : expect;
}

/** `page:a`, an address, `fault F_TRANSLATION` or `abort`. */
export function parseDmaExpectation(text: string): DmaExpectation | null {
  if (text === 'abort') return 'abort';
  const fault = /^fault ([A-Z][A-Z0-9_]*)$/.exec(text);
  if (fault !== null) return { fault: fault[1]! };
  const reaches = parseNumber(text) ?? parsePage(text);
  return reaches === null ? null : { reaches };
}

export function printDmaExpectation(expect: DmaExpectation): string {
  if (expect === 'abort') return expect;
  return 'fault' in expect ? `fault ${expect.fault}` : printPlace(expect.reaches);
}
