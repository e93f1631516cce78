/** From arguments to registers and back, driven by the call table. */

import { type CallSpec, FUNCTION_ID_BASE, functionId } from './calls.ts';
import { Errno, errnoName } from './errors.ts';
import { decodeRequest, type MemoryRequest } from './memory-request.ts';
import { defaultProfile, type Profile } from './profiles/index.ts';
import { getNumber, getSigned, getU32, hexRegister, setBig, setNumber } from './registers.ts';

/** An argument value: a number, or a bigint where 2^53 and more must be exact. */
export type ArgumentValue = number | bigint;

/**
 * Put function id and arguments into `x`; unused registers become 0. Values are taken modulo 2^64.
 * @throws RangeError when the number of arguments is not the call's
 */
export function encodeCall(x: Int32Array, spec: CallSpec, args: readonly ArgumentValue[]): void {
  const count = args.length;
  if (count !== spec.args.length) throw wrongCount(spec, count);
  setNumber(x, 0, functionId(spec));
  for (let i = 0; i < count; i++) {
    const value = args[i]!;
    if (typeof value === 'bigint') setBig(x, i + 1, value);
    else setNumber(x, i + 1, value);
  }
  for (let i = 2 * count + 2; i < x.length; i++) x[i] = 0;
}

function wrongCount(spec: CallSpec, count: number): RangeError {
  return new RangeError(`${spec.name}: expected ${spec.args.length} arguments, got ${count}`);
}

/** The call that `x` invokes in that profile, or undefined for a function id that is none. */
export function decodeFunction(x: Int32Array, profile: Profile = defaultProfile): CallSpec | undefined {
  return x[1] === 0 ? profile.at(getU32(x, 0) - FUNCTION_ID_BASE) : undefined;
}

/** Argument n (0-based) as the called function reads it. Exact below 2^53; page-aligned values up to 2^64. */
export function decodeArgument(x: Int32Array, spec: CallSpec, n: number): number {
  switch (spec.args[n]!.type) {
    case 'u32':
      return getU32(x, n + 1);
    case 'i32':
      return x[2 * (n + 1)]!;
    case 'u64':
      return getNumber(x, n + 1);
  }
}

/** What came back. */
export interface CallResult {
  /** 0 or a negative errno; for calls that return only a value, 0. SMCCC not-supported is `-1`, with supported false. */
  readonly errno: number;
  /** Bytes, address, pages, handle or list head, by the call's result kind; 0 for a bare errno. */
  readonly value: number;
  readonly supported: boolean;
  readonly request: MemoryRequest | null;
}

/** Read the registers a call of that profile has returned. */
export function decodeResult(x: Int32Array, spec: CallSpec, profile: Profile = defaultProfile): CallResult {
  const status = getSigned(x, 0);
  if (spec.x0 === 'smccc' && status !== 0) return { errno: status, value: 0, supported: false, request: null };
  const request = spec.request ? decodeRequest(x, profile.request) : null;
  if (spec.x0 === 'errno') return { errno: status, value: getNumber(x, 1), supported: true, request };
  const x1 = getSigned(x, 1);
  if (spec.x1 === 'errno') return { errno: x1, value: 0, supported: true, request };
  if (spec.x1 === 'handleOrErrno') {
    return { errno: x1 < 0 ? x1 : 0, value: x1 < 0 ? 0 : x1, supported: true, request };
  }
  return { errno: 0, value: spec.x1 === 'none' ? 0 : getNumber(x, 1), supported: true, request };
}

/** One call as text, arguments by name: `map_pages(domain=1, iova=0x1000, …)`. */
export function formatCall(x: Int32Array, profile: Profile = defaultProfile): string {
  const spec = decodeFunction(x, profile);
  if (spec === undefined) return `hvc(x0=${hexRegister(x, 0)})`;
  const args = spec.args.map((arg, i) => `${arg.name}=${formatArgument(x, spec, i)}`);
  return `${spec.name}(${args.join(', ')})`;
}

function formatArgument(x: Int32Array, spec: CallSpec, n: number): string {
  const arg = spec.args[n]!;
  if (arg.type === 'u64') return hexRegister(x, n + 1);
  const value = decodeArgument(x, spec, n);
  return arg.unit === 'domain' || arg.type === 'i32' || value < 10 ? String(value) : `0x${value.toString(16)}`;
}

/** A result as text: `0`, `-EINVAL`, `0x1000 bytes`, with the memory request if there is one. */
export function formatResult(result: CallResult, spec: CallSpec): string {
  if (!result.supported) return 'not supported';
  let text = errnoName(result.errno);
  if (spec.x1 !== 'errno' && spec.x1 !== 'none') {
    const value = `0x${result.value.toString(16)}${spec.x1 === 'bytes' ? ' bytes' : ''}`;
    text = result.errno === 0 ? value : `${text}, ${value}`;
  }
  if (result.request !== null) text += ` (asks for ${result.request.pages} page(s) in pool ${result.request.pool})`;
  return text;
}

/** Whether the call did what it was asked to, at least in part. */
export function succeeded(result: CallResult): boolean {
  return result.supported && result.errno >= 0;
}

/** Negative form of an errno. */
export function err(name: keyof typeof Errno): number {
  return -Errno[name];
}
