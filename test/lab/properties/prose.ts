/** What the pages of docs/properties say of each property beside its statement and its examples. */

import type { Property } from '#lab/oracle/index';

export interface Prose {
  /** What goes wrong where the property does not hold. */
  readonly why: string;
  /** What the lab looks at, and when. */
  readonly how: string;
  /** What the change of the bad example is, in half a sentence. */
  readonly change: string;
}

export const prose: Readonly<Record<Property, Prose>> = {
  accounting: {
    why:
      'Counts decide. A VM is finalised when it holds no page; a pool is asked how much it can give back; while no stream ' +
      'of an SMMU has identity, changes of the identity table need no invalidation there. A count that is off by one ' +
      'lets a VM go with pages still in it, or leaves a device a stale way to a page that has changed hands.',
    how:
      'The ghost counts what the calls have made: pages of each VM, CPUs on which one of its vCPUs is loaded, pages given ' +
      'to each pool, streams of each domain, streams with identity. After every call these are compared with the records; ' +
      'a full check counts the leaves of each guest’s stage 2 once more.',
    change: 'set_identity does not count the stream',
  },
  allocation: {
    why:
      'A page that is lost can never go back to the host, and a host that can make the hypervisor lose pages can use ' +
      'memory up. A page that is on a free list while a table still lies in it will be given out again: then hardware ' +
      'walks what somebody else writes.',
    how:
      'A full check walks every structure from its root (records of domains, stream tables, context descriptors, page ' +
      'tables, the stage 2 of host and guests) and every free list, and gives each page of the hypervisor one role. A page ' +
      'with none is lost, one with two is in use and free, and the pages that are lent must be those that hold tables. Of ' +
      'two free buddies of one size a larger block should have been made. ' +
      'Where an SMMU did not answer, pages are kept back for good, and only the second half is checked.',
    change: 'detach_dev forgets to give the table of context descriptors back',
  },
  commands: {
    why:
      'The command queue is the hypervisor’s alone because commands act on all of the SMMU: a SYNC can write an MSI to ' +
      'any address, an unknown opcode stops the queue or does what the implementation defines, and a prefetch fills ' +
      'caches that were just emptied.',
    how:
      'Every command is looked at when the producer index moves past it: its opcode against a list of what is allowed, ' +
      'every other one being refused; the bits that the opcode does not define; whether the SMMU has the stage; the ' +
      'encoding of ranges; and the completion signal of a SYNC. Commands of boot come before the oracle watches.',
    change: 'a SYNC asks for an interrupt, or an MSI, where it completes',
  },
  identity: {
    why:
      'A stream with identity sees memory as the host does, through one table for all such streams. A page that the host ' +
      'has given away and that the table still maps is open to every one of their devices; a page that is missing there ' +
      'breaks a driver for no reason.',
    how:
      'Each leaf of the identity table is followed as it is written. Whenever the owner of a page changes, the number of ' +
      'SMMUs on which the table leads to it is compared: all of them while it is the host’s, none else. A full check ' +
      'walks the table entry by entry, RAM by pages and everything else by address, and compares it with what is the ' +
      'host’s; the host’s stage 2 is held against the same ghost.',
    change: 'pages that the host gives away stay in the identity table',
  },
  invalidation: {
    why:
      'Hardware goes on using what it holds until it is told otherwise and has said so. Between the change of a table ' +
      'and the end of the SYNC a device still reaches the old page: if that page can change hands in between, the device ' +
      'writes into a guest.',
    how:
      'Every descriptor and every configuration entry is valid, unclean or clean. What is removed while a stream leads ' +
      'there, or may have led there, becomes unclean; a command that covers it marks it as invalidated; a SYNC behind ' +
      'that makes it clean. Coverage is what the architecture requires of a command, never more. At each moment at ' +
      'which a reference is dropped, a page freed or given away, a stream’s entry made valid, or an SMMU switched on, ' +
      'nothing unclean may lead there. A second, plain implementation runs beside it in the tests.',
    change: 'the references of unmapped pages are dropped before the invalidation',
  },
  isolation: {
    why:
      'This is what the hypervisor is for. A device is a second way to memory that no CPU sees; whoever programs the ' +
      'device reads and writes through it whatever the tables allow.',
    how:
      'The ways of all streams to memory are kept up to date with every write to a stream table, context descriptor or ' +
      'page table, those that only caches may still have among them. Whenever a way appears, or a page changes hands, the ' +
      'owner of the page, by the oracle’s own record and never by the hypervisor’s, must be the owner of the domain. ' +
      'Accesses that go through, of devices and of the host, are judged by where they end.',
    change: 'a donation does not look whether the page is mapped for DMA',
  },
  'life-cycle': {
    why:
      'The life cycles say what a call may do to a domain, a stream, a page, an SMMU or a VM, without a word of how. ' +
      'A call that succeeds where its subject cannot take that step has left every state that anybody has thought of.',
    how:
      'At the boundary every call and its result is turned into events of the statecharts of hypercall-abi, compiled to ' +
      'tables. It needs nothing of the hypervisor: the same check can judge one that runs elsewhere.',
    change: 'free_domain takes a domain to which a stream is attached',
  },
  lock: {
    why:
      'A lock that is kept hangs the next CPU in EL2, for ever. Two CPUs that take two locks in different orders hang ' +
      'each other. What is changed without its lock can be seen, or changed, half done.',
    how:
      'Lock words are watched as they are written. Each CPU must take classes of locks in the declared order and release ' +
      'only what it holds; when a call has returned, every lock is free. Where locked sections are looked at one by one ' +
      '(`full: every`, or `sections`), every record and every table may be written only under its lock, and what a lock ' +
      'guards must, whenever it is released, be as it was before the call or as it is in the end.',
    change: 'set_identity returns an error and keeps the lock of the SMMU',
  },
  'non-interference': {
    why:
      'Isolation says that nobody reaches a page. A secret can also leave by the front door: in a page that is given back ' +
      'as its last owner left it, in a register that nobody cleared, in an error that depends on what a page holds.',
    how:
      'Two machines run in lock step (`--twin`). On one of them every page of a guest, and every free page of a pool, ' +
      'holds other words than on the other. After each step the results, the registers, the memory of the host, what its ' +
      'devices were given, the registers by which it learns of events, and interrupts are compared. Time is left out, and ' +
      'what belongs to the guest itself.',
    change: 'a page of a dying guest goes back without being cleared',
  },
  oracle: {
    why:
      'The oracle counts on the way what would take long to decode anew each time. If the two ever differ, one of them is ' +
      'wrong, and nothing that it has said can be believed.',
    how:
      'A full check counts the leaves and the ways to every page again, with the tags and the entries that may be cached, ' +
      'and compares them with what was counted as memory changed. A finding is a defect of the oracle, or of a ' +
      'hypervisor that changes memory behind everybody’s back.',
    change: 'a block is written into a live table past the memory’s own interface',
  },
  ownership: {
    why:
      'Every decision about a page begins with its record. If it says that a page is shared which is not, the host can ' +
      'never use it again; if it says that a page is the host’s which a guest has, the next call gives it away twice.',
    how:
      'After every call the records that were touched, and the stage-2 entries of pages that changed hands with those ' +
      'beside them, are decoded and compared with the ghost: owners, shares, owners of domains and devices, the state of ' +
      'VMs. A full check does so for all of them.',
    change: 'host_unshare_hyp leaves the host’s state as it was',
  },
  panic: {
    why:
      'EL2 has nobody above it. A host that can make it stop takes down every guest on the machine, and upstream’s code ' +
      'has many places at which it stops rather than go on.',
    how:
      'A call, a call of a guest, or an abort that throws is a finding. Where upstream would stop on a host’s mistake the ' +
      'profile names an error instead (docs/profiles.md).',
    change: 'an unknown IOMMU is a bug instead of an error',
  },
  refcount: {
    why:
      'The reference count is what keeps a page with the host while a device may reach it. Too low, and the page can be ' +
      'given to a guest under a live mapping; too high, and it can never be given to anybody.',
    how:
      'The leaves of all domains’ tables are counted per page as they are written. After every call the count of each ' +
      'page that was touched must be that number, with its pins, and the number that the calls have asked for. While a ' +
      'call runs no count may drop below what still leads to the page.',
    change: 'an unmap does not drop the references',
  },
  spec: {
    why:
      'A host decides by results. A wrong error makes it try again for ever or give up what it has; a success for ' +
      'something that was not done makes it hand out memory that a device still uses.',
    how:
      'Every call of every profile has an ordered list of rows, written from the sources and not from the hypervisor: ' +
      'the first whose condition holds in the state before the call says what must come back, and what that means for ' +
      'the ghost. A shortage of memory is always allowed, with the request that the call is to make. Rows are counted. What boot must ' +
      'answer follows from what the host has set up in the registers of the SMMUs.',
    change: 'a page in the wrong state gives another error',
  },
  streams: {
    why:
      'The entry of a stream says which table its device walks, how wide it is and which tag its translations get. A ' +
      'wrong tag alone makes every later invalidation miss.',
    how:
      'After every call the entries that were touched, with their context descriptors, are decoded by the architecture’s ' +
      'rules and compared field by field with what the ghost says is attached. What nothing is attached to is all zero, ' +
      'unless an SMMU did not answer once.',
    change: 'the context descriptor gets the ASID of the next domain',
  },
  structure: {
    why:
      'Whoever can write a page that hardware reads as a table decides where the device goes. A page of a table that is ' +
      'freed too early becomes somebody’s data, and the device follows it.',
    how:
      'Every page that hardware may walk is a node, reached from what is live or only from what may be cached. When a node ' +
      'comes into a page, and when that page is freed or changes hands, the page must be the hypervisor’s and allocated. ' +
      'What boot programs into the SMMUs and CPUs is read back from their registers.',
    change: 'the table of context descriptors is freed while the stream’s entry still leads there',
  },
  tables: {
    why:
      'A mapping that nobody asked for is a hole; one with more rights than were asked for lets a device write what it ' +
      'was to read; one that is missing breaks a driver.',
    how:
      'The ghost keeps every mapping with its level, target and attributes. The leaves of each table are hashed as they ' +
      'are written, and after every call the hash of a domain that was touched must be that of its mappings; a full check ' +
      'decodes every table and names the first leaf that differs.',
    change: 'every mapping may be written',
  },
  'tag-reuse': {
    why:
      'A TLB entry has a tag and no memory of when it was made. If a domain gets the number of another one that is gone, ' +
      'it also gets whatever caches have left of it: its devices reach the old domain’s pages.',
    how:
      'When the record of a domain comes into use, no entry with its tag may be unclean: every translation that was ever ' +
      'removed under that tag must have been invalidated, and a SYNC completed behind that.',
    change: 'free_domain does not flush the domain’s tag',
  },
  unchanged: {
    why:
      'A host takes an error for "nothing has happened". A call that fails half way and leaves its first half behind is ' +
      'how references leak and how states come about that no call can leave.',
    how:
      'After a call that has failed, everything that is compared must be as before: a difference of any kind counts as ' +
      'this property. The frame is part of it: the journal of memory is gone through, and no call, failed or not, may have ' +
      'written to a page that was and is the host’s or a guest’s. Tables for later, and a memory request, may stay.',
    change: 'a free_domain that is refused drops a reference',
  },
};
