/**
 * What registers tell of VMs: which pages went to which guest address of which VM, and which page holds a VM's top-level
 * table. Both are uncertain: vcpu_load has no result, and the handle of a VM that init_vm makes stands in memory. Where
 * they leave a choice, every page in question may have become the host's, and none is judged.
 */

import { VM_HANDLE_BASE } from '../calls.ts';
import { AddressTree, type RunSink } from './address-tree.ts';
import { PageMove, type PageStates } from './page-states.ts';

const PAGE = 4096;
/** VMs that are told apart (upstream's limit). Space 0 of the tree holds what went to a VM that is not known. */
const VM_SPACES = 256;
const UNKNOWN_VM = 0;
const NOTHING_LOADED = 0;
const SEVERAL = -1;

export class GuestBooks {
  readonly #pages: PageStates;
  readonly #given = new AddressTree(VM_SPACES);
  /** By CPU: the one VM whose vCPU may be loaded, none, or several that may. */
  readonly #loaded = new Map<number, number>();
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
    this.#loaded.clear();
    this.#roots.clear();
  }

  /** vcpu_load was called: the VM may be loaded now. */
  load(cpu: number, handle: number): void {
    const before = this.#loaded.get(cpu) ?? NOTHING_LOADED;
    this.#loaded.set(cpu, before === NOTHING_LOADED || before === handle ? handle : SEVERAL);
  }

  /** vcpu_put was called. */
  put(cpu: number): void {
    this.#loaded.set(cpu, NOTHING_LOADED);
  }

  /** map_guest succeeded on `cpu`: [pa, pa + size) is at guest address `ipa` now. */
  give(cpu: number, pa: number, ipa: number, size: number): void {
    this.#pages.giveGuest(pa, size);
    this.#given.insert(spaceOf(this.#loaded.get(cpu) ?? NOTHING_LOADED), ipa, pa, size, this.#uncertain);
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
    const known = space === UNKNOWN_VM ? 0 : this.#given.remove(space, ipa, size, sink);
    if (known < size) this.#given.visit(UNKNOWN_VM, ipa, size, this.#uncertain);
  }

  /** init_vm succeeded with that page for the top-level table. */
  init(root: number): void {
    this.#pages.move(root, PAGE, PageMove.donateHyp);
    this.#roots.add(root);
  }

  /** finalize_teardown_vm succeeded: the top-level table of the VM is the host's again. */
  finalize(handle: number): void {
    const space = spaceOf(handle);
    if (space !== UNKNOWN_VM) this.#given.clear(space, this.#uncertain);
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
  return space >= 1 && space < VM_SPACES ? space : UNKNOWN_VM;
}
