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

/** Breaks `text` at spaces to lines of at most `width`, each after `indent`. */
export function wrap(text: string, width: number, indent: string): string {
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
  return lines.map((part) => `${indent}${part}\n`).join('');
}

/** @param width columns to fill */
export function renderStory(story: Story, width = 100, style: StoryStyle = PLAIN): string {
  let text = '';
  for (const { number, text: step, sentence, details, violations } of story.steps) {
    text += `${String(number).padStart(3)}. ${style.bold(step)}\n`;
    text += wrap(sentence, width, INDENT);
    for (const detail of details) text += style.dim(wrap(`- ${detail}`, width, INDENT));
    for (const { property, text: why } of violations)
      text += style.bad(wrap(`VIOLATION of ${property}: ${why}`, width, INDENT));
  }
  return text;
}
