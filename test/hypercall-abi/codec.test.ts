import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  additionWraps,
  type CallSpec,
  callAt,
  callNamed,
  calls,
  decodeArgument,
  decodeFunction,
  decodeRequest,
  decodeResult,
  Errno,
  encodeCall,
  encodeRequest,
  errnoName,
  FUNCTION_ID_BASE,
  formatCall,
  formatResult,
  functionId,
  getBig,
  getNumber,
  getSigned,
  getU32,
  hexRegister,
  isCallName,
  listHead,
  makeRegisters,
  PoolId,
  product,
  REGISTER_COUNT,
  RequestType,
  setBig,
  setNumber,
  succeeded,
} from '#hypercall-abi';

/** 64-bit values, with those at which 32, 53 and 64-bit arithmetic changes its ways. */
const edges = [0n, 1n, 2n ** 31n, 2n ** 32n, 2n ** 52n, 2n ** 53n, 2n ** 63n, 2n ** 64n].flatMap((edge) =>
  [-4097n, -4096n, -1n, 0n, 1n, 4096n].map((offset) => BigInt.asUintN(64, edge + offset)),
);
const u64 = fc.oneof(fc.constantFrom(...edges), fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }));
/** Pairs whose product or sum lies close to 2^53 or 2^64. */
const factors = fc.oneof(
  fc.tuple(u64, u64),
  fc
    .tuple(
      fc.constantFrom(2n ** 53n, 2n ** 64n),
      fc.bigInt({ min: 1n, max: 2n ** 40n }),
      fc.bigInt({ min: -2n, max: 2n }),
    )
    .map(([near, factor, offset]): [bigint, bigint] => [factor, BigInt.asUintN(64, near / factor + offset)]),
);

test('a register holds any 64-bit value, written as a bigint or a number', () => {
  fc.assert(
    fc.property(u64, (value) => {
      const x = makeRegisters();
      setBig(x, 3, value);
      expect(getBig(x, 3)).toBe(value);
      expect(BigInt(hexRegister(x, 3))).toBe(value);
      expect(BigInt(getU32(x, 3))).toBe(BigInt.asUintN(32, value));
      if (value < 2n ** 53n || value % 4096n === 0n) {
        expect(BigInt(getNumber(x, 3))).toBe(value);
        const y = makeRegisters();
        setNumber(y, 3, Number(value));
        expect(y).toEqual(x);
      }
      const signed = BigInt.asIntN(64, value);
      if (signed > -(2n ** 53n) && signed < 2n ** 53n) {
        expect(BigInt(getSigned(x, 3))).toBe(signed);
        const y = makeRegisters();
        setNumber(y, 3, Number(signed));
        expect(y).toEqual(x);
      }
    }),
  );
});

test('a product is exact below 2^53, -1 from 2^64 on, and rounded between', () => {
  fc.assert(
    fc.property(factors, ([a, b]) => {
      const x = makeRegisters();
      setBig(x, 1, a);
      setBig(x, 2, b);
      const exact = a * b;
      const got = product(x, 1, 2);
      // A factor of 2^53 or more that is no multiple of a page is rounded too, which moves the product as little.
      const factorsFit = [a, b].every((value) => BigInt(Number(value)) === value);
      if (exact >= 2n ** 64n) expect(got).toBe(-1);
      else if (factorsFit) expect(got).toBe(Number(exact));
      else expect(Math.abs(got - Number(exact))).toBeLessThanOrEqual(Number(exact) * 2 ** -51);
      expect(product(x, 2, 1)).toBe(got);
    }),
    { numRuns: 2000 },
  );
});

test('a range that reaches 2^64 wraps, and no other', () => {
  const near = fc.tuple(factors, fc.bigInt({ min: -3n, max: 3n })).map(([[a, b], offset]): [bigint, bigint, bigint] => {
    const size = a * b;
    return [a, b, BigInt.asUintN(64, 2n ** 64n - BigInt.asUintN(64, size) + offset)];
  });
  const far = fc.tuple(factors, u64).map(([[a, b], base]): [bigint, bigint, bigint] => [a, b, base]);
  fc.assert(
    fc.property(fc.oneof(near, far), ([a, b, base]) => {
      fc.pre(a * b < 2n ** 64n);
      const x = makeRegisters();
      setBig(x, 1, a);
      setBig(x, 2, b);
      setBig(x, 3, base);
      const size = product(x, 1, 2);
      fc.pre(size >= 0);
      expect(additionWraps(x, 3, 1, 2, size)).toBe(base + a * b >= 2n ** 64n);
    }),
    { numRuns: 2000 },
  );
});

const anyCall = fc.constantFrom(...calls);
const call = anyCall.chain((spec) =>
  fc.tuple(fc.constant(spec), fc.array(u64, { minLength: spec.args.length, maxLength: spec.args.length })),
);

test('the called function reads what the caller passed, cut to the width of the argument', () => {
  fc.assert(
    fc.property(call, ([spec, values]) => {
      const x = makeRegisters().fill(-1);
      encodeCall(x, spec, values);
      expect(decodeFunction(x)).toBe(spec);
      values.forEach((value, n) => {
        const type = spec.args[n]?.type;
        const got = BigInt(decodeArgument(x, spec, n));
        if (type === 'u32') expect(got).toBe(BigInt.asUintN(32, value));
        else if (type === 'i32') expect(got).toBe(BigInt.asIntN(32, value));
        else if (value < 2n ** 53n || value % 4096n === 0n) expect(got).toBe(value);
        expect(getBig(x, n + 1)).toBe(value);
      });
      for (let n = spec.args.length + 1; n < REGISTER_COUNT; n++) expect(getBig(x, n)).toBe(0n);
    }),
  );
});

test('numbers are taken modulo 2^64', () => {
  const x = makeRegisters();
  encodeCall(x, callNamed('alloc_domain'), [0, 0, 1, -1]);
  expect(getBig(x, 4)).toBe(2n ** 64n - 1n);
  expect(decodeArgument(x, callNamed('alloc_domain'), 3)).toBe(-1);
  encodeCall(x, callNamed('iova_to_phys'), [2 ** 32 + 5, 2n ** 64n + 7n]);
  expect(decodeArgument(x, callNamed('iova_to_phys'), 0)).toBe(5);
  expect(getBig(x, 2)).toBe(7n);
  expect(() => encodeCall(x, callNamed('free_domain'), [])).toThrow('free_domain: expected 1 arguments, got 0');
});

test('only an id of the table is a call', () => {
  fc.assert(
    fc.property(u64, (id) => {
      const x = makeRegisters();
      setBig(x, 0, id);
      const spec = calls.find((candidate) => BigInt(functionId(candidate)) === id);
      expect(decodeFunction(x)).toBe(spec);
    }),
  );
  for (const spec of calls) expect(callAt(functionId(spec) - FUNCTION_ID_BASE)).toBe(spec);
});

const resultOf = (spec: CallSpec, x0: bigint, x1: bigint, x2 = 0n) => {
  const x = makeRegisters();
  [x0, x1, x2].forEach((value, n) => {
    setBig(x, n, BigInt.asUintN(64, value));
  });
  return decodeResult(x, spec);
};

test('a negative errno comes back from every call that returns one', () => {
  const errors = fc.constantFrom(...Object.values(Errno));
  fc.assert(
    fc.property(anyCall, errors, (spec, errno) => {
      const inX0 = spec.x0 === 'errno';
      fc.pre(inX0 || spec.x1 === 'errno' || spec.x1 === 'handleOrErrno');
      const result = inX0 ? resultOf(spec, BigInt(-errno), 4096n) : resultOf(spec, 0n, BigInt(-errno));
      expect(result).toEqual({ errno: -errno, value: inX0 ? 4096 : 0, supported: true, request: null });
      expect(succeeded(result)).toBe(false);
      expect(formatResult(result, spec)).toContain(errnoName(-errno));
    }),
  );
});

test('a result is read from the register that the call uses', () => {
  const none = { errno: 0, supported: true, request: null };
  expect(resultOf(callNamed('map_pages'), 0n, 0x3000n)).toEqual({ ...none, value: 0x3000 });
  expect(resultOf(callNamed('unmap_pages'), 0n, 0x3000n)).toEqual({ ...none, value: 0x3000 });
  expect(resultOf(callNamed('reserve_vm'), 0n, 0x1001n)).toEqual({ ...none, value: 0x1001 });
  expect(resultOf(callNamed('vcpu_put'), 0n, 99n)).toEqual({ ...none, value: 0 });
  expect(resultOf(callNamed('iova_to_phys'), 0n, 0xfffffffff000n)).toEqual({ ...none, value: 0xfffffffff000 });
  expect(resultOf(callNamed('free_domain'), -1n, 0n)).toEqual({ errno: -1, value: 0, supported: false, request: null });
});

test('a request survives its register, and the bits above it are ignored', () => {
  const pages = fc.oneof(
    fc.constantFrom(0, 1, 2 ** 24 - 1, 2 ** 24, 2 ** 31, 2 ** 32 - 1),
    fc.nat({ max: 2 ** 32 - 1 }),
  );
  fc.assert(
    fc.property(fc.constantFrom(RequestType.heap, RequestType.iommu), pages, u64, (type, count, noise) => {
      const x = makeRegisters();
      encodeRequest(x, type, count);
      expect(getBig(x, 2)).toBe(BigInt(type) + (BigInt(count) << 8n));
      setBig(x, 2, getBig(x, 2) | (noise << 40n));
      expect(decodeRequest(x)).toEqual({ pool: type === RequestType.heap ? PoolId.heap : PoolId.iommu, pages: count });
      expect(resultOf(callNamed('map_pages'), 0n, 0n, getBig(x, 2)).request?.pages).toBe(count);
      expect(resultOf(callNamed('free_domain'), 0n, 0n, getBig(x, 2)).request).toBe(null);
    }),
  );
  const x = makeRegisters();
  setNumber(x, 2, 77);
  encodeRequest(x, RequestType.none, 3);
  expect(getBig(x, 2)).toBe(0n);
  for (const type of [0, 1, 2, 3, 6, 255]) {
    setNumber(x, 2, type + 256);
    expect(decodeRequest(x), `type ${type}`).toBe(null);
  }
  expect(listHead(0x80000000, 6)).toBe(0x80000006);
});

test('calls and results read well', () => {
  const x = makeRegisters();
  encodeCall(x, callNamed('map_pages'), [7, 0x1000, 0xfffffffffffff000n, 4096, 3, 0x13]);
  expect(formatCall(x)).toBe(
    'map_pages(domain=7, iova=0x1000, paddr=0xfffffffffffff000, pgsize=0x1000, pgcount=0x3, prot=0x13)',
  );
  setNumber(x, 0, 5);
  expect(formatCall(x)).toBe('hvc(x0=0x5)');
  const spec = callNamed('map_pages');
  expect(formatResult(resultOf(spec, 0n, 0x2000n, 0x105n), spec)).toBe('0x2000 bytes (asks for 1 page(s) in pool 1)');
  expect(formatResult(resultOf(spec, -17n, 0x1000n), spec)).toBe('-EEXIST, 0x1000 bytes');
  const freed = callNamed('free_domain');
  expect(formatResult(resultOf(freed, 0n, 0n), freed)).toBe('0');
  expect(formatResult(resultOf(freed, -1n, 0n), freed)).toBe('not supported');
});

test('the table is sound: names and positions are unique, arguments fit the registers', () => {
  expect(new Set(calls.map(({ name }) => name)).size).toBe(calls.length);
  expect(new Set(calls.map(({ position }) => position)).size).toBe(calls.length);
  expect(calls.map(({ position }) => position)).toEqual(
    calls.map(({ position }) => position).toSorted((a, b) => a - b),
  );
  for (const spec of calls) {
    expect(spec.args.length, spec.name).toBeLessThanOrEqual(REGISTER_COUNT - 1);
    expect(new Set(spec.args.map(({ name }) => name)).size, spec.name).toBe(spec.args.length);
    expect(new Set(spec.errors).size, spec.name).toBe(spec.errors.length);
    expect(spec.summary, spec.name).toMatch(/^[A-Z].*\.$/);
    const hasErrno = spec.x0 === 'errno' || spec.x1 === 'errno' || spec.x1 === 'handleOrErrno';
    expect(spec.errors.length > 0, spec.name).toBe(hasErrno);
    expect(isCallName(spec.name)).toBe(true);
    expect(callNamed(spec.name)).toBe(spec);
  }
  expect(new Set(Object.values(Errno)).size).toBe(Object.keys(Errno).length);
  expect(() => callNamed('map_page')).toThrow("no hypercall 'map_page'; there are: host_share_hyp, ");
});
