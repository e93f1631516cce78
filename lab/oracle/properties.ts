/**
 * Everything that the lab checks, by name: what must hold, where that is written, and what a run needs to check it. Each
 * property can be switched on its own: what is off is not reported.
 *
 * The names are those of a scenario's `expect violation NAME`, of findings, and of the pages in docs/properties.
 */

/** What a property says. */
export interface PropertyInfo {
  /** For people: the usual name. */
  readonly title: string;
  /** What holds in every state, or after every call, of a correct hypervisor. One sentence. */
  readonly statement: string;
  /** Who says so. */
  readonly source: string;
  /** What a run must have for the property to be checked. */
  readonly needs: string;
  /** What a finding says in the middle of a sentence: what is wrong. */
  readonly broken: string;
}

const RAW = 'memory, and the layout of the hypervisor’s records';
const TABLES = 'memory, and which tables the hardware walks';

export const PROPERTIES = {
  accounting: {
    title: 'Accounting',
    statement:
      'What the hypervisor counts is what there is: pages and loaded vCPUs of a VM, pages ever given to a pool and not ' +
      'given back, streams of a domain and of the identity domain behind each SMMU.',
    source:
      'pKVM: counts in the records of VMs, pools, domains and SMMUs decide what may be freed, finalised or skipped',
    needs: RAW,
    broken: 'a count of the hypervisor is not the number of what it counts',
  },
  allocation: {
    title: 'Allocation balance',
    statement:
      'Every page of the hypervisor beside its records is free in a pool, once, or holds one structure that something ' +
      'leads to: none is lost, none is free and in use; free blocks of which a larger one can be made are joined.',
    source: 'pKVM: hyp_pool (buddy allocator); tables come from the pools and go back to them',
    needs: `${RAW}; a full check`,
    broken: 'a page of the hypervisor is neither free nor in use, or both',
  },
  commands: {
    title: 'Only allowed commands',
    statement:
      'The command queue gets nothing but the commands that an invalidation, a stalled fault or a SYNC takes, with their ' +
      'reserved bits zero, and legal on that SMMU; a SYNC never makes the hardware write an MSI.',
    source: 'SMMUv3 4.2 to 4.7; the upstream driver’s list of commands',
    needs: 'memory, and the producer index in the SMMU’s record',
    broken: 'a command was queued that the hypervisor has no business to give',
  },
  identity: {
    title: 'Identity domain is the host’s stage 2',
    statement: 'The identity domain leads to exactly what the host’s stage 2 gives the host, each page to itself.',
    source: 'pKVM: the identity domain mirrors the host’s stage 2',
    needs: `${TABLES}; an SMMU with stage 2`,
    broken: 'the identity domain does not lead to exactly what the host has',
  },
  invalidation: {
    title: 'Invalidation',
    statement:
      'Nothing is released or used again before a covering invalidation, and the SYNC behind it, have ended what ' +
      'hardware may hold of it; a valid descriptor never turns into another valid one of another address.',
    source: 'SMMUv3 3.21, 4.3, 4.4, 4.7; Arm ARM D8 (break before make)',
    needs: `${TABLES}; the commands, as they are queued`,
    broken: 'something was released or used again while hardware may still hold it',
  },
  isolation: {
    title: 'DMA isolation',
    statement:
      'No device that the host or a guest controls, and no host CPU, reaches a page that is not its owner’s, now or ' +
      'through anything that may still be cached.',
    source: 'the theorem of the project; pKVM’s threat model',
    needs: `${TABLES}; for accesses that go through: the way of each access to memory`,
    broken: 'a device or the host can reach a page that is not its own, now or through what may still be cached',
  },
  'life-cycle': {
    title: 'Life cycles',
    statement: 'Domains, streams, pages, SMMUs and VMs change as their life cycles allow.',
    source: 'the statecharts of hypercall-abi',
    needs: 'calls and their results at the boundary; nothing of the hypervisor',
    broken: 'a call succeeded that the life cycle of its subject does not allow',
  },
  lock: {
    title: 'Lock balance and order',
    statement:
      'A CPU takes locks in the declared order, releases only what it holds, and holds none when a call returns.',
    source: 'pKVM: one order of locks; hyp/layout.ts declares it',
    needs: RAW,
    broken: 'a lock is taken out of order, released by somebody else, or held after a call',
  },
  'non-interference': {
    title: 'Non-interference',
    statement:
      'Two machines that differ only in a secret, the content of a guest’s or the hypervisor’s pages, give the host and ' +
      'its devices the same observations for every history.',
    source: 'non-interference (Goguen, Meseguer); pKVM’s threat model',
    needs: 'two machines in lock step',
    broken: 'what the host sees depends on what it must not know',
  },
  oracle: {
    title: 'The oracle agrees with itself',
    statement: 'What the oracle counts as memory changes is what it counts when it decodes everything anew.',
    source: 'this project: a check of the checker',
    needs: 'a full check',
    broken: 'the oracle disagrees with itself',
  },
  ownership: {
    title: 'Ownership',
    statement:
      'Whom pages, devices, domains and VMs belong to, in the hypervisor’s records and in the stage 2 of host and ' +
      'guests, is what the calls have made of it.',
    source: 'pKVM: mem_protect.c; device assignment',
    needs: RAW,
    broken: 'whom a page belongs to, as the hypervisor recorded it, is not what the calls have made of it',
  },
  panic: {
    title: 'No panic that a host can reach',
    statement: 'No call and no access of a host or a guest stops the hypervisor.',
    source: 'pKVM: EL2 has no way to go on after BUG(); a host that reaches one takes all guests down',
    needs: 'nothing',
    broken: 'the hypervisor threw',
  },
  refcount: {
    title: 'References are mappings',
    statement:
      'The reference count of a page is the number of leaves of all domains that lead to it, and of its pins; that of a ' +
      'page of a pool is one while it is lent; that of a domain is one, and one for each stream that is attached.',
    source: 'pKVM: __pkvm_host_use_dma, __pkvm_host_unuse_dma; references of domains',
    needs: `${RAW}; ${TABLES}`,
    broken: 'the reference count of a page or domain is not the number of its users',
  },
  spec: {
    title: 'Call specification',
    statement: 'Every outcome of a call is one that the call specification allows in the state before it.',
    source: 'the sources of each profile (docs/abi-sources.md), and docs/profiles.md',
    needs: 'registers before and after a call',
    broken: 'the outcome of a call is not what the call specification requires',
  },
  streams: {
    title: 'Streams are attached as was asked',
    statement: 'The entry of a stream, with its context descriptors, says exactly what was attached to it.',
    source: 'SMMUv3 5.2, 5.4',
    needs: TABLES,
    broken: 'the stream table does not say what was attached',
  },
  structure: {
    title: 'Table integrity',
    statement:
      'Tables, stream table entries, context descriptors and queues that hardware may use lie in pages that the ' +
      'hypervisor holds and has not freed, and are the ones that hardware uses.',
    source: 'SMMUv3 3.3, 3.5; pKVM: what the driver takes over at boot',
    needs: `${TABLES}; registers of the SMMUs and CPUs for what boot programs`,
    broken:
      'a live table, descriptor or queue lies where the hypervisor does not hold it, or hardware uses another one',
  },
  tables: {
    title: 'Mappings are as was asked',
    statement: 'The leaves of a domain are exactly what was mapped in it and not yet unmapped.',
    source: 'Linux: io-pgtable-arm; the contract of map_pages and unmap_pages',
    needs: TABLES,
    broken: 'the translation tables do not say what was mapped',
  },
  'tag-reuse': {
    title: 'Tags are used again only after a flush',
    statement: 'A domain gets an ASID or VMID only when no translation with that tag can still be cached.',
    source: 'SMMUv3 3.17, 4.4; pKVM: the domain’s id is its tag',
    needs: `${TABLES}; the commands, as they are queued`,
    broken: 'a domain is made with a tag of which translations may still be cached',
  },
  unchanged: {
    title: 'A failed call changes nothing',
    statement:
      'A call that fails leaves everything as it was, but for tables that it may keep for the next try; and no call ' +
      'writes to a page that is not the hypervisor’s.',
    source: 'pKVM: checks come before changes; a transaction that cannot finish is undone',
    needs: `${RAW}; a journal of memory, or a full check`,
    broken: 'a call that failed has changed state',
  },
} as const satisfies Readonly<Record<string, PropertyInfo>>;

/** The properties, in the words that a scenario uses: `expect violation PROPERTY`. */
export type Property = keyof typeof PROPERTIES;

/** All of them, by name. */
export const PROPERTY_NAMES: readonly Property[] = Object.keys(PROPERTIES) as Property[];

/** Whether there is a property of that name. */
export function isProperty(name: string): name is Property {
  return Object.hasOwn(PROPERTIES, name);
}

/** Which properties are to be reported. */
export interface PropertyChoice {
  /** Only these; all when left out. */
  readonly only?: readonly string[];
  /** None of these. */
  readonly without?: readonly string[];
}

/**
 * The properties that a choice leaves on.
 * @throws RangeError naming what is no property, with those there are; or that nothing is left
 */
export function chooseProperties({ only, without = [] }: PropertyChoice): readonly Property[] {
  for (const name of [...(only ?? []), ...without]) {
    if (!isProperty(name))
      throw new RangeError(`expected one of ${PROPERTY_NAMES.join(', ')}, got ${JSON.stringify(name)}`);
  }
  const chosen = PROPERTY_NAMES.filter((name) => (only ?? PROPERTY_NAMES).includes(name) && !without.includes(name));
  if (chosen.length === 0) throw new RangeError('expected at least one property to be left');
  return chosen;
}
