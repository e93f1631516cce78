/** Colours, where standard output is a terminal. */
import pc from 'picocolors';
import type { StoryStyle } from '../narrator/render.ts';
import type { CliIo } from './command.ts';

export function storyStyle(io: CliIo): StoryStyle {
  const colours = pc.createColors(io.isTty);
  return { dim: colours.dim, bold: colours.bold, bad: colours.red };
}
