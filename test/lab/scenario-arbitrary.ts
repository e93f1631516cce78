/** Arbitrary scenarios in the form in which the parser gives them. */
import fc from 'fast-check';
import { type CallName, callNamed, calls, Errno, guestCalls } from '#hypercall-abi';
import type { GuestKind } from '../../lab/scenario/guest-expectation.ts';
import { guestHvcKind, hvcKind } from '../../lab/scenario/print.ts';
import type {
  CallExpectation,
  GuestExpectation,
  GuestRequest,
  Scenario,
  Step,
  Value,
} from '../../lab/scenario/types.ts';
import { pageRef } from '../../lab/scenario/value.ts';

const name = fc
  .stringMatching(/^[a-z][a-z0-9_]{0,6}$/)
  .filter((text) => !/^(read|write|exec|cache|noexec|mmio|priv|s1|s2)$/.test(text));
const big = fc.bigInt({ min: 2n ** 53n, max: 2n ** 64n - 1n }).map((n): Value => ({ big: `0x${n.toString(16)}` }));
const number = fc.oneof(fc.nat({ max: 40 }), fc.nat(), fc.maxSafeNat(), big);
const page = fc
  .tuple(name, fc.integer({ min: 0, max: 9 }), fc.nat({ max: 600 }), fc.nat({ max: 4095 }))
  .map(([text, log2, offset, byte]): Value => pageRef(text, 2 ** log2, offset, byte));
const place = fc.oneof(number, page);
const named = name.map((text): Value => ({ name: text }));
const cpu = fc.nat({ max: 3 });

function argument(unit: string, type: string): fc.Arbitrary<Value> {
  if (unit === 'domain' || unit === 'handle' || unit === 'stream') return fc.oneof(named, place);
  return type === 'i32'
    ? fc.oneof(
        place,
        fc.integer({ min: -(2 ** 31), max: 0 }).map((n) => n || 0),
      )
    : place;
}

const errno = fc
  .oneof(fc.constantFrom(...Object.values(Errno)), fc.integer({ min: 0, max: 2 ** 31 }))
  .map((n) => -n || 0);
const request = fc.record({ pool: fc.constantFrom('heap' as const, 'iommu' as const), pages: fc.nat() });

function callExpectation(call: CallName | null): fc.Arbitrary<CallExpectation> {
  const kind = call === null ? null : callNamed(call).x1;
  const forms: fc.Arbitrary<CallExpectation>[] = [fc.constant({}), fc.record({ request })];
  const value = fc.record({ value: place, request }, { requiredKeys: ['value'] });
  const bare = fc.record({ errno, request }, { requiredKeys: ['errno'] });
  if (kind === null || kind === 'handleOrErrno') {
    forms.push(fc.record({ handle: fc.constant(true as const), request }, { requiredKeys: ['handle'] }));
  }
  if (kind !== 'pa' && kind !== 'list') forms.push(bare);
  if (kind === null || kind === 'bytes' || kind === 'pages' || kind === 'pa' || kind === 'list') {
    forms.push(value, fc.record({ errno, value: place, request }, { requiredKeys: ['errno', 'value'] }));
  }
  return fc.oneof(fc.constant<CallExpectation>({ unsupported: true }), ...forms);
}

function optional<T extends object, K extends string, V>(base: fc.Arbitrary<T>, key: K, value: fc.Arbitrary<V>) {
  return fc
    .tuple(base, fc.option(value, { nil: undefined }))
    .map(([fields, extra]) => (extra === undefined ? fields : { ...fields, [key]: extra })) as fc.Arbitrary<T>;
}

const call = fc.constantFrom(...calls).chain((spec): fc.Arbitrary<Step> => {
  const args = fc.record(Object.fromEntries(spec.args.map((arg) => [arg.name, argument(arg.unit, arg.type)])));
  const base = fc.record({ kind: fc.constant('call' as const), cpu, call: fc.constant(spec.name), args });
  const bound = spec.name === 'reserve_vm' ? optional(base, 'bind', name) : base;
  return optional(bound, 'expect', callExpectation(spec.name)) as fc.Arbitrary<Step>;
});

const hvc = fc.array(place, { minLength: 1, maxLength: 8 }).chain((registers): fc.Arbitrary<Step> => {
  while (registers.at(-1) === 0 && registers.length > 1) registers.pop();
  const kind = hvcKind(registers);
  const alike = calls.find((spec) => spec.x1 === kind)?.name ?? null;
  const base = fc.record({ kind: fc.constant('hvc' as const), cpu, registers: fc.constant(registers) });
  return optional(base, 'expect', callExpectation(alike)) as fc.Arbitrary<Step>;
});

function guestExpectation(kind: GuestKind): fc.Arbitrary<GuestExpectation> {
  const status = fc.constantFrom(0, -1, -3, -7);
  const asked: fc.Arbitrary<GuestRequest> = fc.oneof(request, fc.record({ ipa: number, bytes: number }));
  const forms: fc.Arbitrary<GuestExpectation>[] = [
    fc.constant({}),
    fc.record({ request: asked }),
    fc.record({ again: fc.constant(true as const), request: asked }, { requiredKeys: ['again'] }),
    fc.record({ status, request: asked }, { requiredKeys: ['status'] }),
  ];
  if (kind === 'domain' || kind === null) forms.push(fc.constant({ domain: true }));
  if (kind === 'token' || kind === null) forms.push(fc.record({ token: fc.tuple(number, number) }));
  if (kind === 'bytes' || kind === null) {
    forms.push(fc.record({ status, value: place, request: asked }, { requiredKeys: ['value'] }));
  }
  return fc.oneof(...forms);
}

const guest = fc.constantFrom(...guestCalls).chain((spec): fc.Arbitrary<Step> => {
  const args = fc.record(Object.fromEntries(spec.args.map((arg) => [arg.name, argument(arg.unit, arg.type)])));
  const base = fc.record({ kind: fc.constant('guest' as const), cpu, call: fc.constant(spec.name), args });
  const bound = spec.x1 === 'domain' ? optional(base, 'bind', name) : base;
  return optional(bound, 'expect', guestExpectation(spec.x1)) as fc.Arbitrary<Step>;
});

const guestHvc = fc
  .tuple(fc.constantFrom(0xc600003d, 0xc600003e, 7), fc.array(place, { maxLength: 7 }))
  .chain(([id, rest]): fc.Arbitrary<Step> => {
    const registers = [id, ...rest];
    while (registers.at(-1) === 0 && registers.length > 1) registers.pop();
    const base = fc.record({ kind: fc.constant('guestHvc' as const), cpu, registers: fc.constant(registers) });
    return optional(base, 'expect', guestExpectation(guestHvcKind(registers))) as fc.Arbitrary<Step>;
  });

const smmu = fc.record({ kind: fc.constant('smmu' as const), smmu: name, answers: fc.boolean() });

const part = optional(
  fc.oneof(call, hvc, guest, guestHvc) as fc.Arbitrary<object>,
  'yields',
  fc.nat(99),
) as fc.Arbitrary<Step>;

const access = fc.constantFrom('ok' as const, 'abort' as const, 'bus error' as const);
const write = fc.record({ kind: fc.constant('write' as const), cpu, at: place, value: place });
const read = fc.record({ kind: fc.constant('read' as const), cpu, at: place });
const topup = fc.record({
  kind: fc.constant('topup' as const),
  cpu,
  pool: fc.constantFrom('heap' as const, 'iommu' as const),
  chunks: fc.integer({ min: 1, max: 100 }),
  order: fc.nat({ max: 6 }),
});
const describe = fc.record({
  kind: fc.constant('describe' as const),
  cpu,
  at: place,
  vm: argument('handle', 'u32'),
  isProtected: place,
  vcpus: place,
});
const device = fc.record({ kind: fc.constant('dma' as const), device: name, iova: place });
const dma = fc.oneof(
  device.map((fields) => ({ ...fields, access: 'read' as const })),
  fc.tuple(device, place).map(([fields, value]) => ({ ...fields, access: 'write' as const, value })),
);
const reached = fc.oneof(
  fc.record({ reaches: place }),
  fc.constantFrom('F_TRANSLATION', 'C_BAD_STE').map((fault) => ({ fault })),
  fc.constant('abort' as const),
);
const line = fc
  .string({ unit: 'grapheme', minLength: 1, maxLength: 20 })
  .map((text) => text.replace(/[\p{Cc}\p{Zl}\p{Zp}\p{Cs}]/gu, '-').trim())
  .filter((text) => text !== '');
const expectation = optional(
  fc.record({ kind: fc.constant('expect' as const), property: fc.stringMatching(/^[a-z][a-z/-]{0,12}$/) }),
  'text',
  line,
);

/** Any step; an expectation of a violation only where `first` is false. */
export const anyStep: fc.Arbitrary<Step> = fc.oneof(
  { weight: 4, arbitrary: call },
  hvc,
  guest,
  guestHvc,
  part,
  fc.record({ kind: fc.constant('run' as const), cpu, yields: fc.oneof(fc.nat(99), fc.constant('end' as const)) }),
  optional(fc.record({ kind: fc.constant('drain' as const), cpu }), 'store', fc.integer({ min: 1, max: 9 })),
  smmu,
  optional(optional(write, 'width', fc.constantFrom(1 as const, 2 as const, 8 as const)), 'expect', access),
  optional(
    fc.record({ kind: fc.constant('read' as const), cpu, at: place, width: fc.constant(8 as const) }),
    'expect',
    number,
  ),
  optional(
    read,
    'expect',
    fc.oneof(fc.nat({ max: 2 ** 32 - 1 }), fc.constantFrom('abort' as const, 'bus error' as const)),
  ),
  optional(topup, 'expect', callExpectation('attach_dev')),
  optional(describe, 'expect', access),
  optional(
    optional(
      optional(dma as fc.Arbitrary<object>, 'pasid', fc.nat({ max: 2 ** 20 - 1 })),
      'cached',
      fc.constant(true as const),
    ),
    'expect',
    reached,
  ) as fc.Arbitrary<Step>,
);

export const anyScenario: fc.Arbitrary<Scenario> = optional(
  fc.record({
    profile: fc.constant('android17'),
    machine: fc.constantFrom('tiny', 'qemu-virt'),
    hypervisor: fc.constantFrom('postern', 'postern+Z14', 'postern+Z14+Z23'),
    steps: fc
      .tuple(
        anyStep,
        fc.array(fc.oneof({ weight: 6, arbitrary: anyStep }, expectation as fc.Arbitrary<Step>), { maxLength: 12 }),
      )
      .map(([first, rest]) => [first, ...rest]),
  }),
  'title',
  line,
);
