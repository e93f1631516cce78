/** Stories: what happened, in plain sentences, for reports and site alike. */
export { type Fact, Recorder } from './recorder.ts';
export { renderStory, type StoryStyle } from './render.ts';
export { callSentence, factSentence, type ToldCall } from './sentences.ts';
export { type Story, type ToldStep, tell } from './tell.ts';
