/**
 * Reads the text of a scenario. Whatever is wrong is an InputError that names the file, the line, the field, and what
 * was expected there.
 */

import { defaultProfile, findProfile, profileNames } from '#hypercall-abi';
import { InputError, quoted } from '../input-error.ts';
import { SCENARIO_MAGIC } from './format.ts';
import { withoutComment } from './parse-line.ts';
import { parseStep } from './parse-step.ts';
import { SCENARIO_VERSION, type Scenario, type Step } from './types.ts';

const FIRST_LINE = new RegExp(`^${SCENARIO_MAGIC}(\\d+)$`);
const HEADER_WORD = /^[a-z0-9][\w.+/-]*$/i;

/** A scenario with the line (from 1) that each of its steps stands on. */
export interface ParsedScenario {
  readonly scenario: Scenario;
  readonly lines: readonly number[];
}

/** Header lines by their first word. */
interface Header {
  profile?: string;
  machine?: string;
  hypervisor?: string;
  title?: string;
}

/**
 * The scenario in `text`.
 * @param file its name in messages
 * @throws InputError
 */
export function parseScenario(text: string, file = 'scenario'): Scenario {
  return parseScenarioLines(text, file).scenario;
}

/** As {@link parseScenario}, with the lines that the steps stand on. @throws InputError */
export function parseScenarioLines(text: string, file = 'scenario'): ParsedScenario {
  const header: Header = {};
  const steps: Step[] = [];
  const lines: number[] = [];
  let seenFirst = false;
  text
    .replace(/^\uFEFF/, '')
    .split(/\r\n|\r|\n/)
    .forEach((whole, i) => {
      const line = i + 1;
      const trimmed = whole.trim();
      if (trimmed === '' || trimmed.startsWith('#')) return;
      if (!seenFirst) {
        checkFirstLine(withoutComment(trimmed), file, line);
        seenFirst = true;
        return;
      }
      const [word = '', rest] = split(trimmed);
      if (word === 'profile' || word === 'machine' || word === 'hypervisor' || word === 'title') {
        if (steps.length > 0) throw new InputError({ file, line, expected: `${word} before the first step` });
        if (header[word] !== undefined)
          throw new InputError({ file, line, expected: `one ${word} line`, got: 'another' });
        header[word] = word === 'title' ? rest : headerWord(word, withoutComment(rest), file, line);
        if (header[word] === '') throw new InputError({ file, line, field: word, expected: 'some text' });
        return;
      }
      const step = parseStep(trimmed, file, line, findProfile(header.profile ?? defaultProfile.name));
      if (step.kind === 'expect' && steps.length === 0) {
        throw new InputError({ file, line, expected: 'a step before what is expected of it' });
      }
      steps.push(step);
      lines.push(line);
    });
  if (!seenFirst) throw new InputError({ file, expected: `a first line "${SCENARIO_MAGIC}${SCENARIO_VERSION}"` });
  const { profile, machine, hypervisor, title } = header;
  const missing = profile === undefined ? 'profile' : machine === undefined ? 'machine' : 'hypervisor';
  if (profile === undefined || machine === undefined || hypervisor === undefined) {
    throw new InputError({ file, expected: `a "${missing}" line before the first step` });
  }
  return { scenario: { profile, machine, hypervisor, ...(title !== undefined && { title }), steps }, lines };
}

function checkFirstLine(text: string, file: string, line: number): void {
  const version = FIRST_LINE.exec(text)?.[1];
  // Version 0 has no guests, SMMUs that fall silent, widths and schedule points; what it has means the same.
  if (version !== undefined && Number(version) <= SCENARIO_VERSION) return;
  const expected = `"${SCENARIO_MAGIC}${SCENARIO_VERSION}" or an earlier version`;
  const got = version === undefined ? quoted(text) : `version ${version}, which a later Postern reads`;
  throw new InputError({ file, line, expected, got });
}

function headerWord(word: string, text: string, file: string, line: number): string {
  if (!HEADER_WORD.test(text))
    throw new InputError({ file, line, field: word, expected: 'one name', got: quoted(text) });
  if (word === 'profile' && findProfile(text) === undefined) {
    throw new InputError({ file, line, field: word, expected: profileNames.join(', '), got: quoted(text) });
  }
  return text;
}

function split(text: string): readonly [string, string] {
  const at = text.search(/\s/);
  return at < 0 ? [text, ''] : [text.slice(0, at), text.slice(at).trim()];
}
