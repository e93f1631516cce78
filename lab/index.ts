/** What users run: sessions with oracles, replay, conformance, scenarios, random search, the zoo, stories, walks. Runs in a browser. */

export { conformDump, type DumpInputs } from './conform/dump/conform.ts';
export { conformQtrace, type QtraceInputs } from './conform/qtrace/conform.ts';
export { type ConformReport, conformDocument, renderConform } from './conform/report.ts';
export { conformVectors, VECTOR_FORMATS } from './conform/vectors/conform.ts';
export { attackScenario } from './demo/attack.ts';
export { type FoundDefect, findDefect } from './demo/defects.ts';
export { EMIT_KINDS, type EmitKind, emit, type Film, filmOf } from './emit/index.ts';
export { type Fixture, parseFixture } from './fixture/index.ts';
export {
  type EngineOptions,
  FindingMaker,
  FuzzEngine,
  type FuzzFinding,
  FuzzTarget,
  FuzzViolation,
  fuzzOne,
} from './fuzz/index.ts';
export { InputError } from './input-error.ts';
export { renderStory, type Story, type ToldStep, tell } from './narrator/index.ts';
export { CheckedHypervisor, type Finding as OracleFinding } from './oracle/index.ts';
export { type Finding, type FindOptions, type FindResult, findViolation, searchViolation } from './random/index.ts';
export { compareLive, type LiveComparison } from './replay/live.ts';
export { type ReplayOptions, type ReplayReport, replay } from './replay/replay.ts';
export * from './scenario/index.ts';
export { runScenario, type ScenarioReport } from './scenario/run.ts';
export { type ShrinkResult, shrink } from './scenario/shrink.ts';
export { oracleView } from './session/oracle-view.ts';
export { type HypervisorFactory, Session, type SessionOptions, type Violation } from './session/session.ts';
export { operationsOf, parseTrace } from './trace/index.ts';
export {
  defaultTheme,
  type MemoryMap,
  memoryMap,
  memoryView,
  modelWalkView,
  renderSvg,
  type Scene,
  type Theme,
  type Timeline,
  tablesView,
  timelineOf,
  timelineView,
  walkView,
} from './views/index.ts';
export { explainAccess, type ModelWalk, renderModelWalk, renderWalk, walkAccess, walkSource } from './walk/index.ts';
export {
  buildHypervisor,
  cards,
  type DefectCard,
  editedHypervisor,
  hypervisorByIdentity,
  unifiedDiff,
} from './zoo/index.ts';
