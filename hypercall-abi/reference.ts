/** The reference page of the contract, as Markdown, made from the tables that the code itself uses. */

import {
  type ArgumentSpec,
  type CallSpec,
  FUNCTION_ID_BASE,
  functionId,
  PROT_MASK,
  Prot,
  VM_COUNT,
  VM_HANDLE_BASE,
  VmDescription,
} from './calls.ts';
import { Errno, type ErrnoName, SmcccStatus } from './errors.ts';
import { firstGuestArgument, type GuestResultKind, GuestStatus, guestCalls } from './guest-calls.ts';
import { lifeCycleDiagram } from './life-cycles/diagram.ts';
import type { LifeCycle } from './life-cycles/life-cycle.ts';
import { lifeCycles } from './life-cycles/tables.ts';
import { PoolId, RequestType } from './memory-request.ts';
import { defaultProfile, type Profile } from './profiles/index.ts';
import {
  argumentText,
  errnoText,
  errorTextOf,
  moreResultsOf,
  resultText,
  unitText,
  unitTextOf,
} from './reference-text.ts';

type Row = readonly (string | number)[];

const hex = (value: number) => `0x${value.toString(16)}`;
const code = (value: string | number) => `\`${value}\``;

function table(head: Row, rows: readonly Row[]): string {
  const line = (cells: Row) => `| ${cells.join(' | ')} |`;
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n');
}

/** Link target of a heading, as Markdown renderers make it. */
const anchor = (heading: string) => `#${heading.toLowerCase().replaceAll(' ', '-')}`;

/** The page of a profile; the life cycles, which all share, are on that of the default one. */
export function renderReference(profile: Profile = defaultProfile): string {
  const sections = [introduction(profile), conventions(profile), overview(profile)];
  sections.push(...profile.calls.map((spec) => renderCall(spec, profile)));
  if (profile.has('pviommu_attach')) sections.push(renderGuestCalls());
  sections.push(requests(profile), lists());
  if (profile.has('init_vm')) sections.push(descriptions(profile));
  sections.push(errors(profile), values(profile));
  if (profile === defaultProfile) sections.push(renderLifeCycles());
  return `${sections.join('\n\n')}\n`;
}

/** Name of the page of a profile, below docs/. */
export function referenceFile({ name }: Profile): string {
  return name === defaultProfile.name ? 'hypercalls.md' : `hypercalls-${name}.md`;
}

function introduction({ name, summary, calls }: Profile): string {
  return [
    name === defaultProfile.name ? '# Hypercalls' : `# Hypercalls of ${name}`,
    '',
    '<!-- Generated from hypercall-abi by `UPDATE=1 npx vitest run test/hypercall-abi/reference.test.ts`. -->',
    '',
    `Profile \`${name}\` (${summary}): ${calls.length} calls. Where the numbers come from is in [abi-sources.md](abi-sources.md), where`,
    'this model differs from upstream in [profiles.md](profiles.md).',
  ].join('\n');
}

function conventions({ calls, request }: Profile): string {
  const inX0 = calls.filter(({ x0 }) => x0 === 'errno').map(({ name }) => code(name));
  return [
    '## Registers',
    '',
    'A call is an HVC with the function id in x0 and up to seven arguments from x1 on.',
    '',
    '- A `u32` or `i32` argument is the lower half of its register; the upper half is ignored.',
    '- Addresses and sizes are in bytes, page numbers in units of 4 KiB. The granule is 4 KiB.',
    `- On return x0 is ${SmcccStatus.success}, or ${SmcccStatus.notSupported} for a function id that is no call.${inX0.length === 0 ? '' : ` Only ${inX0.join(', ')} uses it for its error.`}`,
    '- x1 holds the result. Errors are negative, sign-extended to 64 bits.',
    `- ${request === 'x2' ? 'x2 holds' : 'x2 and x3 hold'} a [memory request](#memory-requests) where a call can have one, else ${request === 'x2' ? 'it is' : 'they are'} not written.`,
    '- A call that fails has changed nothing that the host can see, but for tables that were added or torn down on the way,',
    '  chunks of a refill that were taken before, and the part of a map that x1 counts.',
  ].join('\n');
}

function overview({ calls }: Profile): string {
  const rows = calls.map((spec) => [
    code(hex(functionId(spec))),
    `[${spec.name}](${anchor(spec.name)})`,
    spec.args.map(({ name }) => name).join(', ') || 'none',
    resultText[spec.x1],
  ]);
  const head = `Function ids are ${code(hex(FUNCTION_ID_BASE))} plus the position of the call.`;
  return ['## The calls', '', head, '', table(['x0', 'Call', 'Arguments', 'x1 on return'], rows)].join('\n');
}

function renderCall(spec: CallSpec, profile: Profile): string {
  const { name, summary, args, x0, x1, request } = spec;
  const lines = [`### ${name}`, '', `${summary} Function id ${code(hex(functionId(spec)))}.`];
  if (args.length > 0) {
    const rows = args.map((arg, i) => [`x${i + 1}`, code(arg.name), arg.type, describe(spec, arg, profile)]);
    lines.push('', table(['In', 'Argument', 'Width', 'Meaning'], rows));
  }
  const results: Row[] = [];
  if (x0 === 'errno') results.push(['x0', '0, or a negative error']);
  results.push(['x1', resultText[x1]]);
  if (request) results.push([profile.request === 'x2' ? 'x2' : 'x2, x3', 'a memory request, or 0']);
  for (const [register, text] of moreResultsOf(profile, name)) results.push([register, text]);
  lines.push('', table(['Out', 'Meaning'], results), '', renderErrors(spec, profile));
  return lines.join('\n');
}

function describe(spec: CallSpec, arg: ArgumentSpec, profile: Profile): string {
  return unitTextOf(profile, arg.unit) ?? argumentText[`${spec.name}.${arg.name}`] ?? unitText[arg.unit];
}

function renderErrors({ name, errors: names, x1 }: CallSpec, profile: Profile): string {
  if (names.length === 0) return x1 === 'none' ? 'No errors.' : 'No errors: where anything is wrong, x1 is 0.';
  const rows = names.map((error) => [code(`-${error}`), errorTextOf(profile, name, error) ?? errnoText[error]]);
  return table(['Error', 'When'], rows);
}

const guestResultText: Readonly<Record<GuestResultKind, string>> = {
  none: '0',
  domain: 'id of the domain',
  bytes: 'bytes done, counted from the start of the range',
  token: 'with x2: base of the SMMU’s registers, and StreamID there',
};

function renderGuestCalls(): string {
  const rows = guestCalls.map((spec) => [
    code(spec.name),
    code(hex(spec.functionId)),
    spec.op < 0 ? 'first argument' : spec.op,
    spec.args.map(({ name }, i) => `x${firstGuestArgument(spec) + i} ${name}`).join(', ') || 'none',
    guestResultText[spec.x1],
    spec.summary,
  ]);
  return [
    '## Calls of guests',
    '',
    'A protected guest makes these itself, with its own registers. Registers up to x6 that have no argument must be zero. On',
    `return x0 is ${GuestStatus.success}; ${GuestStatus.invalid} for every mistake, with the bytes done before it in x1; or`,
    `${GuestStatus.notSupported} for another function id or operation. A call that lacks memory, or a page that the guest was not given`,
    'yet, ends in the host: what it lacks is told there, and the guest makes the call again, or goes on behind what x1 counts.',
    '',
    table(['Call', 'x0', 'x1', 'Arguments', 'x1 on return', 'Meaning'], rows),
  ].join('\n');
}

function requests({ request }: Profile): string {
  if (request === 'x2-x3') return requestsInTwo();
  const rows: Row[] = [
    [RequestType.none, 'none', 'x2 is 0'],
    [RequestType.heap, 'the heap', `that many single pages, given by a refill of pool ${PoolId.heap}`],
    [RequestType.iommu, 'the IOMMU pool', `one chunk of that many pages, given by a refill of pool ${PoolId.iommu}`],
  ];
  return [
    '## Memory requests',
    '',
    'A call that ran out of pages says in x2 what it needs: the type in bits 7:0, a number of pages in bits 39:8. The host',
    'refills the pool and makes the call again; after a short map it goes on behind what x1 counts.',
    '',
    table(['Type', 'What is missing', 'Number of pages'], rows),
  ].join('\n');
}

function requestsInTwo(): string {
  return [
    '## Memory requests',
    '',
    'A call that ran out of pages says in x2 and x3 what it needs: x2 has type 1 in bits 7:0 and what the memory is for in',
    'bits 15:8; x3 has a number of chunks in bits 31:0 and the bytes of each in bits 63:32. The host refills the pool and',
    'makes the call again; after a short map it goes on behind what x1 counts. x2 is 0 where nothing is asked for.',
    '',
    table(
      ['For', 'What is missing', 'Chunks'],
      [
        [1, 'the heap', `that many single pages, given by a refill of pool ${PoolId.heap}`],
        [3, 'the IOMMU pool', `one chunk of that size, given by a refill of pool ${PoolId.iommu}`],
      ],
    ),
  ].join('\n');
}

function lists(): string {
  return [
    '## Lists of chunks',
    '',
    'A list runs through the memory that it gives away. Its head is the physical address of a chunk, with the order (the',
    'chunk has 2^order pages) in bits 11:0; the first 8 bytes of a chunk hold the next head, or 0. A link is read only after',
    'its chunk has become the hypervisor’s. A list that comes back from a reclaim has single pages, all zero but for the link.',
  ].join('\n');
}

function descriptions(profile: Profile): string {
  const rows = Object.entries(VmDescription)
    .filter(([name]) => name !== 'size')
    .map(([name, offset]) => [
      offset,
      code(name),
      name === 'handle' && !profile.has('reserve_vm') ? 'not looked at' : (vmFieldText[name] ?? ''),
    ]);
  return [
    '## The description of a VM',
    '',
    `\`init_vm\` reads ${VmDescription.size} bytes, each field once, from a page that the host has shared with the hypervisor.`,
    `Handles run from ${code(hex(VM_HANDLE_BASE))} on; ${VM_COUNT} VMs can exist at once.`,
    '',
    table(['Offset', 'Field', 'Meaning'], rows),
  ].join('\n');
}

const vmFieldText: Readonly<Record<string, string>> = {
  handle: 'the handle that `reserve_vm` gave',
  protected: 'not 0 for a protected VM',
  vcpus: 'number of vCPUs, at least 1',
};

function errors({ calls }: Profile): string {
  const used = (name: ErrnoName) => calls.filter((spec) => spec.errors.includes(name)).map((spec) => code(spec.name));
  const rows = Object.entries(Errno)
    .map(
      ([name, value]): Row => [
        code(`-${name}`),
        -value,
        errnoText[name as ErrnoName],
        used(name as ErrnoName).join(', '),
      ],
    )
    .filter(([, , , by]) => by !== '');
  return ['## Errors', '', table(['Name', 'Value', 'Meaning', 'Calls'], rows)].join('\n');
}

const protText: Readonly<Record<keyof typeof Prot, string>> = {
  read: 'the device may read',
  write: 'the device may write',
  cache: 'normal write-back memory',
  noexec: 'the device may not fetch instructions',
  mmio: 'the target is device registers',
  priv: 'privileged accesses only',
};

function values({ domains, domainTypes, domainTypeLimit }: Profile): string {
  const prot = Object.entries(Prot).map(([name, value]) => [
    code(hex(value)),
    name,
    protText[name as keyof typeof Prot],
  ]);
  const types = Object.entries(domainTypes)
    .sort(([, a], [, b]) => a - b)
    .map(([name, value]) => [value, typeText[name]!.name, typeText[name]!.meaning]);
  return [
    '## Values',
    '',
    `Protection bits of \`map_pages\`; any bit outside ${code(hex(PROT_MASK))} is an error:`,
    '',
    table(['Bit', 'Name', 'Meaning'], prot),
    '',
    `Domain types; ${domainTypeLimit} and more, and negative ones, do not exist:`,
    '',
    table(['Type', 'Name', 'Meaning'], types),
    '',
    `There are ${domains.count} domains.${domains.identity < 0 ? '' : ` Id ${domains.identity} is the identity domain, which nobody allocates.`} The host has the ids below`,
    `${domains.hostCount}${domains.hostCount < domains.count ? ', guests the others' : ''}. The id is also the tag (ASID or VMID) of the domain’s translations.`,
  ].join('\n');
}

const typeText: Readonly<Record<string, { readonly name: string; readonly meaning: string }>> = {
  s1: { name: 'stage 1', meaning: 'translated by a context descriptor' },
  s2: { name: 'stage 2', meaning: 'translated by the stream table entry itself' },
  any: { name: 'any', meaning: 'stage 1 where the hardware has it, else stage 2: the first attach decides' },
  bypass: { name: 'bypass', meaning: 'meant for the identity domain; another one translates at stage 2' },
  nested: { name: 'nested', meaning: 'meant for nested attachment; no stream can be attached to it here' },
};

function renderLifeCycles(): string {
  return [
    '## Life cycles',
    '',
    'What must not happen, whatever the host calls: the boundary checks every outcome against these. An event that a state',
    'has no arrow for is a violation. Events that come as first and last stand for a count that leaves or returns to zero.',
    '',
    Object.values(lifeCycles).map(renderLifeCycle).join('\n\n'),
  ].join('\n');
}

function renderLifeCycle(lifeCycle: LifeCycle): string {
  const { name, description, states, events, rules } = lifeCycle;
  const where = new Map<string, { readonly events: string[]; readonly place: string }>();
  const add = (event: string, place: string, rule: string) => {
    const row = where.get(`${place}: ${rule}`);
    if (row === undefined) where.set(`${place}: ${rule}`, { events: [code(event)], place });
    else row.events.push(code(event));
  };
  for (const { name: event, rule } of events) add(event, 'where there is no arrow', rule);
  for (const [key, rule] of Object.entries(rules)) {
    const [state, event] = key.split('.') as [string, string];
    add(event, `in ${code(state)}`, rule);
  }
  const rows = [...where].map(([key, row]) => [row.events.join(', '), row.place, key.slice(row.place.length + 2)]);
  return [
    `### Life of a ${name}`,
    '',
    description,
    '',
    '```mermaid',
    lifeCycleDiagram(lifeCycle).trimEnd(),
    '```',
    '',
    table(
      ['State', 'Meaning'],
      states.map((state) => [code(state.name), state.description]),
    ),
    '',
    table(['Event', 'Forbidden', 'Rule'], rows),
  ].join('\n');
}
