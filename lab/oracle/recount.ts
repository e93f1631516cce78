/**
 * The oracle against itself: what the monitor counts as memory changes is counted once more from its nodes, routes and
 * stale entries.
 */

import type { Facts } from './facts.ts';
import type { Findings } from './findings.ts';
import type { Monitor } from './monitor.ts';
import { N, NodeKind, Reached, T } from './node-store.ts';
import { S, StaleKind } from './stale-set.ts';

/** Compare the counts of every tag: what leads there now, what may be cached, entries of the stale set. */
export function recountTags(facts: Facts, monitor: Monitor, findings: Findings): void {
  const { store, stale, routes, reach } = monitor;
  const attached = new Int32Array(store.tags.last + 1);
  const staleRoutes = new Int32Array(attached.length);
  const staleEntries = new Int32Array(attached.length);
  routes.forEachTag((tag) => {
    attached[tag]!++;
  });
  for (let page = 0; page < facts.pages; page++) {
    for (let id = store.firstIn(page); id !== 0; id = store.node(id, N.nextInPage)) {
      if (store.kind(id) !== NodeKind.cd) continue;
      const tag = store.node(id, N.linkedTag);
      if (store.node(id, N.reached) === Reached.live) attached[tag]!++;
      else staleRoutes[tag]!++;
    }
  }
  for (let i = 0; i < stale.size; i++) {
    const at = stale.at(i);
    const tag = stale.word(at, S.tag);
    staleEntries[tag]!++;
    if (stale.kind(at) === StaleKind.ste || stale.kind(at) === StaleKind.cd) staleRoutes[tag]!++;
  }
  for (let tag = 1; tag < attached.length; tag++) {
    const same =
      attached[tag] === store.tag(tag, T.attached) &&
      staleRoutes[tag] === store.tag(tag, T.staleRoutes) &&
      staleEntries[tag] === store.tag(tag, T.staleEntries);
    if (same) continue;
    const text =
      `${reach.tagName(tag)}: ${attached[tag]} ways there, ${staleRoutes[tag]} cached, ${staleEntries[tag]} stale entries ` +
      `by a recount; ${store.tag(tag, T.attached)}, ${store.tag(tag, T.staleRoutes)}, ${store.tag(tag, T.staleEntries)} ` +
      'as they were counted';
    findings.add('oracle', 'tags', text, { domain: reach.domainOf(tag) });
  }
}
