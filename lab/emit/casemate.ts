/**
 * A scenario as a log for casemate (rems-project/casemate), the checker of break-before-make for page tables of pKVM: one
 * s-expression for each write of a descriptor, each lock, barrier and invalidation. docs/emit.md says what stands for what:
 * casemate knows the tables of CPUs, and these are the tables of SMMUs.
 */
import { hypLayout } from '#hyp/layout';
import type { Machine, Touch } from '#machine';
import { recordScenario } from '../narrator/record.ts';
import { commandOpcode, decodeCommand, Opcode } from '../oracle/decode/index.ts';
import { LayoutReader } from '../oracle/layout-reader.ts';
import { printStep, profileOf, type Scenario } from '../scenario/index.ts';
import type { HypervisorFactory } from '../session/session.ts';
import type { TouchWrite } from '../session/stepped.ts';
import { ownerAt } from '../views/index.ts';

interface LoggedTouch {
  readonly cpu: number;
  readonly touch: Touch;
  readonly writes: readonly TouchWrite[];
  /** Commands that hardware was told of, as four words each. */
  readonly commands: readonly (readonly number[])[];
}

const PAGE = 4096;
const CMDQ_BASE = 0x90;
const CMDQ_PROD = 0x98;
const ADDRESS_HI = 0xffff;

/** Operations of CPUs that stand for those of SMMUs. */
const TLBI: Readonly<Record<number, string>> = {
  [Opcode.TLBI_NH_ALL]: 'vmalle1is',
  [Opcode.TLBI_NH_ASID]: 'aside1is',
  [Opcode.TLBI_NH_VA]: 'vae1is',
  [Opcode.TLBI_NH_VAA]: 'vaae1is',
  [Opcode.TLBI_S12_VMALL]: 'vmalls12e1is',
  [Opcode.TLBI_S2_IPA]: 'ipas2e1is',
  [Opcode.TLBI_NSNH_ALL]: 'alle1is',
};
const LEVEL_ANY = 0;

/** Run `scenario` on the stepped build of `hypervisor` and log it. @throws as `recordScenario` */
export function casemateLog(scenario: Scenario, hypervisor: HypervisorFactory): string {
  const touches: LoggedTouch[] = [];
  const writer = new LogWriter();
  recordScenario(scenario, hypervisor, {
    interleaved: true,
    started: ({ machine, stepped }) => {
      const queues = new Queues(machine);
      stepped!.onTouch = (cpu, touch, writes) => touches.push({ cpu, touch, writes, commands: queues.take(touch) });
    },
    each: ({ number, step, session }) => {
      const layout = hypLayout(session.machine.description, profileOf(scenario));
      const reader = new LayoutReader(session.machine.memory, layout, session.profile);
      writer.learnRoots(reader, session.profile.domains.count);
      const { expect: _, ...bare } = step as typeof step & { expect?: unknown };
      writer.step(
        `step ${number}: ${printStep(bare as typeof step, session.profile)}`,
        touches.splice(0),
        session.machine,
      );
    },
  });
  return writer.text;
}

/** The commands that each write of PROD has told an SMMU of. */
class Queues {
  private readonly machine: Machine;
  private readonly produced: number[];

  constructor(machine: Machine) {
    this.machine = machine;
    this.produced = machine.smmus.map((smmu) => smmu.get(CMDQ_PROD));
  }

  take({ kind, at }: Touch): number[][] {
    const { smmus, memory } = this.machine;
    const n = smmus.findIndex(({ description }) => at === description.base + CMDQ_PROD);
    const smmu = smmus[n];
    if (kind !== 'register' || smmu === undefined) return [];
    const lo = smmu.get(CMDQ_BASE);
    const mask = (2 << (lo & 31)) - 1;
    const base = (smmu.get(CMDQ_BASE + 4) & 0xfffff) * 2 ** 32 + ((lo & ~31) >>> 0);
    const end = smmu.get(CMDQ_PROD) & mask;
    const list: number[][] = [];
    for (let i = this.produced[n]! & mask; i !== end; i = (i + 1) & mask) {
      const pa = base + 16 * (i & (mask >>> 1));
      list.push([0, 4, 8, 12].map((offset) => memory.read32(pa + offset)));
    }
    this.produced[n] = end;
    return list;
  }
}

class LogWriter {
  text = '';
  private id = 0;
  private src = '';
  /** Roots that domains have now: the domain's number and the address of its lock. */
  private roots = new Map<number, { readonly domain: number; readonly lock: number }>();
  /** Pages that were told of, and the root that their tables belong to. */
  private readonly known = new Map<number, number>();

  learnRoots(reader: LayoutReader, domains: number): void {
    this.roots = new Map();
    for (let domain = 0; domain < domains; domain++) {
      const root = reader.domainRoot(domain);
      if (root !== 0 && reader.domainRefs(domain) !== 0) {
        this.roots.set(root, { domain, lock: reader.lockOfDomain(domain) });
      }
    }
  }

  step(src: string, touches: readonly LoggedTouch[], machine: Machine): void {
    this.src = src;
    for (const { cpu, touch, writes, commands } of touches) {
      if (touch.kind === 'lock' || touch.kind === 'unlock') this.record(touch.kind, cpu, `(address ${hex(touch.at)})`);
      if (touch.kind === 'barrier') this.record('barrier', cpu, 'dsb (kind ish)');
      for (const write of writes) {
        // A table is linked without a pause of its own: whatever is written to a table counts.
        const page = write.pa - (write.pa % PAGE);
        const isTable = this.roots.has(page) || (this.known.get(page) ?? 0) !== 0;
        if (touch.kind === 'writeDescriptor' || isTable) this.write(cpu, write, machine);
      }
      for (const words of commands) this.command(cpu, words);
    }
  }

  private write(cpu: number, { pa, hi, lo }: TouchWrite, machine: Machine): void {
    const page = pa - (pa % PAGE);
    this.page(cpu, page);
    const child = (hi & ADDRESS_HI) * 2 ** 32 + ((lo & ~(PAGE - 1)) >>> 0);
    const root = this.known.get(page) ?? 0;
    // A descriptor that leads to a page of the hypervisor is one of a table: devices are never mapped there.
    if (root !== 0 && (lo & 3) === 3 && ownerAt(machine, child) === 'hyp') {
      this.page(cpu, child);
      this.known.set(child, root);
      this.record('hint', cpu, `(kind set_owner_root) (location ${hex(child)}) (value ${hex(root)})`);
    }
    this.record('mem-write', cpu, `(mem-order plain) (address ${hex(pa)}) (value ${hex64(hi, lo)})`);
  }

  /** Tell of a page the first time that something is written there, or it becomes the root of a domain. */
  private page(cpu: number, page: number): void {
    const root = this.roots.get(page);
    if (!this.known.has(page)) {
      this.record('mem-init', cpu, `(address ${hex(page)}) (size ${hex(PAGE)})`);
      this.known.set(page, 0);
    }
    if (root === undefined || this.known.get(page) === page) return;
    this.known.set(page, page);
    this.record('hint', cpu, `(kind set_root_lock) (location ${hex(page)}) (value ${hex(root.lock)})`);
    const context = root.domain * 2 ** 48 + page;
    this.record('sysreg-write', cpu, `(sysreg vttbr_el2) (value ${hex(context)})`);
    this.record('barrier', cpu, 'isb');
  }

  private command(cpu: number, words: readonly number[]): void {
    const opcode = commandOpcode(words[0]!);
    if (opcode === Opcode.SYNC) this.record('barrier', cpu, 'dsb (kind ish)');
    const operation = TLBI[opcode];
    if (operation === undefined) return;
    const address = decodeCommand(words).fields.find(({ name }) => name === 'Address');
    const where = address === undefined ? '' : ` (addr ${hex(address.value)}) (level ${hex(LEVEL_ANY)})`;
    this.record('tlbi', cpu, `${operation}${where}`);
  }

  private record(name: string, cpu: number, fields: string): void {
    this.text += `(${name} (id ${this.id++}) (tid ${cpu}) ${fields} (src ${JSON.stringify(this.src)}))\n`;
  }
}

function hex(value: number): string {
  return `0x${value.toString(16)}`;
}

function hex64(hi: number, lo: number): string {
  return hi === 0 ? hex(lo >>> 0) : `0x${(hi >>> 0).toString(16)}${(lo >>> 0).toString(16).padStart(8, '0')}`;
}
