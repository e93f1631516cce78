/** Scenarios in the forms of other tools: a page, a trace, a log, an array, a test, a story, data. Runs in a browser. */

import { tell } from '../narrator/index.ts';
import type { Scenario } from '../scenario/index.ts';
import type { HypervisorFactory } from '../session/session.ts';
import { cArray } from './c-array.ts';
import { casemateLog } from './casemate.ts';
import { chromeTrace } from './chrome.ts';
import { filmOf } from './film.ts';
import { filmPage } from './html.ts';
import { storyMarkdown } from './markdown.ts';
import { vitestModule } from './vitest.ts';

export { type ChromeTrace, chromeTrace, type TraceEvent } from './chrome.ts';
export { type Film, type Frame, filmOf } from './film.ts';

/** Every kind, with what it is for. */
export const EMIT_KINDS = {
  html: 'one page that steps through the scenario, forward and back',
  chrome: 'a trace for Perfetto and chrome://tracing',
  casemate: 'a log for casemate, the checker of break-before-make',
  c: 'a C array of register frames with expected results',
  ts: 'a test for vitest',
  md: 'a story in Markdown',
  json: 'what came of every step, as data',
} as const;

export type EmitKind = keyof typeof EMIT_KINDS;

export function isEmitKind(text: string): text is EmitKind {
  return Object.hasOwn(EMIT_KINDS, text);
}

/**
 * The scenario in that form, run on that hypervisor.
 * @throws RangeError for a form that cannot say it; else as `recordScenario`
 */
export function emit(kind: EmitKind, scenario: Scenario, hypervisor: HypervisorFactory): string {
  switch (kind) {
    case 'html':
      return filmPage(filmOf(scenario, hypervisor));
    case 'chrome':
      return `${JSON.stringify(chromeTrace(scenario, hypervisor), null, 1)}\n`;
    case 'casemate':
      return casemateLog(scenario, hypervisor);
    case 'c':
      return cArray(scenario, hypervisor);
    case 'ts':
      return vitestModule(scenario);
    case 'md':
      return storyMarkdown(scenario, tell(scenario, hypervisor));
    case 'json': {
      const { walks: _, ...film } = filmOf(scenario, hypervisor);
      return `${JSON.stringify({ schema: 'postern/scenario-film/1', scenario, ...film }, null, 2)}\n`;
    }
  }
}
