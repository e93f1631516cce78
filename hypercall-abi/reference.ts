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
import { lifeCycleDiagram } from './life-cycles/diagram.ts';
import type { LifeCycle } from './life-cycles/life-cycle.ts';
import { lifeCycles } from './life-cycles/tables.ts';
import { PoolId, RequestType } from './memory-request.ts';
import { android17 } from './profiles/index.ts';
import { argumentText, errnoText, errorText, moreResults, resultText, unitText } from './reference-text.ts';

const { calls, domains, domainTypes, domainTypeLimit } = android17;

type Row = readonly (string | number)[];

const hex = (value: number) => `0x${value.toString(16)}`;
const code = (value: string | number) => `\`${value}\``;

function table(head: Row, rows: readonly Row[]): string {
  const line = (cells: Row) => `| ${cells.join(' | ')} |`;
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n');
}

/** Link target of a heading, as Markdown renderers make it. */
const anchor = (heading: string) => `#${heading.toLowerCase().replaceAll(' ', '-')}`;

/** The whole page. */
export function renderReference(): string {
  const sections = [introduction(), conventions(), overview(), ...calls.map(renderCall)];
  sections.push(requests(), lists(), descriptions(), errors(), values(), renderLifeCycles());
  return `${sections.join('\n\n')}\n`;
}

function introduction(): string {
  return [
    '# Hypercalls',
    '',
    '<!-- Generated from hypercall-abi by `UPDATE=1 npx vitest run test/hypercall-abi/reference.test.ts`. -->',
    '',
    `Profile \`android17\`: ${calls.length} calls. Where the numbers come from is in [abi-sources.md](abi-sources.md), where`,
    'this model differs from upstream in [profiles.md](profiles.md).',
  ].join('\n');
}

function conventions(): string {
  return [
    '## Registers',
    '',
    'A call is an HVC with the function id in x0 and up to seven arguments from x1 on.',
    '',
    '- A `u32` or `i32` argument is the lower half of its register; the upper half is ignored.',
    '- Addresses and sizes are in bytes, page numbers in units of 4 KiB. The granule is 4 KiB.',
    `- On return x0 is ${SmcccStatus.success}, or ${SmcccStatus.notSupported} for a function id that is no call. Only \`map_pages\` uses it for its error.`,
    '- x1 holds the result. Errors are negative, sign-extended to 64 bits.',
    '- x2 holds a [memory request](#memory-requests) where a call can have one, else it is not written.',
    '- A call that fails has changed nothing that the host can see, but for tables that were added or torn down on the way,',
    '  chunks of a refill that were taken before, and the part of a map that x1 counts.',
  ].join('\n');
}

function overview(): string {
  const rows = calls.map((spec) => [
    code(hex(functionId(spec))),
    `[${spec.name}](${anchor(spec.name)})`,
    spec.args.map(({ name }) => name).join(', ') || 'none',
    resultText[spec.x1],
  ]);
  const head = `Function ids are ${code(hex(FUNCTION_ID_BASE))} plus the position of the call.`;
  return ['## The calls', '', head, '', table(['x0', 'Call', 'Arguments', 'x1 on return'], rows)].join('\n');
}

function renderCall(spec: CallSpec): string {
  const { name, summary, args, x0, x1, request } = spec;
  const lines = [`### ${name}`, '', `${summary} Function id ${code(hex(functionId(spec)))}.`];
  if (args.length > 0) {
    const rows = args.map((arg, i) => [`x${i + 1}`, code(arg.name), arg.type, describe(spec, arg)]);
    lines.push('', table(['In', 'Argument', 'Width', 'Meaning'], rows));
  }
  const results: Row[] = [];
  if (x0 === 'errno') results.push(['x0', '0, or a negative error']);
  results.push(['x1', resultText[x1]]);
  if (request) results.push(['x2', 'a memory request, or 0']);
  for (const [register, text] of moreResults[name] ?? []) results.push([register, text]);
  lines.push('', table(['Out', 'Meaning'], results), '', renderErrors(spec));
  return lines.join('\n');
}

function describe(spec: CallSpec, arg: ArgumentSpec): string {
  return argumentText[`${spec.name}.${arg.name}`] ?? unitText[arg.unit];
}

function renderErrors({ name, errors: names, x1 }: CallSpec): string {
  if (names.length === 0) return x1 === 'none' ? 'No errors.' : 'No errors: where anything is wrong, x1 is 0.';
  const rows = names.map((error) => [code(`-${error}`), errorText[name][error] ?? errnoText[error]]);
  return table(['Error', 'When'], rows);
}

function requests(): string {
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

function lists(): string {
  return [
    '## Lists of chunks',
    '',
    'A list runs through the memory that it gives away. Its head is the physical address of a chunk, with the order (the',
    'chunk has 2^order pages) in bits 11:0; the first 8 bytes of a chunk hold the next head, or 0. A link is read only after',
    'its chunk has become the hypervisor’s. A list that comes back from a reclaim has single pages, all zero but for the link.',
  ].join('\n');
}

function descriptions(): string {
  const rows = Object.entries(VmDescription)
    .filter(([name]) => name !== 'size')
    .map(([name, offset]) => [offset, code(name), vmFieldText[name] ?? '']);
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

function errors(): string {
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

function values(): string {
  const prot = Object.entries(Prot).map(([name, value]) => [
    code(hex(value)),
    name,
    protText[name as keyof typeof Prot],
  ]);
  const types = [
    [domainTypes.s1, 'stage 1', 'translated by a context descriptor; also what “any” means'],
    [domainTypes.s2, 'stage 2', 'translated by the stream table entry itself'],
  ];
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
    `There are ${domains.count} domains. Id ${domains.identity} is the identity domain, which nobody allocates; the host has the ids below`,
    `${domains.hostCount}, guests the others. The id is also the tag (ASID or VMID) of the domain’s translations.`,
  ].join('\n');
}

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
