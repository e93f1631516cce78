/** For the text of a finding: by which leaf or cached copy a device comes to a page. Searches; only after something was found. */

import { DescriptorKind, descriptorKind, outputAddress } from './decode/index.ts';
import { type Facts, PAGE } from './facts.ts';
import { type Detail, hex } from './findings.ts';
import { LEAF_PAGES } from './maplets.ts';
import { N, NodeKind, Reached } from './node-store.ts';
import type { Reach } from './reach.ts';
import { S, StaleKind } from './stale-set.ts';

export interface Way {
  readonly text: string;
  readonly detail: Detail;
}

/** One way to the page, live ones first, and those of domains before those of the identity domain. */
export function describeWay(facts: Facts, reach: Reach, page: number): Way {
  return (
    wayOf(facts, reach, page, false) ??
    wayOf(facts, reach, page, true) ?? { text: 'hardware writes there', detail: { via: 'hardware' } }
  );
}

function wayOf(facts: Facts, reach: Reach, page: number, identity: boolean): Way | null {
  return (
    tableWay(facts, reach, page, Reached.live, identity) ??
    staleWay(facts, reach, page, identity) ??
    tableWay(facts, reach, page, Reached.stale, identity)
  );
}

function tableWay(facts: Facts, reach: Reach, page: number, reached: number, identity: boolean): Way | null {
  const { store } = reach;
  const { memory } = facts;
  for (let p = 0; p < facts.pages; p++) {
    for (let id = store.firstIn(p); id !== 0; id = store.node(id, N.nextInPage)) {
      if (store.kind(id) !== NodeKind.table || store.node(id, N.reached) !== reached) continue;
      if (reach.isIdentity(store.node(id, N.tag)) !== identity) continue;
      const level = store.level(id);
      const first = memory.indexOf(facts.paOf(p));
      for (let i = 0; i < 512; i++) {
        const lo = memory.words[first + 2 * i]!;
        const hi = memory.words[first + 2 * i + 1]!;
        const kind = descriptorKind(level, hi, lo);
        if (kind !== DescriptorKind.block && kind !== DescriptorKind.page) continue;
        const offset = facts.paOf(page) - outputAddress(level, hi, lo);
        if (offset < 0 || offset >= LEAF_PAGES[level]! * PAGE) continue;
        const iova = (store.iovaPage(id) + i * LEAF_PAGES[level]!) * PAGE + offset;
        const via = reached === Reached.live ? 'live' : 'stale table';
        return way(reach, store.node(id, N.tag), iova, via);
      }
    }
  }
  return null;
}

function staleWay(facts: Facts, reach: Reach, page: number, identity: boolean): Way | null {
  const { stale } = reach;
  for (let i = 0; i < stale.size; i++) {
    const at = stale.at(i);
    if (stale.kind(at) !== StaleKind.leaf || reach.isIdentity(stale.word(at, S.tag)) !== identity) continue;
    const offset = facts.paOf(page) / PAGE - stale.targetPage(at);
    if (offset < 0 || offset >= stale.word(at, S.count) * LEAF_PAGES[stale.level(at)]!) continue;
    const via = stale.isQueued(at) ? 'stale leaf, invalidated without SYNC' : 'stale leaf';
    return way(reach, stale.word(at, S.tag), (stale.iovaPage(at) + offset) * PAGE, via);
  }
  return null;
}

function way(reach: Reach, tag: number, iova: number, via: string): Way {
  const still = via === 'live' ? 'maps' : 'may still translate';
  return {
    text: `${reach.tagName(tag)} ${still} ${hex(iova)} to it (${via})`,
    detail: { iova, via, domain: reach.domainOf(tag) },
  };
}
