/**
 * What registers tell of the pages of VMs: which went to which guest address of which VM, and which page holds a VM's
 * top-level table. Which VM that is may not be known (see vm-states.ts). Where they leave a choice, every page in question
 * may have become the host's, and none is judged.
 */

import { VM_COUNT, VM_HANDLE_BASE } from '../calls.ts';
import { AddressTree, type RunSink } from './address-tree.ts';
import { PageMove, type PageStates } from './page-states.ts';

const PAGE = 4096;
/** Space 0 of the tree holds what went to a VM that is not known. */
const UNKNOWN_SPACE = 0;

export class GuestBooks {
  readonly #pages: PageStates;
  readonly #given = new AddressTree(VM_COUNT + 1);
  /** Top-level tables of VMs. Once there were two, which one a finalised VM had is not known, and none is forgotten. */
  readonly #roots = new Set<number>();
  readonly #uncertain: RunSink;
  readonly #unshared: RunSink;
  readonly #reclaimed: RunSink;

  constructor(pages: PageStates) {
    this.#pages = pages;
    this.#uncertain = {
      run: (pa, size) => {
        for (let at = pa; at < pa + size; at += PAGE) pages.mayBeHosts(at);
      },
    };
    this.#unshared = { run: (pa, size) => pages.unshareGuest(pa, size) };
    this.#reclaimed = { run: (pa, size) => pages.move(pa, size, PageMove.reclaimGuest) };
  }

  reset(): void {
    this.#given.reset();
    this.#roots.clear();
  }

  /** Pages were given to a VM, which may not be known: [pa, pa + size) is at guest address `ipa` now. */
  give(handle: number, pa: number, ipa: number, size: number): void {
    this.#pages.giveGuest(pa, size);
    this.#given.insert(spaceOf(handle), ipa, pa, size, this.#uncertain);
  }

  /** Physical address of a VM's page, or -1 where that is not known. */
  pageAt(handle: number, ipa: number): number {
    const space = spaceOf(handle);
    return space === UNKNOWN_SPACE ? -1 : this.#given.lookup(space, ipa);
  }

  /** unshare_guest succeeded. */
  unshare(handle: number, ipa: number, size: number): void {
    this.#takeBack(handle, ipa, size, this.#unshared);
  }

  /** reclaim_dying_guest_page succeeded. */
  reclaim(handle: number, ipa: number, size: number): void {
    this.#takeBack(handle, ipa, size, this.#reclaimed);
  }

  #takeBack(handle: number, ipa: number, size: number, sink: RunSink): void {
    const space = spaceOf(handle);
    const known = space === UNKNOWN_SPACE ? 0 : this.#given.remove(space, ipa, size, sink);
    if (known < size) this.#given.visit(UNKNOWN_SPACE, ipa, size, this.#uncertain);
  }

  /** init_vm succeeded with that page for the top-level table. */
  init(root: number): void {
    this.#pages.move(root, PAGE, PageMove.donateHyp);
    this.#roots.add(root);
  }

  /** finalize_teardown_vm succeeded: the top-level table of the VM is the host's again. */
  finalize(handle: number): void {
    const space = spaceOf(handle);
    if (space !== UNKNOWN_SPACE) this.#given.clear(space, this.#uncertain);
    if (this.#roots.size === 1) {
      for (const root of this.#roots) this.#pages.move(root, PAGE, PageMove.returnHost);
      this.#roots.clear();
    } else {
      for (const root of this.#roots) this.#pages.mayBeHosts(root);
    }
  }
}

/** Space of a VM in the tree; that of unknown VMs where the handle is none, or out of bounds. */
function spaceOf(handle: number): number {
  const space = handle - VM_HANDLE_BASE + 1;
  return space >= 1 && space <= VM_COUNT ? space : UNKNOWN_SPACE;
}
