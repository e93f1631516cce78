/**
 * unmap_pages and iova_to_phys (docs/abi-sources.md, section 3; native page-table behaviour of Linux 7.2). Both give
 * numbers and no errno: 0 for anything wrong. Unmapping stops at the first hole; a block is removed whole or not at all;
 * a table where a block of that size could be is removed with all that it maps, also when that is nothing.
 */

import { IPA_END, PAGE } from '../facts.ts';
import { LEAF_BYTES } from '../maplets.ts';
import type { Call } from './call.ts';
import { levelOfSize, usedDomain } from './map.ts';
import { accept, type CallRules } from './row.ts';

const iova = (c: Call): number => c.number(2);
let level = 0;

/** How many bytes can be unmapped before something stops it. */
function planUnmap(c: Call): void {
  const id = usedDomain(c);
  const { ghost } = c;
  const { maplets } = ghost;
  const root = ghost.domainMaplets(id);
  const { inputEnd } = c.facts.geometry(ghost.domainSmmu(id), ghost.domainStage(id));
  const span = LEAF_BYTES[level]!;
  while (c.planned < c.size && iova(c) + c.planned < inputEnd) {
    const at = iova(c) + c.planned;
    const entry = maplets.find(root, at, level);
    const isLeaf = maplets.isLeaf(entry);
    const here = maplets.level === level && (isLeaf || maplets.hasLeaves(entry, level));
    if (!here && (isLeaf || level === 3 || !c.hasTable(id, at, level))) return;
    c.planned += span;
  }
}

const isWrong = (c: Call): boolean => c.size <= 0 || !c.isMultiple(2, 3) || ((c.lo(2) | c.lo(3)) & (PAGE - 1)) !== 0;

function judgeBytes(c: Call): string | null {
  return c.value === c.planned
    ? null
    : `unmapped 0x${c.value.toString(16)} bytes; it must be 0x${c.planned.toString(16)}`;
}

const call = 'unmap_pages';

export const unmapPages: CallRules = {
  prepare: (c) => {
    c.size = c.fittingProduct(3, 4, 2, 2);
    c.planned = 0;
    level = levelOfSize(c, 3);
    if (!isWrong(c) && usedDomain(c) >= 0 && level >= 1 && level <= 3) planUnmap(c);
  },
  rows: [
    accept(call, 'arguments', { when: isWrong, accept: judgeBytes }),
    accept(call, 'no-domain', { when: (c) => usedDomain(c) < 0, accept: judgeBytes }),
    accept(call, 'page-size', { when: () => level < 1 || level > 3, accept: judgeBytes }),
    accept(call, 'nothing', { when: (c) => c.planned === 0, accept: judgeBytes }),
    accept(call, 'part', { when: (c) => c.planned < c.size, accept: judgeBytes, apply: applyUnmapped }),
    accept(call, 'ok', { accept: judgeBytes, apply: applyUnmapped }),
  ],
};

function applyUnmapped(c: Call): void {
  const id = usedDomain(c);
  if (id < 0 || level < 1 || level > 3) return;
  const span = LEAF_BYTES[level]!;
  c.unmapOn(c.ghost.domainSmmu(id), () => {
    for (let done = 0; done < Math.min(c.value, c.size); done += span) {
      c.ghost.removeMaplets(id, iova(c) + done, level, c.touch);
    }
  });
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
    if (usedDomain(c) < 0) return;
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
