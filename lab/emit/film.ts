/**
 * A scenario as a film: one frame for each step, with the state of the machine behind it in the words of the views:
 * whom memory belongs to, the commands that the hypervisor queued, what caches may still hold, and one access of a
 * device explained. Plain data, for pages and for programs.
 */
import { type HypLayout, hypLayout } from '#hyp/layout';
import { type Machine, structures } from '#machine';
import { type RecordedStep, recordScenario } from '../narrator/record.ts';
import { told } from '../narrator/tell.ts';
import type { Executor } from '../scenario/execute.ts';
import {
  type DmaStep,
  namedStreams,
  outcomeText,
  printStep,
  profileOf,
  type Scenario,
  type Step,
} from '../scenario/index.ts';
import type { HypervisorFactory, Session } from '../session/session.ts';
import { type MemoryRun, memoryMap, modelWalkView, OWNER_NAMES, ownerAt, renderSvg } from '../views/index.ts';
import { heldSentence, missingCommands } from '../walk/held.ts';
import { explainAccess } from '../walk/index.ts';

/** Something that may still be cached. */
export interface HeldFrame {
  readonly text: string;
  /** An invalidation covers it; only the CMD_SYNC is missing. */
  readonly pending: boolean;
  readonly missing: readonly string[];
}

/** A page that the scenario calls by name. */
export interface NamedPage {
  readonly name: string;
  /** Address in bytes, and how many pages there are from there. */
  readonly pa: number;
  readonly pages: number;
  readonly owner: string;
}

/** What came of one step, and the machine behind it. Frame 0 is the machine after boot. */
export interface Frame {
  readonly number: number;
  /** The step as the scenario writes it, without what it expects; empty for frame 0. */
  readonly text: string;
  /** Who acts: `cpu0`, or the name of a device or SMMU. */
  readonly actor: string;
  readonly result: string;
  readonly sentence: string;
  readonly details: readonly string[];
  readonly violations: readonly { readonly property: string; readonly text: string }[];
  readonly memory: readonly MemoryRun[];
  readonly pages: readonly NamedPage[];
  /** Commands that were queued in this step, by SMMU. */
  readonly commands: readonly { readonly smmu: string; readonly text: string }[];
  readonly held: readonly HeldFrame[];
  /** What was removed in this step, may have been held for a while, and is gone by its end. */
  readonly passed: readonly string[];
  /** Number of the drawing of the access among those of the film; null when there is none to explain. */
  readonly walk: number | null;
}

export interface Film {
  readonly title: string;
  readonly profile: string;
  readonly machine: string;
  readonly hypervisor: string;
  readonly ram: readonly { readonly base: number; readonly size: number }[];
  readonly frames: readonly Frame[];
  /** Drawings of walks as SVG, each once. */
  readonly walks: readonly string[];
  /** The access that the drawings explain, in words; null without one. */
  readonly access: string | null;
}

const PAGE = 4096;
const CMDQ_BASE = 0x90;
const CMDQ_PROD = 0x98;

/** Run `scenario` on `hypervisor` and film it. @throws as `recordScenario` */
export function filmOf(scenario: Scenario, hypervisor: HypervisorFactory): Film {
  const camera = new Camera(scenario);
  const { session } = recordScenario(scenario, hypervisor, { steps: 0 });
  const frames: Frame[] = [camera.boot(session)];
  recordScenario(scenario, hypervisor, { each: (recorded) => frames.push(camera.frame(recorded)) });
  const { profile, machine, hypervisor: identity, title = 'A scenario' } = scenario;
  return {
    title,
    profile,
    machine,
    hypervisor: identity,
    ram: session.machine.description.ram,
    frames,
    walks: camera.walks,
    access: camera.access,
  };
}

class Camera {
  readonly walks: string[] = [];
  private readonly known = new Map<string, number>();
  private readonly focus: DmaStep | null;
  private readonly layout: (machine: Machine) => HypLayout;
  /** PROD of each SMMU behind the step before. */
  private produced: number[] = [];

  constructor(scenario: Scenario) {
    const { steps } = scenario;
    this.layout = (machine) => hypLayout(machine.description, profileOf(scenario));
    this.focus = steps.find((step): step is DmaStep => step.kind === 'dma') ?? null;
  }

  get access(): string | null {
    if (this.focus === null) return null;
    const { device, access, iova } = this.focus;
    const where = typeof iova === 'number' ? `IOVA 0x${iova.toString(16)}` : 'its first IOVA';
    return `${device} ${access === 'read' ? 'reads' : 'writes'} at ${where}`;
  }

  boot(session: Session): Frame {
    this.produced = session.machine.smmus.map((smmu) => smmu.get(CMDQ_PROD));
    return {
      number: 0,
      text: '',
      actor: 'boot',
      result: '',
      sentence:
        'The hypervisor has taken over: the host is behind stage 2, and every stream is blocked. Nothing has been done yet.',
      details: [],
      violations: [],
      memory: memoryMap(session.machine, this.layout(session.machine)).runs,
      pages: [],
      commands: [],
      held: [],
      passed: [],
      walk: this.walk(session.machine, null),
    };
  }

  frame(recorded: RecordedStep): Frame {
    const { number, step, outcome, session, executor, violations } = recorded;
    const { sentence, details } = told(recorded);
    const { machine } = session;
    const { expect: _, ...bare } = step as Step & { expect?: unknown };
    return {
      number,
      text: printStep(bare as Step, session.profile),
      actor: actorOf(step),
      result: outcomeText(outcome, executor.names),
      sentence,
      details,
      violations: violations.map(({ property, text }) => ({ property, text })),
      memory: memoryMap(machine, this.layout(machine)).runs,
      pages: pagesOf(machine, executor),
      commands: this.commands(machine),
      held: heldIn(recorded),
      passed: passedIn(recorded),
      walk: this.walk(machine, executor),
    };
  }

  /** Commands that were queued since the last frame. */
  private commands(machine: Machine): Frame['commands'] {
    const { memory } = machine;
    return machine.smmus.flatMap((smmu, i) => {
      const lo = smmu.get(CMDQ_BASE);
      const log2 = lo & 31;
      const base = (smmu.get(CMDQ_BASE + 4) & 0xfffff) * 2 ** 32 + ((lo & ~31) >>> 0);
      const mask = (2 << log2) - 1;
      const list: { smmu: string; text: string }[] = [];
      const end = smmu.get(CMDQ_PROD) & mask;
      for (let at = (this.produced[i] ?? 0) & mask; at !== end; at = (at + 1) & mask) {
        const pa = base + 16 * (at & (mask >>> 1));
        const words = [0, 4, 8, 12].map((offset) => memory.read32(pa + offset));
        list.push({ smmu: smmu.description.name, text: structures.describeCommand(words) });
      }
      this.produced[i] = end;
      return list;
    });
  }

  private walk(machine: Machine, executor: Executor | null): number | null {
    const { focus } = this;
    const named = namedStreams(machine.description).find(({ name }) => name === focus?.device);
    if (focus === null || named === undefined || focus.pasid !== undefined) return null;
    const iova = typeof focus.iova === 'number' ? focus.iova : executor === null ? -1 : resolved(executor, focus);
    if (iova < 0) return null;
    const place = (pa: number): string => placeOf(machine, executor, pa);
    const access = { smmu: named.iommu, sid: named.sid, iova, write: focus.access === 'write' };
    const model = explainAccess(machine, access, place);
    const svg = renderSvg(modelWalkView(model, { where: 'at this point' })).replace(/<style>[\s\S]*?<\/style>\n?/, '');
    const known = this.known.get(svg);
    if (known !== undefined) return known;
    this.known.set(svg, this.walks.length);
    return this.walks.push(svg) - 1;
  }
}

function resolved(executor: Executor, { iova }: DmaStep): number {
  return Number(executor.names.resolve(iova, 'iova'));
}

function placeOf(machine: Machine, executor: Executor | null, pa: number): string {
  const owner = ownerAt(machine, pa);
  if (owner === null) return `0x${pa.toString(16)}`;
  const name = executor === null ? null : nameAt(executor, pa);
  return `${name === null ? `the page at 0x${pa.toString(16)}` : `page ${name}`}, ${OWNER_NAMES[owner]}`;
}

function nameAt(executor: Executor, pa: number): string | null {
  const value = executor.names.nameOf(pa - (pa % PAGE));
  return typeof value === 'object' && 'page' in value ? value.page : null;
}

function actorOf(step: Step): string {
  if ('cpu' in step) return `cpu${step.cpu}`;
  if (step.kind === 'dma') return step.device;
  return step.kind === 'smmu' ? step.smmu : '';
}

function pagesOf(machine: Machine, executor: Executor): NamedPage[] {
  return [...executor.names.save().pages].map(([name, { pa, pages }]) => {
    const owner = ownerAt(machine, pa);
    return { name, pa, pages, owner: owner ?? 'none' };
  });
}

function passedIn(recorded: RecordedStep): string[] {
  const { facts, session, executor } = recorded;
  const kept = new Set(session.machine.smmus.flatMap((smmu) => smmu.stale().map(({ id }) => id)));
  return facts.flatMap((fact) => {
    if (fact.kind !== 'removed' || kept.has(fact.entry.id)) return [];
    return [heldSentence(fact.entry, fact.pa < 0 ? null : placeOf(session.machine, executor, fact.pa))];
  });
}

function heldIn({ session, executor }: RecordedStep): HeldFrame[] {
  return session.machine.smmus.flatMap((smmu) =>
    smmu.stale().map((entry) => {
      const leaf = entry.kind === 'leaf' ? (entry.oldHi & 0xffff) * 2 ** 32 + ((entry.oldLo & 0xfffff000) >>> 0) : -1;
      const target = leaf < 0 ? null : placeOf(session.machine, executor, leaf);
      return { text: heldSentence(entry, target), pending: entry.pending, missing: missingCommands(entry) };
    }),
  );
}
