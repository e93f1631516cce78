/**
 * The life of a VM (docs/abi-sources.md, section 2). Deviations: init_vm reads {handle, protected, vcpus} as three u32
 * from a page shared with the hypervisor; a misaligned pgd is -EINVAL; a VM that holds pages is not finalised (-EBUSY).
 */

import { VM_COUNT, VM_HANDLE_BASE, VmDescription } from '#hypercall-abi';
import { PAGE } from '../facts.ts';
import { Owner } from '../ghost-pages.ts';
import { VmLife } from '../ghost-vms.ts';
import type { Call } from './call.ts';
import { fixPviommus, isStuck, takeBack } from './pviommu.ts';
import { accept, type CallRules, lack, refuse } from './row.ts';

/** Slot of the handle in x1, -1 when it can be none. */
function prepareSlot(c: Call): void {
  c.slot = c.ghost.vms.slot(c.u32(1));
}

const life = (c: Call): number => (c.slot < 0 ? VmLife.free : c.ghost.vms.life(c.slot));

function noSlotIsFree(c: Call): boolean {
  for (let slot = 0; slot < VM_COUNT; slot++) if (c.ghost.vms.life(slot) === VmLife.free) return false;
  return true;
}

export const reserveVm: CallRules = {
  prepare: () => {},
  rows: [
    refuse('reserve_vm', 'ENOMEM', noSlotIsFree),
    accept('reserve_vm', 'ok', {
      accept: (c) => {
        const slot = c.ghost.vms.slot(c.value);
        if (slot < 0) return `gave 0x${c.value.toString(16)}, which is no handle`;
        return c.ghost.vms.life(slot) === VmLife.free ? null : 'gave a handle that is in use';
      },
      apply: (c) => {
        const slot = c.ghost.vms.slot(c.value);
        if (slot < 0) return;
        c.ghost.vms.setLife(slot, VmLife.reserved);
        c.monitor.touched.vms.add(slot);
      },
    }),
  ],
};

export const unreserveVm: CallRules = {
  prepare: prepareSlot,
  rows: [
    accept('unreserve_vm', 'nothing', { when: (c) => life(c) !== VmLife.reserved }),
    accept('unreserve_vm', 'ok', {
      apply: (c) => {
        c.ghost.vms.setLife(c.slot, VmLife.free);
        c.monitor.touched.vms.add(c.slot);
      },
    }),
  ],
};

/** What init_vm finds in the page that the host still may write: read here before the call, once. */
const description = { handle: 0, isProtected: false, vcpus: 0, readable: false };

const init = 'init_vm';
const tables = [lack(init, 'heap')];
const inPage = (c: Call): number => c.lo(1) & (PAGE - 1);

export const initVm: CallRules = {
  prepare: (c) => {
    c.slot = -1;
    const kvm = c.hi(1) >>> 20 === 0 ? c.number(1) : -1;
    const page = kvm < 0 ? -1 : c.facts.pageOf(kvm);
    description.readable = page >= 0 && c.ghost.pages.isSharedWithHyp(page) && inPage(c) + VmDescription.size <= PAGE;
    c.page = c.facts.pageOf(c.number(2));
    if (!description.readable || inPage(c) % 4 !== 0) return;
    description.handle = c.hostWord(kvm + VmDescription.handle);
    description.isProtected = c.hostWord(kvm + VmDescription.protected) !== 0;
    description.vcpus = c.hostWord(kvm + VmDescription.vcpus);
    c.slot = c.ghost.vms.slot(description.handle);
  },
  rows: [
    refuse(init, 'EINVAL', (c) => inPage(c) % 4 !== 0 || inPage(c) + VmDescription.size > PAGE, 'address'),
    refuse(init, 'EPERM', () => !description.readable),
    refuse(init, 'EINVAL', () => description.vcpus < 1, 'vcpus'),
    refuse(init, 'EINVAL', (c) => c.slot < 0, 'handle'),
    refuse(init, 'EINVAL', (c) => (c.lo(2) & (PAGE - 1)) !== 0, 'pgd'),
    refuse(init, 'EINVAL', (c) => life(c) !== VmLife.reserved, 'slot'),
    refuse(
      init,
      'EINVAL',
      (c) => c.page < 0 || !c.ghost.pages.isHostAlone(c.page) || c.ghost.pages.references(c.page) !== 0,
      'donation',
    ),
    { ...refuse(init, 'ETIMEDOUT', (c) => c.identityIsUnanswered()), shortages: tables },
    accept(init, 'ok', {
      apply: (c) => {
        if (c.page < 0 || c.slot < 0) return;
        c.setOwner(c.page, Owner.hyp);
        fixPviommus(c);
        c.ghost.vms.init(c.slot, description.isProtected, description.vcpus, c.page);
        c.monitor.touched.vms.add(c.slot);
      },
      shortages: tables,
    }),
  ],
};

const start = 'start_teardown_vm';

export const startTeardownVm: CallRules = {
  prepare: prepareSlot,
  rows: [
    refuse(start, 'ENOENT', (c) => life(c) < VmLife.live),
    refuse(start, 'EINVAL', (c) => life(c) === VmLife.dying),
    refuse(start, 'EBUSY', (c) => c.ghost.vms.loads(c.slot) !== 0),
    {
      ...refuse(start, 'ETIMEDOUT', (c) => isStuck(c, VM_HANDLE_BASE + c.slot)),
      apply: (c) => takeBack(c, VM_HANDLE_BASE + c.slot),
    },
    accept(start, 'ok', {
      apply: (c) => {
        if (c.slot < 0) return;
        takeBack(c, VM_HANDLE_BASE + c.slot);
        c.ghost.vms.setLife(c.slot, VmLife.dying);
        c.monitor.touched.vms.add(c.slot);
      },
    }),
  ],
};

/** Where guests have no devices nothing waits for hardware. */
export const startTeardownVmWithoutDevices: CallRules = {
  ...startTeardownVm,
  rows: startTeardownVm.rows.filter(({ id }) => !id.endsWith('/ETIMEDOUT')),
};

const finalize = 'finalize_teardown_vm';

export const finalizeTeardownVm: CallRules = {
  prepare: prepareSlot,
  rows: [
    refuse(finalize, 'ENOENT', (c) => life(c) < VmLife.live),
    refuse(finalize, 'EBUSY', (c) => life(c) === VmLife.live, 'live'),
    refuse(finalize, 'EBUSY', (c) => c.ghost.vms.pages(c.slot) !== 0, 'pages'),
    accept(finalize, 'ok', {
      accept: (c) =>
        c.isZero(c.ghost.vms.pgd(c.slot)) ? null : 'gave the top-level table page back with entries in it',
      apply: (c) => {
        if (c.slot < 0) return;
        c.setOwner(c.ghost.vms.pgd(c.slot), Owner.host);
        c.ghost.vms.clear(c.slot);
        c.monitor.touched.vms.add(c.slot);
      },
    }),
  ],
};

export const vcpuLoad: CallRules = {
  prepare: prepareSlot,
  rows: [
    accept('vcpu_load', 'nothing', {
      when: (c) => life(c) !== VmLife.live || c.ghost.vms.loadedOn(c.cpu) >= 0 || c.u32(2) >= c.ghost.vms.vcpus(c.slot),
    }),
    accept('vcpu_load', 'ok', {
      apply: (c) => {
        c.ghost.vms.load(c.cpu, c.slot);
        c.monitor.touched.vms.add(c.slot);
        c.monitor.touched.cpus.add(c.cpu);
      },
    }),
  ],
};

export const vcpuPut: CallRules = {
  prepare: () => {},
  rows: [
    accept('vcpu_put', 'nothing', { when: (c) => c.ghost.vms.loadedOn(c.cpu) < 0 }),
    accept('vcpu_put', 'ok', {
      apply: (c) => {
        c.monitor.touched.vms.add(c.ghost.vms.loadedOn(c.cpu));
        c.monitor.touched.cpus.add(c.cpu);
        c.ghost.vms.unload(c.cpu);
      },
    }),
  ],
};

/** android16: no handle is reserved before; the description's is not looked at, and x1 gives the VM's. */
export const createVm: CallRules = {
  prepare: initVm.prepare,
  rows: [
    ...initVm.rows.filter(({ id }) => /-address$|EPERM$|-vcpus$|-pgd$/.test(id)),
    refuse(init, 'ENOMEM', noSlotIsFree, 'handles'),
    ...initVm.rows.filter(({ id }) => id.endsWith('-donation')),
    accept(init, 'ok', {
      accept: (c) => {
        const slot = c.ghost.vms.slot(c.value);
        if (slot < 0) return `gave 0x${c.value.toString(16)}, which is no handle`;
        return c.ghost.vms.life(slot) === VmLife.free ? null : 'gave a handle that is in use';
      },
      apply: (c) => {
        const slot = c.ghost.vms.slot(c.value);
        if (c.page < 0 || slot < 0) return;
        c.setOwner(c.page, Owner.hyp);
        c.ghost.vms.init(slot, description.isProtected, description.vcpus, c.page);
        c.monitor.touched.vms.add(slot);
      },
      shortages: [lack(init, 'heap')],
    }),
  ],
};
