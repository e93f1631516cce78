/** Stories: what happened, in plain sentences, for reports and site alike. */
export { lookAt, type Place, type Point, type RecordedStep, type RecordOptions, recordScenario } from './record.ts';
export { type Fact, Recorder } from './recorder.ts';
export { renderStory, type StoryStyle } from './render.ts';
export { callSentence, type FactGroup, factSentence, groupFacts, momentsOf, type ToldCall } from './sentences.ts';
export { type Story, type ToldStep, tell } from './tell.ts';
