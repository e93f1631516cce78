/**
 * docs/how-it-works.md: one map_pages and one unmap_pages, pause by pause, with the bytes that they really write. The
 * text is written here around what a run of the hypervisor shows.
 */

import { HostMemory, setUpSmmu } from '#host';
import { createHypervisor } from '#hyp';
import { hypLayout } from '#hyp/layout';
import { android17, type CallName, encodeCall, makeRegisters } from '#hypercall-abi';
import { createMachine, hostPort, type Machine, run, structures, tiny } from '#machine';
import { decodeFields, leafFields } from '../oracle/decode/index.ts';
import { type NamedPage, type TracedStep, traceSteps } from './step-trace.ts';

const PAGE = 4096;
const IOVA = 0x1000;
const DOMAIN = 1;
const READ_WRITE = 3;

interface Told {
  readonly before: Int32Array;
  readonly after: Int32Array;
  readonly steps: readonly TracedStep[];
}

/** The page, as Markdown. */
export function renderHowItWorks(): string {
  const { machine, map, unmap, pa } = runBoth();
  const leaf = lastWrite(map, 'writeDescriptor');
  const commands = unmap.steps
    .filter(({ kind }) => kind === 'queue')
    .map(({ what, writes }) => {
      // A second half that stays zero is not among what changed.
      const [first, second = '0_0'] = writes.filter((write) => write.what === what).map(({ after }) => after);
      return wordsOf([first!, second]);
    });
  const [tlbi, sync] = commands.map((words) => structures.describeCommand(words));
  const bits = decodeFields(leafFields(1, 3), wordsOf([leaf]))
    .filter(({ value }) => value !== 0)
    .map(({ name, value }) => `${name} ${hex(value)}`)
    .join(', ');
  const smmu = machine.description.smmus[0]!;
  return `${[
    '# How it works: one map and one unmap',
    '',
    `The host wants its disk to read and write the page at \`${hex(pa)}\` under the I/O virtual address \`${hex(IOVA)}\`, and`,
    "later not any more. Both times it cannot do it itself: the tables are the hypervisor's.",
    'Below is each place where the hypervisor pauses because another CPU or a device could step in',
    `(\`yield\` in \`hyp/\`), and what it changes there, old bytes and new, on machine \`${machine.description.name}\`. Domain ${DOMAIN} translates at stage 1, the`,
    'disk is attached to it, and its tables exist down to the last level from an earlier mapping next to this one.',
    '',
    '## map_pages',
    '',
    'What the host puts into its registers, and what it finds there after the HVC (x0 the error, x1 the bytes mapped, x2 a',
    'request for memory if any):',
    '',
    ...registers(map),
    '',
    ...stepLines(map),
    '',
    '- **First a reference on the domain**, by an atomic exchange: from here on nobody can free it. Whose domain it is was',
    '  tested before the count moved.',
    "- **Then a reference on the page, then the descriptor.** The count in the page's record (`hyp_page`) goes up before any",
    '  device can reach the page. A page that is counted cannot be shared, donated or given to a guest.',
    `- **The descriptor** \`${leaf}\` is a level-3 page:`,
    `  ${bits}.`,
    '  The barrier makes it visible to the walker before the host hears that it is there. An entry that was invalid needs no',
    '  invalidation: the SMMU may not cache what is not valid.',
    '',
    '## unmap_pages',
    '',
    ...registers(unmap),
    '',
    ...stepLines(unmap),
    '',
    '- **The descriptor goes first.** From now on no new walk finds the page; what the SMMU has cached still does. So the page',
    "  is only put on this CPU's list of pages to release, and keeps its count.",
    `- **The invalidation**: \`${tlbi}\`,`,
    `  then \`${sync}\`. The tag of the domain's translations is its id.`,
    '- **Barrier, then CMDQ_PROD.** The entries must be in memory before the index tells the SMMU to read them.',
    `  A missing barrier here lets \`${smmu.name}\` consume what stood in the queue before.`,
    '- **CMDQ_CONS has caught up**: the SYNC is consumed, so the invalidation has completed. Only now is the count taken back, and',
    '  the page can change hands. The other order is a real defect of the past (Z14 of the zoo; `npm start` finds it).',
    '',
    'Locks are always taken in one order, the outermost first, as `LOCK_ORDER` in `hyp/layout.ts` declares it; `pool` locks, which',
    'table pages come and go under, are not needed here. What the pauses mean to an interleaving of CPUs, and which stores wait',
    'for a barrier, is said in [concurrency.md](concurrency.md).',
  ].join('\n')}\n`;
}

function runBoth(): { machine: Machine; map: Told; unmap: Told; pa: number } {
  const machine = createMachine(tiny);
  const memory = new HostMemory(tiny);
  const [smmu] = tiny.smmus.map((description) => setUpSmmu(hostPort(machine.cpus[0]!), memory, description));
  const hypervisor = createHypervisor(machine);
  run(hypervisor.boot({ smmus: tiny.smmus.map(({ base }) => base) }));
  const frame = (name: CallName, args: readonly number[]): Int32Array => {
    const x = makeRegisters();
    encodeCall(x, android17.call(name), args);
    return x;
  };
  const call = (name: CallName, ...args: readonly number[]): void => {
    const x = frame(name, args);
    run(hypervisor.hvc(0, x));
    if (x[0] !== 0) throw new Error(`${name}: ${x[0]}`);
  };
  call('alloc_mgt_refill', 1, memory.alloc(4) + 4, 1);
  call('alloc_domain', 0, 0, DOMAIN, android17.domainTypes.s1);
  call('attach_dev', 0, DOMAIN, tiny.devices[0]!.sid, 0, 0, 0);
  call('map_pages', DOMAIN, IOVA + PAGE, memory.alloc(), PAGE, 1, READ_WRITE);
  const layout = hypLayout(tiny);
  const pages: NamedPage[] = [
    { pa: smmu!.cmdq, bytes: 16 << tiny.smmus[0]!.cmdqLog2, name: (offset) => `CMDQ entry ${offset >> 4}` },
    ...tablePages(machine),
  ];
  const tell = (name: CallName, ...args: readonly number[]): Told => {
    const before = frame(name, args);
    const after = before.slice();
    const steps = traceSteps(machine, layout, pages, hypervisor.hvc(0, after));
    return { before, after, steps };
  };
  const pa = memory.alloc();
  const map = tell('map_pages', DOMAIN, IOVA, pa, PAGE, 1, READ_WRITE);
  const unmap = tell('unmap_pages', DOMAIN, IOVA, PAGE, 1);
  return { machine, map, unmap, pa };
}

/** The tables that the walk to {@link IOVA} passes, as the SMMU walks them. */
function tablePages(machine: Machine): NamedPage[] {
  const explanation = machine.smmus[0]!.explain(tiny.devices[0]!.sid, IOVA + PAGE, false);
  return explanation.descriptors.map(({ pa, level }) => ({
    pa: pa - (pa % PAGE),
    bytes: PAGE,
    name: (offset) => `level ${level} table[${offset / 8}]`,
  }));
}

function registers({ before, after }: Told): string[] {
  const text = (x: Int32Array, n: number): string => `${hex32(x[2 * n + 1]!)}_${hex32(x[2 * n]!)}`;
  const lines = ['```', '      at the call        on return'];
  for (let n = 0; n <= 6; n++) lines.push(`x${n}    ${text(before, n)}  ${text(after, n)}`);
  return [...lines, '```'];
}

function stepLines({ steps }: Told): string[] {
  const lines = ['```'];
  steps.forEach(({ kind, what, writes }, i) => {
    const [first] = writes;
    const own = writes.length === 1 && first!.what === what;
    const change = own ? `  ${first!.before} -> ${first!.after}` : '';
    lines.push(`${String(i + 1).padStart(3)} ${kind.padEnd(16)} ${what.padEnd(24)}${change}`.trimEnd());
    if (!own) for (const w of writes) lines.push(`${' '.repeat(21)}${w.what.padEnd(24)}  ${w.before} -> ${w.after}`);
  });
  return [...lines, '```'];
}

function lastWrite({ steps }: Told, kind: string): string {
  const write = steps.findLast((step) => step.kind === kind)?.writes.at(-1);
  if (write === undefined) throw new Error(`the call has no step '${kind}' that writes`);
  return write.after;
}

/** Words (lo, hi) of 64-bit values written as `hhhhhhhh_llllllll`. */
function wordsOf(texts: readonly string[]): Int32Array {
  return Int32Array.from(
    texts.flatMap((text) => {
      const [hi, lo] = text.split('_');
      return [Number.parseInt(lo!, 16) | 0, Number.parseInt(hi!, 16) | 0];
    }),
  );
}

function hex32(n: number): string {
  return (n >>> 0).toString(16).padStart(8, '0');
}

function hex(n: number): string {
  return `0x${n.toString(16)}`;
}
