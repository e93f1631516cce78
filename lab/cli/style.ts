/** Colours, where standard output is a terminal and nobody has asked for none (NO_COLOR). */
import pc from 'picocolors';
import type { StoryStyle } from '../narrator/render.ts';
import type { WalkStyle } from '../walk/render.ts';
import type { CliIo } from './command.ts';

export function coloursOf(io: CliIo): ReturnType<typeof pc.createColors> {
  return pc.createColors(io.isTty && !process.env.NO_COLOR);
}

export function storyStyle(io: CliIo): StoryStyle {
  const colours = coloursOf(io);
  return { dim: colours.dim, bold: colours.bold, bad: colours.red };
}

export function walkStyle(io: CliIo): WalkStyle {
  const colours = coloursOf(io);
  return { dim: colours.dim, bold: colours.bold, good: colours.green, bad: colours.red };
}
