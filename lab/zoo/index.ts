/** The zoo: defects that really happened, as edits of the correct hypervisor, and the hypervisors that have them. */

export { applyEdits, EditError, type Sources } from './apply.ts';
export type { DefectCard, DefectKind, DefectOrigin, EditSet, SourceEdit } from './card.ts';
export { cards } from './cards/index.ts';
export { unifiedDiff } from './diff.ts';
export {
  cardOf,
  cardsOf,
  editedHypervisor,
  hypervisorByIdentity,
  steppedHypervisorByIdentity,
} from './identity.ts';
export { BASE_IDENTITY, type BuildOptions, type BuiltHypervisor, buildHypervisor, identityOf } from './loader.ts';
export { scenarioOf, scenarioText } from './scenario.ts';
