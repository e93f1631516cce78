/** The pictures of `docs/pictures`: drawings of real data and of a real defect, made by the views. */
import type { Fixture } from '../fixture/fixture.ts';
import { parseScenario } from '../scenario/index.ts';
import { below, type Scene, timelineOf, timelineView, walkView } from '../views/index.ts';
import { walkSource } from '../walk/source.ts';
import { walkAccess } from '../walk/walk.ts';
import { hypervisorByIdentity } from '../zoo/index.ts';
import { attackScenario } from './attack.ts';

const STREAM = 0x10;
const ADDRESS = 0xffffc123;

/** The walk of an access of a block device, over the frozen memory of a Linux kernel. */
export function kernelWalkPicture(fixture: Fixture): Scene {
  return walkView(walkAccess(walkSource(fixture), STREAM, ADDRESS), {
    title: 'A block device of a Linux kernel reads: every word that the SMMU fetches',
  });
}

/** The unmap of the tour's attack: as defect Z14 orders it, and in the correct order below. */
export function releaseOrderPicture(): Scene {
  const scenario = parseScenario(attackScenario, 'attack');
  const step = 1 + scenario.steps.findIndex((each) => each.kind === 'call' && each.call === 'unmap_pages');
  const drawn = (hypervisor: string, title: string): Scene =>
    timelineView(timelineOf({ ...scenario, hypervisor }, hypervisorByIdentity(hypervisor)), {
      from: step,
      to: step,
      title,
    });
  const panels = [
    drawn('postern+Z14', 'Defect Z14: the page is released before the invalidation'),
    drawn('postern', 'The correct order: invalidate, wait, release'),
  ];
  const description = panels.map((panel) => `${panel.title}. ${panel.description}`).join(' ');
  return below('The order of release and invalidation', description, panels);
}
