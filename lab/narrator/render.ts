/** A story as text for a terminal: numbered steps, what happened inside indented below, violations marked. */
import type { Story } from './tell.ts';

/** Colours of a terminal; plain functions that return their text keep it plain. */
export interface StoryStyle {
  dim(text: string): string;
  bold(text: string): string;
  bad(text: string): string;
}

const PLAIN: StoryStyle = { dim: (text) => text, bold: (text) => text, bad: (text) => text };
const INDENT = '     ';
/** Violations of one step that are told; the first ones tell most. */
const VIOLATIONS_SHOWN = 2;

/** Breaks `text` at spaces to lines of at most `width`, each after `indent`, those after the first also after `hang`. */
export function wrap(text: string, width: number, indent: string, hang = ''): string {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ')) {
    if (line !== '' && indent.length + line.length + 1 + word.length > width) {
      lines.push(line);
      line = word;
    } else {
      line = line === '' ? word : `${line} ${word}`;
    }
  }
  lines.push(line);
  return lines.map((part, i) => `${indent}${i === 0 ? '' : hang}${part}\n`).join('');
}

/** @param width columns to fill */
export function renderStory(story: Story, width = 100, style: StoryStyle = PLAIN): string {
  let text = '';
  for (const { number, text: step, sentence, details, violations } of story.steps) {
    text += `${String(number).padStart(3)}. ${style.bold(step)}\n`;
    text += wrap(sentence, width, INDENT);
    for (const detail of details) text += style.dim(wrap(`- ${detail}`, width - 2, INDENT, '  '));
    for (const { property, text: why } of violations.slice(0, VIOLATIONS_SHOWN)) {
      text += style.bad(wrap(`VIOLATION of ${property}: ${why}`, width, INDENT));
    }
    const more = violations.length - VIOLATIONS_SHOWN;
    if (more > 0) text += style.bad(`${INDENT}(and ${more} more)\n`);
  }
  return text;
}
