/**
 * How much room a text takes, without a browser. The widths are those of a wide font (DejaVu Sans), so that what is laid
 * out with them has room in the narrower ones that most systems have.
 */
import type { Box, Item, Text } from './scene.ts';

export interface StyleMetrics {
  /** Font size in pixels. */
  readonly size: number;
  readonly mono: boolean;
  readonly bold: boolean;
}

/** Every way in which text is set. */
export const TEXT_STYLES = {
  title: { size: 19, mono: false, bold: true },
  heading: { size: 14, mono: false, bold: true },
  body: { size: 13, mono: false, bold: false },
  small: { size: 12, mono: false, bold: false },
  mono: { size: 13, mono: true, bold: false },
  'mono-bold': { size: 13, mono: true, bold: true },
  'mono-small': { size: 12, mono: true, bold: false },
} as const satisfies Record<string, StyleMetrics>;
export type TextStyle = keyof typeof TEXT_STYLES;

const MONO_EM = 0.603;
const BOLD = 1.12;
const ASCENT = 0.78;
const DESCENT = 0.24;

/** Groups of characters by width, in thousandths of the font size. */
const GROUPS: readonly (readonly [number, string])[] = [
  [278, 'ijl'],
  [296, 'IJ'],
  [318, " .,·'"],
  [340, '/:;|\\'],
  [362, 'f-'],
  [395, '()[]t'],
  [412, 'r!'],
  [500, '*_`"–'],
  [527, 'sz?'],
  [557, 'cLF'],
  [592, 'vxyk'],
  [613, 'aeoPTY'],
  [636, 'bdghnpqu0123456789$SE{}'],
  [690, 'ABCRVXZK'],
  [752, 'HNUGD'],
  [788, 'OQ&'],
  [838, '+<=>~#^w→×'],
  [868, 'M'],
  [975, 'm%'],
  [1000, '@W…✓✗—'],
];
const WIDTHS = new Map(GROUPS.flatMap(([width, group]) => [...group].map((letter) => [letter, width / 1000] as const)));
const UNKNOWN = 0.9;

/** Width of a text in pixels. */
export function textWidth(text: string, style: TextStyle): number {
  const { size, mono, bold } = TEXT_STYLES[style];
  let em = 0;
  for (const letter of text) em += mono ? MONO_EM : (WIDTHS.get(letter) ?? UNKNOWN);
  return em * size * (bold && !mono ? BOLD : 1);
}

/** The rectangle that a text fills. */
export function textBox(item: Text): Pick<Box, 'x' | 'y' | 'width' | 'height'> {
  const width = textWidth(item.text, item.style);
  const { size } = TEXT_STYLES[item.style];
  const x = item.anchor === 'end' ? item.x - width : item.anchor === 'middle' ? item.x - width / 2 : item.x;
  return { x, y: item.y - ASCENT * size, width, height: (ASCENT + DESCENT) * size };
}

/** A text that fits into `width` pixels: cut where it is longer, with `…` at its end. */
export function fitted(text: string, style: TextStyle, width: number): string {
  if (textWidth(text, style) <= width) return text;
  let cut = text;
  while (cut !== '' && textWidth(`${cut}…`, style) > width) cut = cut.slice(0, -1);
  return `${cut.trimEnd()}…`;
}

/** A text in lines of at most `width` pixels, broken at spaces; a longer word has a line to itself, cut. */
export function wrapped(text: string, style: TextStyle, width: number): string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ')) {
    const longer = line === '' ? word : `${line} ${word}`;
    if (line !== '' && textWidth(longer, style) > width) {
      lines.push(line);
      line = word;
    } else {
      line = longer;
    }
  }
  lines.push(line);
  return lines.map((each) => fitted(each, style, width));
}

/** Pairs of texts of a drawing that overlap, and texts that leave it: what a layout must not have. */
export function collisions(scene: {
  readonly width: number;
  readonly height: number;
  readonly items: readonly Item[];
}): string[] {
  const texts = scene.items.filter((item) => item.kind === 'text');
  const boxes = texts.map((item) => ({ item, ...textBox(item) })).sort((a, b) => a.y - b.y);
  const found: string[] = [];
  boxes.forEach((a, i) => {
    if (a.x < 0 || a.y < 0 || a.x + a.width > scene.width || a.y + a.height > scene.height) {
      found.push(`"${a.item.text}" leaves the drawing`);
    }
    for (let k = i + 1; k < boxes.length && boxes[k]!.y < a.y + a.height; k++) {
      const b = boxes[k]!;
      if (a.x < b.x + b.width && b.x < a.x + a.width) found.push(`"${a.item.text}" and "${b.item.text}" overlap`);
    }
  });
  return found;
}
