/**
 * A scenario as one string that fits into a URL: `postern:v1:` and, in base64url, a CRC-32 of the text and the packed
 * text. Made by `encodeShare`, read by `decodeShare`; anything damaged on the way is found out.
 */

import { InputError, quoted } from '../input-error.ts';
import { SHARE_PREFIX, SHARE_PREFIX_NOW } from './format.ts';
import { pack, unpack } from './pack.ts';
import { parseScenario } from './parse.ts';
import { printScenario } from './print.ts';
import { SCENARIO_VERSION, type Scenario } from './types.ts';

const PREFIX = SHARE_PREFIX_NOW;
const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
const CHECKSUM_BYTES = 4;
const PLACE = 'share string';

/** Whether `text` looks like a shared scenario, of whatever version. */
export function isShare(text: string): boolean {
  return /^postern:v\d+:/.test(text.trim());
}

/** The scenario as one URL-safe string. */
export function encodeShare(scenario: Scenario): string {
  const text = new TextEncoder().encode(printScenario(scenario));
  const packed = pack(text, SCENARIO_VERSION);
  const bytes = new Uint8Array(CHECKSUM_BYTES + packed.length);
  new DataView(bytes.buffer).setUint32(0, crc32(text));
  bytes.set(packed, CHECKSUM_BYTES);
  return PREFIX + toBase64Url(bytes);
}

/**
 * The scenario that {@link encodeShare} made a string of.
 * @throws InputError when it is of a later version, incomplete or damaged
 */
export function decodeShare(share: string): Scenario {
  const text = share.trim();
  const version = Number(/^postern:v(\d{1,6}):/.exec(text)?.[1] ?? -1);
  if (version < 0 || version > SCENARIO_VERSION) {
    const got = isShare(text) ? `version ${text.split(':')[1]}` : quoted(text.slice(0, 20));
    throw new InputError({ file: PLACE, expected: `a string that begins with ${PREFIX}`, got });
  }
  const start = text.indexOf(':', SHARE_PREFIX.length) + 1;
  const body = text.slice(start);
  const bad = body.search(/[^A-Za-z0-9_-]/);
  if (bad >= 0) {
    const got = `${quoted(body[bad]!)} at position ${start + bad}`;
    throw new InputError({ file: PLACE, expected: 'letters, digits, - and _', got });
  }
  const bytes = fromBase64Url(body);
  const unpacked = bytes.length > CHECKSUM_BYTES ? unpack(bytes.subarray(CHECKSUM_BYTES), version) : null;
  if (unpacked === null || new DataView(bytes.buffer).getUint32(0) !== crc32(unpacked)) {
    throw new InputError({ file: PLACE, expected: 'a complete, undamaged string', got: 'one whose checksum is wrong' });
  }
  return parseScenario(new TextDecoder().decode(unpacked), PLACE);
}

function toBase64Url(bytes: Uint8Array): string {
  let text = '';
  for (let i = 0; i < bytes.length; i += 3) {
    const triple = (bytes[i]! << 16) | ((bytes[i + 1] ?? 0) << 8) | (bytes[i + 2] ?? 0);
    const characters = Math.min(3, bytes.length - i) + 1;
    for (let k = 0; k < characters; k++) text += ALPHABET[(triple >>> (18 - 6 * k)) & 63];
  }
  return text;
}

function fromBase64Url(text: string): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(Math.floor((text.length * 6) / 8));
  let out = 0;
  for (let i = 0; i < text.length; i += 4) {
    let quad = 0;
    for (let k = 0; k < 4; k++) quad = (quad << 6) | Math.max(0, ALPHABET.indexOf(text[i + k] ?? 'A'));
    for (let shift = 16; shift >= 0 && out < bytes.length; shift -= 8) bytes[out++] = (quad >>> shift) & 0xff;
  }
  return bytes;
}

/** CRC-32 of IEEE 802.3, reflected. */
function crc32(bytes: Uint8Array): number {
  let crc = -1;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (0xedb88320 & -(crc & 1));
  }
  return ~crc >>> 0;
}
