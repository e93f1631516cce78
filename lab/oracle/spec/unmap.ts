/**
 * unmap_pages and iova_to_phys (docs/abi-sources.md, section 3; native page-table behaviour of Linux 7.2). Both give
 * numbers and no errno: 0 for anything wrong. Unmapping stops at the first hole; a block is removed whole or not at all;
 * a table where a block of that size could be is removed with all that it maps, also when that is nothing.
 */

import { IPA_END, PAGE } from '../facts.ts';
import { LEAF_BYTES } from '../maplets.ts';
import type { Call } from './call.ts';
import { levelOfSize, usedDomain } from './map.ts';
import { accept, type CallRules, type Row } from './row.ts';

const iova = (c: Call): number => c.number(2);
let level = 0;

/** What the domain has in one slot of that level. */
const Slot = { empty: 0, leaves: 1, partOfBlock: 2 } as const;

/** The slot `done` bytes behind the IOVA. */
function slotAt(c: Call, done: number): number {
  const { maplets } = c.ghost;
  const entry = maplets.find(c.ghost.domainMaplets(usedDomain(c)), iova(c) + done, level);
  const isLeaf = maplets.isLeaf(entry);
  if (maplets.level === level && (isLeaf || maplets.hasLeaves(entry, level))) return Slot.leaves;
  return isLeaf ? Slot.partOfBlock : Slot.empty;
}

/** How many bytes of the range the domain's table can have. */
function reach(c: Call): number {
  const id = usedDomain(c);
  const { inputEnd } = c.facts.geometry(c.ghost.domainSmmu(id), c.ghost.domainStage(id));
  return Math.min(c.size, inputEnd - iova(c));
}

/** How many bytes can be unmapped before something stops it. */
function planUnmap(c: Call): void {
  const id = usedDomain(c);
  for (const end = reach(c); c.planned < end; c.planned += LEAF_BYTES[level]!) {
    const slot = slotAt(c, c.planned);
    const isTable = slot === Slot.empty && level !== 3 && c.hasTable(id, iova(c) + c.planned, level);
    if (slot !== Slot.leaves && !isTable) return;
  }
}

/**
 * Whether unmapping may have stopped after so many bytes, by what is mapped alone: when the calls that overlapped are over
 * nobody knows where tables stood that held nothing.
 */
function mayStopAfter(c: Call, bytes: number): boolean {
  let done = 0;
  for (const end = reach(c); done < end; done += LEAF_BYTES[level]!) {
    const slot = slotAt(c, done);
    if (done === bytes) return slot !== Slot.leaves;
    if (slot === Slot.partOfBlock || (slot === Slot.empty && level === 3)) return false;
  }
  return done === bytes;
}

const isWrong = (c: Call): boolean => c.size <= 0 || !c.isMultiple(2, 3) || ((c.lo(2) | c.lo(3)) & (PAGE - 1)) !== 0;

function judgeBytes(c: Call): string | null {
  const isRight = c.value === c.planned || (c.isAfterwards && isByMappings(c) && mayStopAfter(c, c.value));
  return isRight ? null : `unmapped 0x${c.value.toString(16)} bytes; it must be 0x${c.planned.toString(16)}`;
}

/** Whether the domain in x1 is in use and has a table. */
const hasTable = (c: Call): boolean => usedDomain(c) >= 0 && c.ghost.domainStage(usedDomain(c)) !== 0;
const isIdentity = (c: Call): boolean => c.u32(1) === c.facts.profile.domains.identity;

/** Whether the arguments are such that what is mapped decides. */
const isByMappings = (c: Call): boolean => !isWrong(c) && !isIdentity(c) && hasTable(c) && level >= 1 && level <= 3;

const call = 'unmap_pages';

export const unmapPages: CallRules = {
  prepare: (c) => {
    c.size = c.fittingProduct(3, 4, 2, 2);
    c.planned = 0;
    level = levelOfSize(c, 3);
    if (isByMappings(c)) planUnmap(c);
  },
  rows: [
    accept(call, 'arguments', { when: isWrong, accept: judgeBytes }),
    accept(call, 'no-domain', { when: (c) => usedDomain(c) < 0, accept: judgeBytes }),
    accept(call, 'page-size', { when: () => level < 1 || level > 3, accept: judgeBytes }),
    accept(call, 'nothing', { when: (c) => c.planned === 0, accept: judgeBytes, apply: applyIfAfterwards }),
    accept(call, 'part', { when: (c) => c.planned < c.size, accept: judgeBytes, apply: applyUnmapped }),
    accept(call, 'ok', { accept: judgeBytes, apply: applyUnmapped }),
  ],
};

function applyUnmapped(c: Call): void {
  const id = usedDomain(c);
  if (id < 0 || level < 1 || level > 3) return;
  const span = LEAF_BYTES[level]!;
  c.unmapIn(id, () => {
    for (let done = 0; done < Math.min(c.value, c.size); done += span) {
      c.ghost.removeMaplets(id, iova(c) + done, level, c.touch);
    }
  });
}

/** Where tables without a leaf are not known, more may have been unmapped than was planned. */
function applyIfAfterwards(c: Call): void {
  if (c.isAfterwards) applyUnmapped(c);
}

/** The address that the domain translates x2 to, 0 when it translates it to none. */
function planTranslate(c: Call, at: number): number {
  const { maplets } = c.ghost;
  const entry = maplets.find(c.ghost.domainMaplets(usedDomain(c)), at, 3);
  if (!maplets.isLeaf(entry)) return 0;
  return maplets.targetPage(entry) * PAGE + (at % LEAF_BYTES[maplets.level]!);
}

const translate = 'iova_to_phys';

function judgeAddress(c: Call): string | null {
  return c.value === c.planned ? null : `gave 0x${c.value.toString(16)}; it must be 0x${c.planned.toString(16)}`;
}

/** Input addresses that the table does not translate: native walkers ignore the bits above its range. */
function isBeyond(c: Call): boolean {
  const { ghost } = c;
  const id = usedDomain(c);
  return iova(c) >= c.facts.geometry(ghost.domainSmmu(id), ghost.domainStage(id)).inputEnd;
}

export const iovaToPhys: CallRules = {
  prepare: (c) => {
    c.planned = 0;
    if (!hasTable(c)) return;
    const { inputEnd } = c.facts.geometry(c.ghost.domainSmmu(usedDomain(c)), c.ghost.domainStage(usedDomain(c)));
    // The low 48 bits are exact however large the register's value is.
    const low = (c.hi(2) & 0xffff) * 4294967296 + (c.lo(2) >>> 0);
    c.planned = planTranslate(c, Math.min(inputEnd, IPA_END) === inputEnd ? low % inputEnd : low);
  },
  rows: [
    accept(translate, 'no-domain', { when: (c) => usedDomain(c) < 0, accept: judgeAddress }),
    accept(translate, 'beyond', { when: isBeyond, accept: (c) => (c.value === 0 ? null : judgeAddress(c)) }),
    accept(translate, 'unmapped', { when: (c) => c.planned === 0, accept: judgeAddress }),
    accept(translate, 'ok', { accept: judgeAddress }),
  ],
};

/** Generations in which a domain may have no table yet. */
export const unmapPagesUnbound: CallRules = {
  prepare: unmapPages.prepare,
  rows: withNoTable(unmapPages.rows, call, judgeBytes),
};

/** Of these, the one whose identity domain has an id of the host's. */
export const unmapPagesAndroid16: CallRules = {
  prepare: unmapPages.prepare,
  rows: after(
    unmapPagesUnbound.rows,
    `${call}/arguments`,
    accept(call, 'identity', { when: isIdentity, accept: judgeBytes }),
  ),
};

export const iovaToPhysUnbound: CallRules = {
  prepare: iovaToPhys.prepare,
  rows: withNoTable(iovaToPhys.rows, translate, judgeAddress),
};

/** The identity domain gives the IOVA itself, all 64 bits of it. */
export const iovaToPhysAndroid16: CallRules = {
  prepare: iovaToPhys.prepare,
  rows: [
    accept(translate, 'identity', {
      when: isIdentity,
      accept: (c) => (c.after[2] === c.lo(2) && c.after[3] === c.hi(2) ? null : 'did not give the IOVA'),
    }),
    ...iovaToPhysUnbound.rows,
  ],
};

/** The rows, with one for a domain without a table behind that for no domain. */
function withNoTable(rows: readonly Row[], name: string, judge: (c: Call) => string | null): readonly Row[] {
  return after(rows, `${name}/no-domain`, accept(name, 'no-table', { when: (c) => !hasTable(c), accept: judge }));
}

/** The rows, with one more behind the one of that id. */
function after(rows: readonly Row[], id: string, more: Row): readonly Row[] {
  return rows.flatMap((row) => (row.id === id ? [row, more] : [row]));
}
