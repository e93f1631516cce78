/**
 * The calls that a guest makes: the paravirtual IOMMU of a protected VM. Two function ids of the vendor-hypervisor range;
 * one of them takes the operation in x1. They are not the host's calls: the registers are the guest's, x0 returns an
 * SMCCC status, and a call that wants memory, or pages that the guest has not yet been given, ends in the host, which
 * serves the wish and lets the guest go on.
 *
 * Models the pvIOMMU of android17 (copy N17 in docs/abi-sources.md).
 */

import { type ArgumentSpec, u32, u64 } from './calls.ts';
import type { ArgumentValue } from './codec.ts';
import type { MemoryRequest } from './memory-request.ts';
import { getNumber, getU32, hexRegister, setBig, setNumber } from './registers.ts';

/** Takes the operation in x1. */
export const PVIOMMU_FUNCTION_ID = 0xc600003e;
/** Asks which device a virtual StreamID is, as a token of 128 bits. */
export const DEV_REQ_DMA_FUNCTION_ID = 0xc600003d;

/** What x0 holds when the guest goes on. */
export const GuestStatus = { success: 0, notSupported: -1, invalid: -3 } as const;

export type GuestCallName =
  | 'guest_dev_req_dma'
  | 'guest_attach_dev'
  | 'guest_detach_dev'
  | 'guest_alloc_domain'
  | 'guest_free_domain'
  | 'guest_map_pages'
  | 'guest_unmap_pages';

/** What x1 holds on return; of a token x1 is the first half, x2 the second. */
export type GuestResultKind = 'none' | 'domain' | 'bytes' | 'token';

export interface GuestCallSpec {
  readonly name: GuestCallName;
  readonly functionId: number;
  /** Operation in x1; -1 for a function id of its own, whose arguments begin there. */
  readonly op: number;
  /** Arguments, from the first register behind function id and operation. Those behind them must be zero, up to x6. */
  readonly args: readonly ArgumentSpec[];
  readonly x1: GuestResultKind;
  readonly summary: string;
}

const op = (
  name: GuestCallName,
  number: number,
  args: readonly ArgumentSpec[],
  x1: GuestResultKind,
  summary: string,
): GuestCallSpec => ({ name, functionId: PVIOMMU_FUNCTION_ID, op: number, args, x1, summary });

const stream = [u32('pviommu', 'index'), u32('vsid', 'index')];

/** Every guest call: the token first, then by operation. */
export const guestCalls: readonly GuestCallSpec[] = [
  {
    name: 'guest_dev_req_dma',
    functionId: DEV_REQ_DMA_FUNCTION_ID,
    op: -1,
    args: stream,
    x1: 'token',
    summary:
      'Which device is that virtual StreamID? Its group becomes the guest’s, if the host has given it up. Must come before any other call about the device.',
  },
  op(
    'guest_attach_dev',
    0,
    [...stream, u32('pasid', 'pasid'), u32('domain', 'domain'), u32('pasidBits', 'pasidBits')],
    'none',
    'Let a stream of an own device translate through an own domain.',
  ),
  op(
    'guest_detach_dev',
    1,
    [...stream, u32('pasid', 'pasid'), u32('domain', 'domain')],
    'none',
    'Block the stream again.',
  ),
  op('guest_alloc_domain', 2, [], 'domain', 'Get the id of a domain; its table is made with the first attach.'),
  op('guest_free_domain', 3, [u32('domain', 'domain')], 'none', 'Give an idle domain back.'),
  op(
    'guest_map_pages',
    4,
    [u32('domain', 'domain'), u64('iova', 'iova'), u64('ipa', 'ipa'), u64('size', 'bytes'), u64('prot', 'prot')],
    'bytes',
    'Map own pages for DMA. May come to less than was asked for, and is repeated with the rest then.',
  ),
  op(
    'guest_unmap_pages',
    5,
    [u32('domain', 'domain'), u64('iova', 'iova'), u64('size', 'bytes')],
    'bytes',
    'Unmap, up to the first hole.',
  ),
];

const byName = new Map(guestCalls.map((spec) => [spec.name as string, spec]));

/** The guest call of that name. @throws RangeError naming the calls there are */
export function guestCallNamed(name: string): GuestCallSpec {
  const spec = byName.get(name);
  if (spec === undefined) throw new RangeError(`no guest call '${name}'; there are: ${[...byName.keys()].join(', ')}`);
  return spec;
}

/** Whether there is a guest call of that name. */
export function isGuestCallName(name: string): name is GuestCallName {
  return byName.has(name);
}

/** Number of the register that holds the first argument. */
export function firstGuestArgument(spec: GuestCallSpec): number {
  return spec.op < 0 ? 1 : 2;
}

/** Put function id, operation and arguments into the guest's registers; the others become 0. @throws RangeError for a wrong number of arguments */
export function encodeGuestCall(x: Int32Array, spec: GuestCallSpec, args: readonly ArgumentValue[]): void {
  if (args.length !== spec.args.length) {
    throw new RangeError(`${spec.name}: expected ${spec.args.length} arguments, got ${args.length}`);
  }
  x.fill(0);
  setNumber(x, 0, spec.functionId);
  if (spec.op >= 0) setNumber(x, 1, spec.op);
  const first = firstGuestArgument(spec);
  args.forEach((value, i) => {
    if (typeof value === 'bigint') setBig(x, first + i, value);
    else setNumber(x, first + i, value);
  });
}

/** The call that the guest's registers make, or undefined for an unknown function id or operation. */
export function decodeGuestCall(x: Int32Array): GuestCallSpec | undefined {
  if (x[1] !== 0) return undefined;
  const id = getU32(x, 0);
  return guestCalls.find(
    ({ functionId, op: number }) => functionId === id && (number < 0 || (x[3] === 0 && getU32(x, 1) === number)),
  );
}

/**
 * Why a guest's call ended in the host. `memory`: a pool ran dry. `map`: the guest has no page at `ipa` and wants `size`
 * bytes from there. When nothing was done yet the guest makes the call again; else its registers say how far it came.
 */
export type GuestExit =
  | { readonly reason: 'memory'; readonly request: MemoryRequest }
  | { readonly reason: 'map'; readonly ipa: number; readonly size: number };

/** What came of a guest's call. */
export interface GuestResult {
  /** One of {@link GuestStatus}; 0 when the call ended in the host. */
  readonly status: number;
  /** Domain id, bytes, or the first half of a token. */
  readonly value: number;
  /** Second half of a token. */
  readonly value2: number;
  readonly exit: GuestExit | null;
  /** Whether the call was not begun and will be made again. */
  readonly again: boolean;
}

/** Read what a guest's call has left in its registers. @param exit what the hypervisor told the host */
export function decodeGuestResult(x: Int32Array, spec: GuestCallSpec, exit: GuestExit | null): GuestResult {
  const again = exit !== null && getU32(x, 0) === spec.functionId;
  const status = again ? 0 : x[0]!;
  const value = again || spec.x1 === 'none' ? 0 : getNumber(x, 1);
  return { status, value, value2: !again && spec.x1 === 'token' ? getNumber(x, 2) : 0, exit, again };
}

/** One guest call as text, arguments by name: `guest_map_pages(domain=0x100, iova=0x1000, …)`. */
export function formatGuestCall(x: Int32Array): string {
  const spec = decodeGuestCall(x);
  if (spec === undefined) return `guest hvc(x0=${hexRegister(x, 0)}, x1=${hexRegister(x, 1)})`;
  const first = firstGuestArgument(spec);
  const args = spec.args.map(({ name, type }, i) => {
    const value = type === 'u64' ? hexRegister(x, first + i) : `0x${getU32(x, first + i).toString(16)}`;
    return `${name}=${value}`;
  });
  return `${spec.name}(${args.join(', ')})`;
}
