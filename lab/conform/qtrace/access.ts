/**
 * Device accesses as QEMU tells of them: TLB look-ups, table walks level by level, and how each ended. What QEMU reads
 * from memory is put into the model's memory, since the trace is the only witness of what was there at the time; the
 * oracle and the model must then walk the same way to the same end.
 *
 * After each walk the leaf is taken out of the model's memory again. So a translation from QEMU's TLB can only come
 * from what the modelled caches may still hold, and a hit shows that the model's invalidations are not too broad.
 */
import type { Machine, Smmu } from '#machine';
import { type Fixture, fixtureRead64 } from '../../fixture/fixture.ts';
import { cdAsid, cdGranuleBits0, cdT0sz, cdTtb } from '../../oracle/decode/cd.ts';
import {
  DescriptorKind,
  descriptorKind,
  levelShift,
  nextTableAddress,
  outputAddress,
} from '../../oracle/decode/descriptor.ts';
import { decodeEvent } from '../../oracle/decode/event.ts';
import { hex64, type Word64 } from '../../oracle/decode/fields.ts';
import { steS2Vmid } from '../../oracle/decode/ste.ts';
import type { WalkSource } from '../../walk/source.ts';
import { walkAccess } from '../../walk/walk.ts';
import type { Tally } from '../tally.ts';
import { num, optional, type QemuEvent, word } from './line.ts';

const RNW = 1 << 3;
const PERM_READ = 1;
const PERM_WRITE = 2;

/** One descriptor that QEMU fetched. */
interface Fetched {
  readonly level: number;
  readonly at: number;
  readonly pte: Word64;
}

/** A stream's stage 1, and the tags of its TLB entries. */
interface Configuration {
  readonly granule: number;
  readonly base: number;
  readonly startLevel: number;
  readonly asid: number;
  readonly vmid: number;
}

/** What is seen besides what agrees. */
export interface AccessNumbers {
  readonly hits: number;
  readonly misses: number;
  /** Misses where the model could still have hit: QEMU had evicted the entry, or never had it. */
  readonly missesThatMightHit: number;
  readonly events: number;
  readonly silentAborts: number;
}

export class AccessCheck {
  private readonly machine: Machine;
  private readonly smmu: Smmu;
  private readonly source: WalkSource;
  private readonly fixture: Fixture;
  private readonly tally: Tally;
  /** Stream whose configuration was looked up last. */
  private sid = -1;
  private lookup: { event: QemuEvent; hit: boolean } | null = null;
  /** Of the walk under way: the fetch that its next line explains, and all so far. */
  private fetch: QemuEvent | null = null;
  private walk: Fetched[] = [];
  private readonly cachedConfigs = new Set<number>();
  /** Configurations as the oracle reads them, until the next commands. */
  private readonly configs = new Map<number, Configuration>();
  /** What `possible` said since the caches last changed. */
  private readonly asked = new Map<string, boolean>();
  private hits = 0;
  private misses = 0;
  private missesThatMightHit = 0;
  private events = 0;
  private silentAborts = 0;

  /** @param source the model's memory as the oracle's walker reads it */
  constructor(machine: Machine, source: WalkSource, fixture: Fixture, tally: Tally) {
    this.machine = machine;
    this.smmu = machine.smmus[0]!;
    this.source = source;
    this.fixture = fixture;
    this.tally = tally;
  }

  /** The stream that the next lines are about. */
  get stream(): number {
    return this.sid;
  }

  numbers(): AccessNumbers {
    const { hits, misses, missesThatMightHit, events, silentAborts } = this;
    return { hits, misses, missesThatMightHit, events, silentAborts };
  }

  /** Commands were consumed: what the caches hold may be less, and a configuration may have changed. */
  commandsConsumed(): void {
    this.asked.clear();
    this.configs.clear();
  }

  /** A command invalidates the configuration of streams [first, last]. */
  forget(first: number, last: number): void {
    for (const sid of this.cachedConfigs) if (sid >= first && sid <= last) this.cachedConfigs.delete(sid);
  }

  /** One line about an access. */
  check(event: QemuEvent): void {
    switch (event.name) {
      case 'smmuv3_config_cache_hit':
      case 'smmuv3_config_cache_miss':
        this.begin(event);
        break;
      case 'smmu_iotlb_lookup_hit':
      case 'smmu_iotlb_lookup_miss':
        this.lookUp(event);
        break;
      case 'smmu_get_pte':
        this.fetch = event;
        break;
      case 'smmu_ptw_level':
        this.level(event);
        break;
      case 'smmu_ptw_page_pte':
      case 'smmu_ptw_invalid_pte':
        this.walkEnd(event);
        break;
      case 'smmu_iotlb_insert':
        this.insert(event);
        break;
      case 'smmuv3_translate_success':
        this.success(event);
        break;
      case 'smmuv3_translate_abort':
        this.abort(event);
        break;
      case 'smmuv3_record_event':
      case 'smmuv3_propagate_event':
        this.fault(event);
        break;
      default:
        break;
    }
  }

  private begin(event: QemuEvent): void {
    this.sid = num(event, 'sid');
    this.lookup = null;
    this.walk = [];
    if (event.name === 'smmuv3_config_cache_miss') this.cachedConfigs.add(this.sid);
    else {
      const held = this.cachedConfigs.has(this.sid);
      const where = `line ${event.line}, stream ${hex(this.sid)}`;
      this.tally.check('configurations from the cache', where, 'not invalidated since it was fetched', true, held);
    }
  }

  private lookUp(event: QemuEvent): void {
    const { sid, tally } = this;
    const hit = event.name === 'smmu_iotlb_lookup_hit';
    this.lookup = { event, hit };
    const { asid, vmid } = this.configuration();
    tally.begin('TLB tags', () => `line ${event.line}, stream ${hex(sid)}`);
    tally.same('ASID', num(event, 'asid'), asid);
    const said = optional(event, 'vmid');
    if (said !== null) tally.same('VMID', said, vmid);
    tally.end();
    if (hit) this.hits++;
    else {
      this.misses++;
      const addr = num(event, 'addr');
      if (this.smmu.possible(sid, addr, false).some(({ ok }) => ok)) this.missesThatMightHit++;
    }
  }

  /** A level of a walk: the fetch before it, and what both make of the descriptor. */
  private level(event: QemuEvent): void {
    const { tally, fetch } = this;
    const tables = this.configuration();
    const level = num(event, 'level');
    const iova = num(event, 'iova');
    const pte = word(event, 'pte');
    const before = this.walk.at(-1);
    const at = num(event, 'base') + 8 * num(event, 'index');
    tally.begin(
      'levels of table walks',
      () => `line ${event.line}, stream ${hex(this.sid)}, IOVA ${hex(iova)}, level ${level}`,
    );
    if (fetch === null) tally.differs('a fetch before it', 'one', 'none');
    else {
      tally.same('address fetched', hex(num(fetch, 'at')), hex(at));
      tally.same('descriptor fetched', fetch.fields.pte, event.fields.pte);
      tally.same('index fetched', num(fetch, 'index'), num(event, 'index'));
    }
    const shift = levelShift(level, tables.granule);
    tally.same('bytes of an entry', num(event, 'span'), 2 ** shift);
    tally.same('index', num(event, 'index'), Math.floor(iova / 2 ** shift) % 2 ** (tables.granule - 3));
    const base = before === undefined ? tables.base : nextTableAddress(before.pte.hi, before.pte.lo, tables.granule);
    tally.same('table', hex(num(event, 'base')), hex(base));
    tally.same('level', level, before === undefined ? tables.startLevel : before.level + 1);
    // Linux takes no table away: what is a table then is one in the dump.
    const dumped = fixtureRead64(this.fixture, at);
    if (descriptorKind(level, pte.hi, pte.lo, tables.granule) === DescriptorKind.table && dumped !== null) {
      const isTable = descriptorKind(level, dumped.hi, dumped.lo, tables.granule) === DescriptorKind.table;
      if (isTable) tally.same('table descriptor, in the dump', hex64(pte.hi, pte.lo), hex64(dumped.hi, dumped.lo));
    }
    tally.end();
    this.fetch = null;
    this.walk.push({ level, at, pte });
  }

  /** What the captured STE and CD of the present stream say. */
  private configuration(): Configuration {
    const known = this.configs.get(this.sid);
    if (known !== undefined) return known;
    const { steps } = walkAccess(this.source, this.sid, 0);
    const ste = steps.find((step) => step.kind === 'ste')?.words;
    const cd = steps.find((step) => step.kind === 'cd')?.words;
    const lo = cd?.[0]?.lo ?? 0;
    const granule = cdGranuleBits0(lo) || 12;
    const found: Configuration = {
      granule,
      base: cd === undefined ? -1 : cdTtb(cd[1]!.hi, cd[1]!.lo),
      startLevel: 4 - Math.ceil((64 - cdT0sz(lo) - granule) / (granule - 3)),
      asid: cd === undefined ? -1 : cdAsid(cd[0]!.hi),
      vmid: ste === undefined ? -1 : steS2Vmid(ste[2]!.lo),
    };
    this.configs.set(this.sid, found);
    return found;
  }

  private walkEnd(event: QemuEvent): void {
    const { tally } = this;
    const { granule } = this.configuration();
    const level = num(event, 'level');
    const pte = word(event, 'pte');
    tally.begin('ends of table walks', () => `line ${event.line}, stream ${hex(this.sid)}, level ${level}`);
    const kind = descriptorKind(level, pte.hi, pte.lo, granule);
    const isPage = event.name === 'smmu_ptw_page_pte';
    tally.same('kind', isPage ? DescriptorKind.page : DescriptorKind.invalid, kind);
    if (isPage) tally.same('page', hex(num(event, 'pa')), hex(outputAddress(level, pte.hi, pte.lo, granule)));
    const last = this.walk.at(-1);
    if (last === undefined) tally.differs('levels', 'one at least', 'none');
    else {
      tally.same('address of the descriptor', hex(num(event, 'at')), hex(last.at));
      tally.same('level', level, last.level);
    }
    tally.end();
    this.putWalk();
  }

  /** Puts into the model's memory what QEMU found in its own. */
  private putWalk(): void {
    const { memory } = this.machine;
    for (const { at, pte } of this.walk) {
      if (!memory.isRam(at)) continue;
      if (memory.read32(at) !== pte.lo || memory.read32(at + 4) !== pte.hi) memory.write64(at, pte.hi, pte.lo);
    }
  }

  private insert(event: QemuEvent): void {
    const { tally, lookup } = this;
    const { granule } = this.configuration();
    tally.begin('TLB entries made', () => `line ${event.line}, stream ${hex(this.sid)}`);
    const size = 2 ** levelShift(num(event, 'level'), granule);
    const addr = num(event, 'addr');
    tally.same('ASID', num(event, 'asid'), lookup === null ? -1 : num(lookup.event, 'asid'));
    tally.same('address', hex(addr), lookup === null ? 'none' : hex(pageOf(num(lookup.event, 'addr'), size)));
    tally.same('granule', num(event, 'tg'), (granule - 10) / 2);
    tally.same('level', num(event, 'level'), this.walk.at(-1)?.level ?? -1);
    tally.end();
  }

  private success(event: QemuEvent): void {
    const sid = num(event, 'sid');
    const iova = num(event, 'iova');
    const pa = num(event, 'pa');
    const perm = num(event, 'perm');
    const where = () => `line ${event.line}, stream ${hex(sid)}, IOVA ${hex(iova)}`;
    if (this.lookup?.hit === true) this.fromTlb(sid, iova, pa, perm, where);
    else this.afterWalk(sid, iova, pa, perm, where);
    this.walk = [];
    this.lookup = null;
  }

  private afterWalk(sid: number, iova: number, pa: number, perm: number, where: () => string): void {
    const { tally, smmu, source } = this;
    const write = (perm & PERM_READ) === 0;
    tally.begin('translations by a walk', where);
    const explained = smmu.explain(sid, iova, write);
    tally.same('address by the model', hex(pa), explained.ok ? hex(explained.pa) : explained.fault || 'abort');
    const chain = (list: readonly { level: number; at: number; hi: number; lo: number }[]): string[] =>
      list.map(({ level, at, hi, lo }) => `level ${level} ${hex(at)} ${hex64(hi, lo)}`);
    const walked = this.walk.map(({ level, at, pte }) => ({ level, at, ...pte }));
    tally.same(
      'descriptors by the model',
      chain(walked),
      chain(explained.descriptors.map(({ level, pa: at, hi, lo }) => ({ level, at, hi, lo }))),
    );
    const rights = [smmu.translate(sid, iova, false).ok, smmu.translate(sid, iova, true).ok];
    tally.same('read and write by the model', [(perm & PERM_READ) !== 0, (perm & PERM_WRITE) !== 0], rights);
    const { outcome, steps } = walkAccess(source, sid, iova, write);
    if (outcome.kind !== 'translated') tally.differs('outcome by the oracle', hex(pa), outcome.kind);
    else {
      tally.same('address by the oracle', hex(pa), hex(outcome.pa));
      const { read, write: writable } = outcome.permissions;
      tally.same(
        'read and write by the oracle',
        [(perm & PERM_READ) !== 0, (perm & PERM_WRITE) !== 0],
        [read, writable],
      );
      const levels = steps.filter(({ kind }) => kind === 'descriptor');
      const fetched = levels.map(({ level, address, words }) => ({ level: level!, at: address, ...words[0]! }));
      tally.same('descriptors by the oracle', chain(walked), chain(fetched));
    }
    tally.end();
    const leaf = this.walk.at(-1);
    if (leaf !== undefined && this.machine.memory.isRam(leaf.at)) this.machine.memory.write64(leaf.at, 0, 0);
    this.asked.clear();
  }

  private fromTlb(sid: number, iova: number, pa: number, perm: number, where: () => string): void {
    const page = iova - (iova % 4096);
    const write = (perm & PERM_READ) === 0;
    const key = `${sid}:${page}:${pa - (iova % 4096)}:${write}`;
    let held = this.asked.get(key);
    if (held === undefined) {
      held = this.smmu.possible(sid, iova, write).some((outcome) => outcome.ok && outcome.pa === pa);
      this.asked.set(key, held);
    }
    this.tally.check('translations from the TLB', where, `${hex(pa)} may still be cached`, true, held);
  }

  /** A fault with an event: the access it is about is the next record of the event queue. */
  private fault(event: QemuEvent): void {
    const { tally, lookup } = this;
    const sid = num(event, 'sid');
    const record = this.fixture.events[this.events++];
    tally.begin('events', () => `line ${event.line}, stream ${hex(sid)}`);
    tally.same('stream', sid, this.sid);
    const seen = lookup === null ? null : num(lookup.event, 'addr');
    if (record === undefined) tally.differs('record in the dump', 'one', 'none');
    else {
      const decoded = decodeEvent(record);
      tally.same('name in the dump', event.fields.event, decoded.name);
      tally.same('stream in the dump', sid, decoded.sid);
      const iova = decoded.inputAddress ?? seen ?? 0;
      if (seen !== null) tally.same('page in the dump', hex(pageOf(seen, 4096)), hex(pageOf(iova, 4096)));
      const write = (record[3]! & RNW) === 0;
      const { event: ours } = this.smmu.transact(sid, iova, write);
      tally.same('event by the model', event.fields.event, ours?.name ?? 'none');
      const { outcome } = walkAccess(this.source, sid, iova, write);
      tally.same('event by the oracle', event.fields.event, outcome.kind === 'fault' ? outcome.event : 'none');
    }
    tally.end();
    this.walk = [];
    this.lookup = null;
  }

  /** An abort that leaves no event: the stream is closed. */
  private abort(event: QemuEvent): void {
    const sid = num(event, 'sid');
    const iova = num(event, 'iova');
    const write = num(event, 'write') === 1;
    this.silentAborts++;
    this.tally.begin('aborts without an event', () => `line ${event.line}, stream ${hex(sid)}, IOVA ${hex(iova)}`);
    const { ok, event: ours } = this.smmu.transact(sid, iova, write);
    this.tally.same(
      'by the model',
      'an abort without an event',
      ok ? 'a translation' : (ours?.name ?? 'an abort without an event'),
    );
    this.tally.same('by the oracle', 'aborted', walkAccess(this.source, sid, iova, write).outcome.kind);
    this.tally.end();
  }
}

function pageOf(address: number, size: number): number {
  return address - (address % size);
}

function hex(value: number): string {
  return value < 0 ? 'none' : `0x${value.toString(16)}`;
}
