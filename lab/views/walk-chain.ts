/**
 * What a drawing of a walk says beyond the walk itself: how each address came about, which fields matter, how the input
 * address splits into indexes, and how far the order of checks came.
 */
import { cdGranuleBits0, cdT0sz } from '../oracle/decode/cd.ts';
import { levelShift } from '../oracle/decode/descriptor.ts';
import type { EventName } from '../oracle/decode/event.ts';
import type { DecodedField } from '../oracle/decode/fields.ts';
import { steConfig, steS2GranuleBits, steS2T0sz } from '../oracle/decode/ste.ts';
import type { Walk, WalkStep } from '../walk/result.ts';

/** One fetch, with what a reader wants to know of it. */
export interface Link {
  readonly step: WalkStep;
  /** How the address of the fetch came about. */
  readonly from: string;
  readonly fields: readonly DecodedField[];
  /** Belongs to a walk of stage 2 on behalf of stage 1. */
  readonly inner: boolean;
}

/** A part of the input address: what one level uses as its index. */
export interface AddressPart {
  readonly name: string;
  /** Highest and lowest bit. */
  readonly top: number;
  readonly bottom: number;
  readonly value: number;
  /** The walk came that far. */
  readonly used: boolean;
}

export type CheckState = 'passed' | 'decided' | 'not reached';

/** One check of the architecture's order, named by its event. */
export interface Check {
  readonly event: EventName;
  readonly state: CheckState;
}

interface Shape {
  readonly granuleBits: number;
  readonly inputBits: number;
}

/** Fields worth showing even where they are zero. */
const ALWAYS = new Set(['Config', 'Span', 'ASID', 'S2VMID', 'AF', 'AP[2]']);
/** Fields that say nothing about where an access goes and what it may do. */
const NEVER = new Set([
  'valid',
  'type',
  'MAIR0',
  'MAIR1',
  'AMAIR0',
  'AMAIR1',
  'EPD1',
  'T1SZ',
  'TG1',
  'software',
  'AA64',
]);
const NEVER_LIKE = /^(?:S1C|S2)?(?:IR|OR|SH)[01]?$|^SHCFG$|^S2AA64$|^MEV$/;

/** The fetches of a walk in order, explained. */
export function chainOf(walk: Walk): Link[] {
  let before: WalkStep | null = null;
  /** The descriptor of the level above, by stage. */
  const above: (WalkStep | null)[] = [null, null, null];
  return walk.steps.map((step) => {
    const from = origin(walk, step, before, above);
    if (step.stage !== null) above[step.stage] = namesTable(step) ? step : null;
    if (step.beneath === null) before = step;
    const inner = step.beneath !== null && step.beneath.of !== 'access';
    return { step, from, fields: keyFields(step), inner };
  });
}

/** The links in order, with those of one inner translation together. */
export function groupsOf(links: readonly Link[]): Link[][] {
  const groups: Link[][] = [];
  for (const link of links) {
    const last = groups.at(-1);
    if (link.inner && last?.[0]?.step.beneath === link.step.beneath) last?.push(link);
    else groups.push([link]);
  }
  return groups;
}

/** Whether a descriptor names a table, where the walk goes on. */
export function namesTable({ note }: WalkStep): boolean {
  return note.startsWith('table');
}

function keyFields(step: WalkStep): DecodedField[] {
  const fields = step.fields.filter(
    ({ name, value }) => ALWAYS.has(name) || (value !== 0 && !NEVER.has(name) && !NEVER_LIKE.test(name)),
  );
  // The note of a table says where the next one is.
  return fields.length === 1 && fields[0]!.name === 'next' ? [] : fields;
}

function origin(walk: Walk, step: WalkStep, before: WalkStep | null, above: readonly (WalkStep | null)[]): string {
  const { registers, sid } = walk;
  switch (step.kind) {
    case 'l1std':
      return `STRTAB_BASE + 8 × ${hex(Math.floor(sid / 2 ** registers.split))}, the StreamID without its low ${registers.split} bits`;
    case 'ste':
      return registers.twoLevel
        ? `L2Ptr + 64 × ${hex(sid % 2 ** registers.split)}, the low ${registers.split} bits of the StreamID`
        : `STRTAB_BASE + 64 × ${hex(sid)}, the StreamID`;
    case 'l1cd':
    case 'cd': {
      const pointer = before?.kind === 'l1cd' ? 'L2Ptr' : 'S1ContextPtr';
      return step.pa === null ? pointer : `${pointer}, an IPA that stage 2 has translated`;
    }
    case 'descriptor':
      return descriptorOrigin(walk, step, above[step.stage!] ?? null);
  }
}

function descriptorOrigin(walk: Walk, step: WalkStep, upper: WalkStep | null): string {
  const stage = step.stage!;
  const shape = shapeOf(walk, stage);
  if (shape === null) return '';
  const { top, bottom } = indexBits(shape, step.level!, upper === null);
  const table = 8 * 2 ** (top - bottom + 1);
  const index = Math.floor((step.address % table) / 8);
  const input = stage === 2 && translatesStage1(walk) ? 'IPA' : 'IOVA';
  const start = upper !== null ? 'next' : stage === 1 ? 'TTB0' : 'S2TTB';
  const through = step.pa === null ? '' : '; an IPA that stage 2 has translated';
  const begins = upper === null && step.beneath !== null ? `IPA ${hex(step.beneath.ipa)}: ` : '';
  return `${begins}${start} + 8 × ${index}, ${input} bits ${top}:${bottom}${through}`;
}

function translatesStage1(walk: Walk): boolean {
  const ste = walk.steps.find(({ kind }) => kind === 'ste');
  return ste !== undefined && (steConfig(ste.words[0]?.lo ?? 0) & 1) === 1;
}

function indexBits(shape: Shape, level: number, isFirst: boolean): { top: number; bottom: number } {
  const bottom = levelShift(level, shape.granuleBits);
  return { top: isFirst ? shape.inputBits - 1 : bottom + shape.granuleBits - 4, bottom };
}

/** Granule and input size of a stage's tables, from the CD or the STE that the walk fetched. */
function shapeOf(walk: Walk, stage: 1 | 2): Shape | null {
  const step = walk.steps.find(({ kind }) => kind === (stage === 1 ? 'cd' : 'ste'));
  if (step === undefined || step.words.length === 0) return null;
  const shape =
    stage === 1
      ? { granuleBits: cdGranuleBits0(step.words[0]!.lo), inputBits: 64 - cdT0sz(step.words[0]!.lo) }
      : { granuleBits: steS2GranuleBits(step.words[2]!.hi), inputBits: 64 - steS2T0sz(step.words[2]!.hi) };
  return shape.granuleBits === 0 ? null : shape;
}

/** How the address of the access splits into indexes; empty when no table is walked with it. */
export function addressParts(walk: Walk): AddressPart[] {
  const stage = translatesStage1(walk) ? 1 : 2;
  const shape = shapeOf(walk, stage);
  const steps = walk.steps.filter((step) => step.stage === stage);
  if (shape === null || steps.length === 0) return [];
  const parts: AddressPart[] = [];
  let bottom = shape.inputBits;
  for (let level = steps[0]!.level!; level <= 3; level++) {
    const used = steps.some((step) => step.level === level);
    const bits = indexBits(shape, level, level === steps[0]!.level);
    const value = Math.floor(walk.iova / 2 ** bits.bottom) % 2 ** (bits.top - bits.bottom + 1);
    const isLeafAbove = !used && walk.outcome.kind === 'translated';
    if (isLeafAbove) break;
    parts.push({ name: `level ${level}`, ...bits, value, used });
    bottom = bits.bottom;
  }
  parts.push({
    name: 'offset',
    top: bottom - 1,
    bottom: 0,
    value: walk.iova % 2 ** bottom,
    used: walk.outcome.kind === 'translated',
  });
  return parts;
}

const CONFIGURATION: readonly EventName[] = ['C_BAD_STREAMID', 'F_STE_FETCH', 'C_BAD_STE'];
const CONTEXT: readonly EventName[] = ['F_CD_FETCH', 'C_BAD_CD'];
const TABLES: readonly EventName[] = ['F_WALK_EABT', 'F_TRANSLATION', 'F_ADDR_SIZE', 'F_ACCESS', 'F_PERMISSION'];

/** The checks in the architecture's order, those of structures that this walk has no use for left out. */
export function checksOf(walk: Walk): Check[] {
  const { outcome } = walk;
  const decided = outcome.kind === 'fault' ? outcome.event : null;
  const has = (kind: WalkStep['kind']): boolean => walk.steps.some((step) => step.kind === kind);
  const order = [
    ...CONFIGURATION,
    ...(decided === 'F_STREAM_DISABLED' ? (['F_STREAM_DISABLED'] as const) : []),
    ...(translatesStage1(walk) && has('l1cd') ? (['C_BAD_SUBSTREAMID'] as const) : []),
    ...(translatesStage1(walk) ? CONTEXT : []),
    ...TABLES,
  ];
  // A transaction that no structure is fetched for passes no check, and one that is let through has only its size checked.
  const end = decided !== null ? order.indexOf(decided) : outcome.kind === 'translated' ? order.length : -1;
  const config = walk.steps.some(({ kind }) => kind === 'ste') ? CONFIGURATION.length : 0;
  return order.map((event, i) => {
    if (event === decided) return { event, state: 'decided' };
    const passed = end >= 0 ? i < end : i < config || (outcome.kind === 'bypassed' && event === 'F_ADDR_SIZE');
    return { event, state: passed ? 'passed' : 'not reached' };
  });
}

export function hex(value: number): string {
  return `0x${value.toString(16)}`;
}
