/** The table of bad input: values at every edge of what a register can hold, and frames made of them. */

import type { ArgumentUnit, CallSpec, Profile } from '#hypercall-abi';
import { functionId } from '#hypercall-abi';
import type { MachineDescription } from '#machine';

const TOP = 2n ** 64n;
const PAGE = 4096n;

/** Edges of 64 bits, whatever the argument means: zero, all ones, and both sides of 2^12 to 2^63. */
export const EDGES: readonly bigint[] = [
  0n,
  1n,
  TOP - 1n,
  TOP - PAGE,
  TOP - 2n * PAGE,
  TOP - 2n ** 21n,
  TOP - 2n ** 30n,
  ...[12n, 20n, 21n, 30n, 31n, 32n, 40n, 44n, 48n, 52n, 53n, 63n].flatMap((bits) => [
    2n ** bits - 1n,
    2n ** bits,
    2n ** bits + PAGE,
  ]),
];

/** What an argument of each kind may be besides: sizes that are none, addresses half in and half out, flags and ids. */
function special(machine: MachineDescription): Partial<Record<ArgumentUnit, readonly bigint[]>> {
  const { base, size } = machine.ram[0]!;
  const end = BigInt(base + size);
  const hyp = BigInt(machine.carveOut.base);
  const addresses = [
    BigInt(base),
    end - PAGE,
    end - 1n,
    end,
    hyp - PAGE,
    hyp,
    BigInt(machine.smmus[0]!.base),
    BigInt(base) + 1n,
  ];
  const sizes = [PAGE - 1n, PAGE + 1n, 2n * PAGE, 2n ** 21n, 2n ** 21n + 2n ** 12n, 2n ** 30n, 3n];
  const counts = [2n, 511n, 512n, 513n, 4095n, 4096n, 2n ** 51n, 2n ** 52n, TOP / PAGE];
  return {
    pa: addresses,
    list: [...addresses, BigInt(base) + 6n, BigInt(base) + 7n, end - PAGE + 1n],
    pfn: addresses.map((address) => address / PAGE),
    gfn: [2n ** 36n - 1n, 2n ** 36n - 512n, 2n ** 36n, 512n],
    iova: [...addresses, 2n ** 48n - PAGE, 2n ** 39n - PAGE],
    bytes: sizes,
    count: counts,
    pages: counts,
    prot: [2n, 3n, 63n, 64n, 2n ** 31n],
    handle: [0x1000n, 0x101fn, 0x1020n, 0xfffn],
    domain: [2n, 255n, 256n, 511n, 512n, 65535n, 65536n],
    domainType: [2n, 3n, 4n, 5n, 0x80000000n],
    pasid: [2n ** 20n - 1n, 2n ** 20n],
    pasidBits: [20n, 21n, 255n],
    pool: [2n, 3n],
    stream: [3n, 8n, 2n ** 24n],
  };
}

/** One crossing: x0 to x7. */
export type BadFrame = readonly bigint[];

/**
 * Every frame of a call: each argument at every edge while the others are sensible, all pairs of edges for the
 * arguments that make up ranges, and all arguments at one edge.
 */
export function badFrames(spec: CallSpec, machine: MachineDescription): BadFrame[] {
  const more = special(machine);
  const sensible = spec.args.map(({ unit }) => SENSIBLE[unit] ?? BigInt(machine.ram[0]!.base));
  const values = spec.args.map(({ unit }) => [...EDGES, ...(more[unit] ?? [])]);
  const frames: bigint[][] = [];
  const add = (args: readonly bigint[]): void => void frames.push([BigInt(functionId(spec)), ...args]);
  for (const edge of EDGES) add(spec.args.map(() => edge));
  values.forEach((edges, n) => {
    for (const edge of edges) add(sensible.with(n, edge));
  });
  const ranges = spec.args.flatMap(({ unit }, n) => (RANGE_UNITS.has(unit) ? [n] : []));
  for (const a of ranges) {
    for (const b of ranges) {
      if (a >= b) continue;
      for (const first of CORNERS) for (const second of CORNERS) add(sensible.with(a, first).with(b, second));
    }
  }
  return frames;
}

/** A sensible value for what an argument means; addresses not listed are the first of RAM. */
const SENSIBLE: Partial<Record<ArgumentUnit, bigint>> = {
  iova: 0n,
  bytes: PAGE,
  count: 1n,
  pages: 1n,
  pfn: 0x40000n,
  gfn: 3n,
  prot: 3n,
  handle: 0x1000n,
  driver: 0n,
  iommu: 0n,
  domain: 1n,
  domainType: 0n,
  stream: 0n,
  pasid: 0n,
  pasidBits: 0n,
  flags: 0n,
  switch: 1n,
  pool: 1n,
  index: 0n,
};

const RANGE_UNITS: ReadonlySet<ArgumentUnit> = new Set(['iova', 'pa', 'bytes', 'count', 'pages', 'gfn', 'pfn', 'list']);

/** Values that make ranges empty, wrap or end at the top of the space. */
const CORNERS: readonly bigint[] = [0n, 1n, PAGE, 2n ** 21n, 2n ** 32n, 2n ** 52n, 2n ** 63n, TOP - PAGE, TOP - 1n];

/** Function ids that are no call of the profile, at every edge. */
export function unknownIds(profile: Profile): bigint[] {
  const known = new Set(profile.calls.map((spec) => BigInt(functionId(spec))));
  return [...EDGES, 0xc6000000n, 0xc600007fn, 0xc6000080n, 0xc600ffffn, 0x86000040n, 2n ** 32n + 0xc6000040n].filter(
    (id) => !known.has(id),
  );
}

/** IPAs at which the host's accesses abort or not. */
export function badAddresses(machine: MachineDescription): number[] {
  const { base, size } = machine.ram[0]!;
  const smmu = machine.smmus[0]!.base;
  const carve = machine.carveOut.base;
  const edges = [0, 2 ** 31, 2 ** 32, 2 ** 40, 2 ** 47, 2 ** 48, 2 ** 51, 2 ** 52];
  return [
    ...edges.flatMap((edge) => [edge - 4, edge, edge + 4]),
    base,
    base + size - 4,
    base + size,
    carve - 4,
    carve,
    smmu,
    smmu + 0x1fffc,
    smmu + 0x20000,
  ].filter((ipa) => ipa >= 0);
}
