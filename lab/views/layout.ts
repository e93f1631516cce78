/** Pieces that the drawings share: headings, rows of chips, wrapped text. */
import { type TextStyle, textWidth, wrapped } from './metrics.ts';
import type { Sketch, Surface, Tone } from './scene.ts';

export const MARGIN = 24;
export const LINE_HEIGHT = 18;
const CHIP_HEIGHT = 20;
const CHIP_PAD = 7;
const CHIP_GAP = 6;

/** The heading of a drawing. @returns y below it */
export function heading(sketch: Sketch, width: number, title: string, subtitle: string): number {
  let y = 40;
  for (const line of wrapped(title, 'title', width - 2 * MARGIN)) {
    sketch.text(MARGIN, y, line, 'title');
    y += 24;
  }
  for (const line of subtitle === '' ? [] : wrapped(subtitle, 'body', width - 2 * MARGIN)) {
    sketch.text(MARGIN, y, line, 'body', 'dim');
    y += LINE_HEIGHT;
  }
  return y + 6;
}

/** Text in lines from `x`, the first on base line `y`. @returns the base line after the last */
export function paragraph(
  sketch: Sketch,
  x: number,
  y: number,
  width: number,
  text: string,
  style: TextStyle = 'body',
  tone: Tone = 'ink',
): number {
  let at = y;
  for (const line of wrapped(text, style, width)) {
    sketch.text(x, at, line, style, tone);
    at += LINE_HEIGHT;
  }
  return at;
}

export interface Chip {
  readonly text: string;
  readonly surface?: Surface;
  readonly tone?: Tone;
  readonly edge?: Tone;
  readonly hint?: string;
  readonly style?: TextStyle;
}

/** Width of a chip. */
export function chipWidth({ text, style = 'mono-small' }: Chip): number {
  return textWidth(text, style) + 2 * CHIP_PAD;
}

/** Chips in rows from (x, y), at most `width` wide. @returns y below the last row */
export function chips(sketch: Sketch, x: number, y: number, width: number, list: readonly Chip[]): number {
  let [atX, atY] = [x, y];
  for (const chip of list) {
    const wide = chipWidth(chip);
    if (atX > x && atX + wide > x + width) {
      atX = x;
      atY += CHIP_HEIGHT + CHIP_GAP;
    }
    const { text, surface = 'band', tone = 'ink', edge, hint, style = 'mono-small' } = chip;
    sketch.box(atX, atY, wide, CHIP_HEIGHT, surface, {
      radius: 5,
      ...(edge === undefined ? {} : { edge }),
      ...(hint === undefined ? {} : { hint }),
    });
    sketch.text(atX + CHIP_PAD, atY + 14.5, text, style, tone);
    atX += wide + CHIP_GAP;
  }
  return list.length === 0 ? y : atY + CHIP_HEIGHT;
}

export interface LegendEntry {
  readonly text: string;
  readonly surface: Surface;
  readonly edge?: Tone;
}

/** What the colours mean: swatches with a text each, in rows. @returns y below the last row */
export function legendRows(sketch: Sketch, x: number, y: number, width: number, list: readonly LegendEntry[]): number {
  let [atX, atY] = [x, y];
  for (const { text, surface, edge } of list) {
    const wide = 20 + textWidth(text, 'small') + 18;
    if (atX > x && atX + wide > x + width) {
      atX = x;
      atY += 22;
    }
    sketch.box(atX, atY, 14, 14, surface, { radius: 3, ...(edge === undefined ? {} : { edge }) });
    sketch.text(atX + 20, atY + 11.5, text, 'small', 'dim');
    atX += wide;
  }
  return list.length === 0 ? y : atY + 16;
}
