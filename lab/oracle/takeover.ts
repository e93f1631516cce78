/**
 * What boot means: everything was the host's; now the carve-out, the stream tables and the command queues are the
 * hypervisor's, and the event queues are the host's to read but pinned, because hardware writes there. Where the tables
 * and queues lie is taken from the hypervisor's SMMU records; the event queues are what else is shared and pinned.
 */

import { PageState } from '#hyp/layout';
import { COMMAND_BYTES, STE_BYTES } from './decode/index.ts';
import { type Facts, PAGE } from './facts.ts';
import { type Findings, hex } from './findings.ts';
import { type Ghost, Owner } from './ghost.ts';
import { type LayoutReader, PageWord } from './layout-reader.ts';

export function learnBoot(facts: Facts, ghost: Ghost, findings: Findings, reader: LayoutReader): void {
  const own = (what: string, base: number, bytes: number): void => {
    for (let pa = base; pa < base + bytes; pa += PAGE) {
      const page = facts.pageOf(pa);
      if (page < 0) {
        findings.add('structure', 'no-ram', `the ${what} reaches ${hex(pa)}, where there is no RAM`, { pa });
        return;
      }
      if (ghost.owner(page) === Owner.hyp) {
        findings.add('structure', 'overlap', `the ${what} lies over something of the hypervisor's at ${hex(pa)}`, {
          pa,
        });
      }
      ghost.setOwner(page, Owner.hyp);
    }
  };
  const { carveOut, smmus } = facts.description;
  own('carve-out', carveOut.base, carveOut.size);
  smmus.forEach(({ name, base }, i) => {
    if (reader.smmuBase(i) !== base) {
      findings.add(
        'structure',
        'smmu-record',
        `the record of ${name} names registers at ${hex(reader.smmuBase(i))}`,
        {},
      );
    }
    const log2 = reader.streamTableLog2(i);
    const split = reader.streamTableSplit(i);
    const bytes = split === 0 ? STE_BYTES * 2 ** log2 : 8 * 2 ** (log2 - split);
    own(`stream table of ${name}`, reader.streamTable(i), bytes);
    own(`command queue of ${name}`, reader.commandQueue(i), COMMAND_BYTES * 2 ** reader.commandQueueLog2(i));
  });
  for (let page = 0; page < facts.pages; page++) {
    const record = reader.page(page);
    if (ghost.owner(page) !== Owner.host || PageWord.hostState(record) !== PageState.sharedOwned) continue;
    ghost.setSharedWithHyp(page, true);
    for (let n = PageWord.references(record); n > 0; n--) ghost.addPin(page);
  }
}
