/** From the name of a hypervisor, as reports and scenarios carry it, to one that can be run. */

import { createHypervisor as createStepped } from '#hyp';
import { createHypervisor } from '#hyp/plain';
import { InputError, quoted } from '../input-error.ts';
import type { HypervisorFactory } from '../session/session.ts';
import type { SteppedHypervisorFactory } from '../session/stepped.ts';
import type { DefectCard } from './card.ts';
import { cards } from './cards/index.ts';
import { BASE_IDENTITY, buildHypervisor } from './loader.ts';

/** The card with that id. @throws InputError naming the ids there are */
export function cardOf(id: string): DefectCard {
  const card = cards.find((candidate) => candidate.id === id);
  if (card === undefined) throw wrong(`a defect, one of ${knownIds()}`, id);
  return card;
}

/** The cards that an identity such as `postern+Z14+Z23` names; none for `postern`. @throws InputError */
export function cardsOf(identity: string): DefectCard[] {
  const [base, ...ids] = identity.split('+');
  if (base !== BASE_IDENTITY) {
    throw wrong(`${BASE_IDENTITY}, or ${BASE_IDENTITY}+ID with defects among ${knownIds()}`, identity);
  }
  const found = ids.map(cardOf);
  const twice = ids.find((id, i) => ids.indexOf(id) !== i);
  if (twice !== undefined) throw wrong(`each defect once, not ${twice} again`, identity);
  return found;
}

/** The hypervisor with these defects. @throws InputError for an unknown id, EditError where two edit the same lines */
export function editedHypervisor(ids: readonly string[]): HypervisorFactory {
  return buildHypervisor(cardsOf([BASE_IDENTITY, ...ids].join('+'))).createHypervisor;
}

/** The hypervisor of that identity: `postern`, `postern+Z14`. @throws as {@link editedHypervisor} */
export function hypervisorByIdentity(identity: string): HypervisorFactory {
  const found = cardsOf(identity);
  const create: HypervisorFactory = found.length === 0 ? createHypervisor : buildHypervisor(found).createHypervisor;
  const stepped = (): SteppedHypervisorFactory => steppedHypervisorByIdentity(identity);
  return Object.assign(((machine, profile) => create(machine, profile)) as HypervisorFactory, { stepped });
}

/** The same, stepped. @throws as {@link editedHypervisor} */
export function steppedHypervisorByIdentity(identity: string): SteppedHypervisorFactory {
  const found = cardsOf(identity);
  return found.length === 0 ? createStepped : buildHypervisor(found, { plain: false }).createHypervisor;
}

function knownIds(): string {
  return cards.map(({ id }) => id).join(', ');
}

function wrong(expected: string, got: string): InputError {
  return new InputError({ file: 'hypervisor', expected, got: quoted(got) });
}
