/**
 * States that a run should have been in, or nothing is said by its finding nothing: a map that ends half way, a number
 * used again, a stalled access that was answered. Each has a name and a sentence; a run counts how often it was in each,
 * and says which it never reached. Rows of the call specification are counted beside them (spec/): these are what no
 * single row tells.
 *
 * What a state is told by is looked at when a call has returned and before the ghost takes it over: the ghost is what was
 * before the call, the outcome is known. What no call tells (a queue that wrapped, a stalled access that was answered) is
 * told by whoever sees it.
 */

import {
  type ArgumentSpec,
  type CallName,
  Errno,
  firstGuestArgument,
  type GuestCallName,
  guestCalls,
} from '#hypercall-abi';
import { type PhysicalMemory, StateClass } from '#machine/memory';
import { type Facts, PAGE } from './facts.ts';
import { LEAF_BYTES } from './maplets.ts';
import type { Call } from './spec/call.ts';
import type { Specification } from './spec/index.ts';
import { isExhausted } from './spec/memcache.ts';

/** A call that has returned, with its arguments by name. */
interface Occasion {
  readonly call: Call;
  /** Low word of an argument, unsigned. */
  readonly u32: (name: string) => number;
  readonly number: (name: string) => number;
  /** Whether the domain was in use at some time before. */
  readonly wasUsed: (id: number) => boolean;
}

interface Rule {
  /** What holds when the run is in that state. */
  readonly statement: string;
  /** Calls that can tell; none when somebody else tells. */
  readonly calls: readonly (CallName | GuestCallName)[];
  readonly when: (o: Occasion) => boolean;
  /** Whether the machine can be in that state at all. */
  readonly applies?: (facts: Facts) => boolean;
}

const BLOCK = LEAF_BYTES[2]!;
const succeeded = ({ call }: Occasion): boolean => call.errno === 0;

/** A state that one of these calls tells. */
function told(calls: Rule['calls'], statement: string, when: Rule['when'], applies?: Rule['applies']): Rule {
  return { statement, calls, when, ...(applies !== undefined && { applies }) };
}

/** A state that is told by {@link Sometimes.saw}. */
function seen(statement: string, applies?: Rule['applies']): Rule {
  return { statement, calls: [], when: () => false, ...(applies !== undefined && { applies }) };
}

const anyPasids = ({ description }: Facts): boolean => description.smmus.some(({ ssidBits }) => ssidBits > 0);
const anyStalls = ({ description }: Facts): boolean =>
  description.smmus.some(({ stallModel = 'terminate' }) => stallModel !== 'terminate');
const anyTwoLevels = ({ description }: Facts): boolean =>
  description.smmus.some(({ twoLevelStreamTable }) => twoLevelStreamTable);
const anyIdentity = ({ identitySmmus, profile }: Facts): boolean =>
  identitySmmus.length !== 0 && profile.has('set_identity');
/** Whether map_pages tells why it stopped. */
const mapTellsWhy = ({ profile }: Facts): boolean => profile.call('map_pages').x0 === 'errno';
const anyPower = ({ description }: Facts): boolean => description.smmus.some(({ powerDomain }) => powerDomain != null);
const anyRegistry = ({ registry }: Facts): boolean => registry.length !== 0;

/** Whether the page that a map begins with is mapped for DMA already. */
function isMappedAlready({ call, number }: Occasion): boolean {
  const page = call.facts.pageOf(number('paddr'));
  return page >= 0 && call.ghost.pages.dmaCount(page) !== 0;
}

/** Whether a map ended early although its cache is to tell so by a flag, not by a request. */
const endsForWantOfCache = ({ call, number }: Occasion): boolean =>
  call.facts.profile.request === 'needs-page' && call.value < number('pgsize') * number('pgcount') && isExhausted(call);

/** Whether there can be a domain of that number. */
const isDomain = ({ call, u32 }: Occasion): boolean => u32('domain') < call.facts.profile.domains.count;

/** Whether a leaf larger than what is asked to be unmapped begins there, or lies around it. */
function isPartOfBlock(o: Occasion): boolean {
  if (!isDomain(o) || !o.call.ghost.domainUsed(o.u32('domain'))) return false;
  const { call, u32, number } = o;
  const { ghost } = call;
  const { maplets } = ghost;
  const id = u32('domain');
  const at = number('iova');
  const size = number('pgsize') * number('pgcount');
  if (at >= 2 ** 48) return false;
  const entry = maplets.find(ghost.domainMaplets(id), at, 3);
  return maplets.isLeaf(entry) && maplets.level < 3 && size > 0 && size < LEAF_BYTES[maplets.level]!;
}

/** Whether the host loses a page while a stream has identity. */
const losesIdentityPage = ({ call }: Occasion): boolean =>
  call.errno === 0 && call.facts.identitySmmus.some((smmu) => call.ghost.identityStreams(smmu) !== 0);

export const SOMETIMES = {
  'attach-again': told(
    ['attach_dev', 'guest_attach_dev'],
    'a second stream, or PASID, is attached to a domain',
    (o) => succeeded(o) && o.call.ghost.domainAttached(o.u32('domain')) > 0,
  ),
  'attach-pasid': told(
    ['attach_dev'],
    'a PASID other than 0 is attached',
    (o) => succeeded(o) && o.u32('pasid') !== 0,
    anyPasids,
  ),
  'command-queue-wrapped': seen('a command queue was filled to its end and goes on at its beginning'),
  'device-attached-to-guest': told(
    ['guest_attach_dev'],
    'a guest attaches a device to a domain of its own',
    succeeded,
    anyRegistry,
  ),
  'domain-freed-with-mappings': told(
    ['free_domain', 'guest_free_domain'],
    'a domain goes with mappings still in it',
    (o) => succeeded(o) && o.call.ghost.domainLeaves(o.u32('domain')) > 0,
  ),
  'free-while-attached': told(
    ['free_domain', 'guest_free_domain'],
    'a domain is to be freed while streams are attached to it',
    (o) => !succeeded(o) && isDomain(o) && o.call.ghost.domainAttached(o.u32('domain')) > 0,
  ),
  'guest-page-reclaimed': told(['reclaim_dying_guest_page'], 'a page of a guest that dies goes back', succeeded),
  'guest-waits-for-memory': told(
    ['guest_alloc_domain', 'guest_attach_dev', 'guest_map_pages'],
    'a call of a guest ends in the host, which is to give memory',
    ({ call }) => call.exit?.reason === 'memory',
    anyRegistry,
  ),
  'identity-page-lost': told(
    ['alloc_mgt_refill', 'init_vm', 'map_guest'],
    'a page leaves the host while a device has identity',
    losesIdentityPage,
    anyIdentity,
  ),
  'level-2-table-made': seen('the second level of a stream table is made, from the pool', anyTwoLevels),
  'map-at-once': told(
    ['map_pages'],
    'a map fills more than one table',
    (o) =>
      o.call.value > BLOCK ||
      (o.call.value > 0 &&
        Math.floor(o.number('iova') / BLOCK) !== Math.floor((o.number('iova') + o.call.value - 1) / BLOCK)),
  ),
  'map-block': told(['map_pages'], 'a block is mapped', (o) => o.call.value > 0 && o.number('pgsize') >= BLOCK),
  'map-onto-mapping': told(
    ['map_pages'],
    'a map runs into a mapping when it is half done',
    ({ call }) => call.errno === -Errno.EEXIST && call.value > 0,
    mapTellsWhy,
  ),
  'map-short': told(
    ['map_pages', 'guest_map_pages'],
    'a map ends half way for want of a table, and asks for memory',
    (o) => o.call.value > 0 && (o.call.requestType !== 0 || endsForWantOfCache(o)),
  ),
  'page-mapped-twice': told(
    ['map_pages'],
    'a page is mapped that is mapped elsewhere already',
    (o) => o.call.value >= PAGE && isMappedAlready(o),
  ),
  'pool-reclaimed': told(
    ['alloc_mgt_reclaim'],
    'pages of a pool go back to the host',
    ({ call }) => call.after[4]! > 0,
  ),
  'power-off-attached': told(
    ['hvc_pd'],
    'an SMMU is switched off while streams are attached behind it',
    ({ call, number }) => {
      const smmu = call.facts.description.smmus.findIndex(({ powerDomain }) => powerDomain === number('device'));
      if (call.errno !== 0 || number('on') !== 0 || smmu < 0) return false;
      const { count } = call.facts.profile.domains;
      for (let id = 1; id < count; id++) if (call.ghost.domainStreams(id, smmu) > 0) return true;
      return false;
    },
    anyPower,
  ),
  'stall-answered': seen('an access that stalled is answered', anyStalls),
  'tag-reused': told(
    ['alloc_domain'],
    'a domain gets the number of one that was freed',
    (o) => succeeded(o) && o.wasUsed(o.u32('domain')),
  ),
  'teardown-with-devices': told(
    ['start_teardown_vm'],
    'a VM ends that still has a device',
    ({ call, u32 }) =>
      call.errno === 0 && call.facts.registry.some((_, device) => call.ghost.deviceContext(device) === u32('vm')),
    anyRegistry,
  ),
  'unmap-part-of-block': told(['unmap_pages'], 'an unmap names a part of a block', isPartOfBlock),
  'unmap-table': told(
    ['unmap_pages'],
    'an unmap takes a table away with all that it maps',
    (o) => o.call.value > 0 && o.number('pgsize') >= BLOCK && !isPartOfBlock(o) && isTableBefore(o),
  ),
} as const satisfies Readonly<Record<string, Rule>>;

/** Whether smaller leaves than are named were mapped where an unmap begins. */
function isTableBefore({ call, u32, number }: Occasion): boolean {
  const { maplets } = call.ghost;
  const root = call.ghost.domainMaplets(u32('domain'));
  const level = number('pgsize') >= LEAF_BYTES[1]! ? 1 : 2;
  const entry = maplets.find(root, number('iova'), level);
  return maplets.level === level && !maplets.isLeaf(entry) && maplets.hasLeaves(entry, level);
}

export type SometimesName = keyof typeof SOMETIMES;

/** How often a run was in a state. */
export interface SometimesCount {
  readonly name: string;
  readonly statement: string;
  readonly hits: number;
}

const NAMES = Object.keys(SOMETIMES) as SometimesName[];
const INDEX = Object.fromEntries(NAMES.map((name, i) => [name, i])) as Record<SometimesName, number>;

export class Sometimes {
  private readonly facts: Facts;
  private readonly memory: PhysicalMemory;
  private readonly hits = new Float64Array(NAMES.length);
  /** By call: the states that it can tell. */
  private readonly byCall = new Map<string, number[]>();
  /** By call: register of each argument. */
  private readonly registers = new Map<string, Readonly<Record<string, number>>>();
  /** A bit for each domain that was ever in use. */
  private readonly used: number;
  private current: Readonly<Record<string, number>> = {};
  private readonly occasion: Occasion;

  constructor(facts: Facts, call: Call, specification: Specification) {
    this.facts = facts;
    this.memory = facts.memory;
    this.used = facts.memory.allocFile(Math.ceil(facts.profile.domains.count / 32), StateClass.derived);
    const learn = (name: string, args: readonly ArgumentSpec[], first: number): void => {
      this.registers.set(name, Object.fromEntries(args.map((arg, i) => [arg.name, first + i])));
    };
    for (const { name, args, position } of facts.profile.calls) {
      learn(name, args, specification.rulesAt(position)?.firstArgument ?? 1);
    }
    if (facts.profile.has('pviommu_attach')) {
      for (const spec of guestCalls) learn(spec.name, spec.args, firstGuestArgument(spec));
    }
    NAMES.forEach((name, i) => {
      for (const one of this.applies(name) ? SOMETIMES[name].calls : []) {
        this.byCall.set(one, [...(this.byCall.get(one) ?? []), i]);
      }
    });
    this.occasion = {
      call,
      u32: (name) => call.u32(this.registerOf(name)),
      number: (name) => call.number(this.registerOf(name)),
      wasUsed: (id) => this.wasUsed(id),
    };
  }

  /** Register of an argument of the call; one that is always 0 where the call has none of that name. */
  private registerOf(name: string): number {
    return this.current[name] ?? 7;
  }

  private applies(name: SometimesName): boolean {
    const { applies, calls } = SOMETIMES[name] as Rule;
    if (applies !== undefined && !applies(this.facts)) return false;
    return calls.length === 0 || calls.some((call) => this.registers.has(call));
  }

  /** A call has returned; the ghost is still as it was before. */
  returned(name: string): void {
    const states = this.byCall.get(name);
    if (states === undefined) return;
    this.current = this.registers.get(name)!;
    for (let i = 0; i < states.length; i++) {
      if ((SOMETIMES[NAMES[states[i]!]!] as Rule).when(this.occasion)) this.hits[states[i]!]!++;
    }
    if (name === 'alloc_domain' && this.occasion.call.errno === 0) this.use(this.occasion.u32('domain'));
  }

  /** Somebody has seen the run in that state. */
  saw(name: SometimesName): void {
    this.hits[INDEX[name]]!++;
  }

  private wasUsed(id: number): boolean {
    return ((this.memory.words[this.used + (id >>> 5)]! >>> (id & 31)) & 1) !== 0;
  }

  private use(id: number): void {
    if (id >= this.facts.profile.domains.count) return;
    const at = this.used + (id >>> 5);
    this.memory.put(at, this.memory.words[at]! | (1 << (id & 31)));
  }

  /** The states that this machine and contract can be in, and how often they were reached. */
  counts(): SometimesCount[] {
    return NAMES.filter((name) => this.applies(name)).map((name) => ({
      name,
      statement: SOMETIMES[name].statement,
      hits: this.hits[INDEX[name]]!,
    }));
  }
}
