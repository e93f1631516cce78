/**
 * What boot means: everything was the host's; now the carve-out, the stream tables and the command queues are the
 * hypervisor's, and the event queues are the host's to read but shared and pinned, because hardware writes there. Where
 * the tables and queues lie is what the host had programmed into the SMMUs before. Without a reader of registers the
 * hypervisor's records have to be believed: its SMMU records, and for event queues what else is shared and pinned.
 */

import { PageState } from '#hyp/layout';
import { Memcache, PoolId } from '#hypercall-abi';
import { COMMAND_BYTES } from './decode/index.ts';
import { type Facts, PAGE } from './facts.ts';
import { type Findings, hex } from './findings.ts';
import type { Ghost } from './ghost.ts';
import { Owner } from './ghost-pages.ts';
import { EVENT_BYTES, type Setup, streamTableBytes } from './hardware.ts';
import { type LayoutReader, PageWord } from './layout-reader.ts';
import type { Touched } from './touched.ts';

export class Takeover {
  private readonly facts: Facts;
  private readonly ghost: Ghost;
  private readonly findings: Findings;
  private readonly reader: LayoutReader;
  private readonly touched: Touched;

  constructor(facts: Facts, ghost: Ghost, findings: Findings, reader: LayoutReader, touched: Touched) {
    this.facts = facts;
    this.ghost = ghost;
    this.findings = findings;
    this.reader = reader;
    this.touched = touched;
  }

  /**
   * Boot has succeeded. What it took over is to be compared next.
   * @param offered what the host had set up, by SMMU; empty when that is not known
   * @param memcaches page with the memcaches of the CPUs, 0 for none
   */
  learn(offered: readonly Setup[], memcaches = 0): void {
    if (memcaches !== 0) {
      this.recorded('the hypervisor', 'memcaches', this.reader.memcaches(), memcaches);
      this.pin('memcaches', memcaches, this.facts.description.cpus * Memcache.size);
    }
    const { carveOut, smmus } = this.facts.description;
    this.own('carve-out', carveOut.base, carveOut.size);
    const { heap } = this.reader.layout;
    for (let pa = heap.base; pa < heap.base + heap.size; pa += PAGE) {
      this.ghost.pages.giveToPool(this.facts.pageOf(pa), PoolId.heap);
    }
    smmus.forEach(({ name, base }, i) => {
      const { reader } = this;
      this.recorded(name, 'registers', reader.smmuBase(i), base);
      const setup = offered[i];
      if (setup === undefined) {
        this.learnFromRecord(name, i);
        return;
      }
      this.recorded(name, 'a stream table', reader.streamTable(i), setup.streamTable);
      this.recorded(name, 'a command queue', reader.commandQueue(i), setup.commandQueue);
      this.own(`stream table of ${name}`, setup.streamTable, streamTableBytes(setup));
      this.own(`command queue of ${name}`, setup.commandQueue, COMMAND_BYTES * 2 ** setup.commandQueueLog2);
      this.pin(`event queue of ${name}`, setup.eventQueue, EVENT_BYTES * 2 ** setup.eventQueueLog2);
    });
    if (offered.length === 0) this.pinWhatIsPinned();
  }

  private recorded(name: string, what: string, recorded: number, expected: number): void {
    if (recorded === expected) return;
    const text = `the record of ${name} names ${what} at ${hex(recorded)}; it must be ${hex(expected)}`;
    this.findings.add('structure', 'smmu-record', text, { pa: recorded });
  }

  private learnFromRecord(name: string, smmu: number): void {
    const { reader } = this;
    const log2 = reader.streamTableLog2(smmu);
    const split = reader.streamTableSplit(smmu);
    const bytes = streamTableBytes({ streamTableLog2: log2, split });
    this.own(`stream table of ${name}`, reader.streamTable(smmu), bytes);
    this.own(`command queue of ${name}`, reader.commandQueue(smmu), COMMAND_BYTES * 2 ** reader.commandQueueLog2(smmu));
  }

  private own(what: string, base: number, bytes: number): void {
    this.forEachPage(what, base, bytes, (page, pa) => {
      if (this.ghost.pages.owner(page) === Owner.hyp || this.ghost.pages.pins(page) !== 0) {
        const text = `the ${what} lies over something else that was taken over, at ${hex(pa)}`;
        this.findings.add('structure', 'overlap', text, { pa });
      }
      this.ghost.pages.setOwner(page, Owner.hyp);
    });
  }

  private pin(what: string, base: number, bytes: number): void {
    this.forEachPage(what, base, bytes, (page, pa) => {
      if (this.ghost.pages.owner(page) === Owner.hyp) {
        const text = `the ${what} lies over something of the hypervisor's at ${hex(pa)}`;
        this.findings.add('structure', 'overlap', text, { pa });
        return;
      }
      this.ghost.pages.setSharedWithHyp(page, true);
      this.ghost.pages.addPin(page);
    });
  }

  private forEachPage(what: string, base: number, bytes: number, visit: (page: number, pa: number) => void): void {
    for (let pa = base - (base % PAGE); pa < base + bytes; pa += PAGE) {
      const page = this.facts.pageOf(pa);
      if (page < 0) {
        this.findings.add('structure', 'no-ram', `the ${what} reaches ${hex(pa)}, where there is no RAM`, { pa });
        return;
      }
      visit(page, pa);
      this.touched.pages.add(page);
      this.touched.owners.add(page);
    }
  }

  private pinWhatIsPinned(): void {
    const { ghost, reader } = this;
    for (let page = 0; page < this.facts.pages; page++) {
      const record = reader.page(page);
      if (ghost.pages.owner(page) !== Owner.host || PageWord.hostState(record) !== PageState.sharedOwned) continue;
      ghost.pages.setSharedWithHyp(page, true);
      for (let n = PageWord.references(record); n > 0; n--) ghost.pages.addPin(page);
    }
  }
}
