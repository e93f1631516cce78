/**
 * A scene as one SVG document that needs nothing else: no font, script or style from elsewhere. It names and describes
 * itself to screen readers, follows the reader's choice of light or dark, and may stand in a page beside others.
 */
import type { Box, Item, Line, Scene, Text } from './scene.ts';
import { defaultTheme, styleSheet, type Theme } from './theme.ts';

const ARROW_LENGTH = 7;
const ARROW_HALF = 4;

/** The scene as the text of an SVG file. */
export function renderSvg(scene: Scene, theme: Theme = defaultTheme): string {
  const { title, description, width, height, items } = scene;
  const id = `v${hash(JSON.stringify(scene))}`;
  const size = `width="${round(width)}" height="${round(height)}" viewBox="0 0 ${round(width)} ${round(height)}"`;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" class="postern-view" ${size} role="img" aria-labelledby="${id}-t ${id}-d">`,
    `<title id="${id}-t">${escaped(title)}</title>`,
    `<desc id="${id}-d">${escaped(description)}</desc>`,
    `<style>\n${escaped(styleSheet(theme))}\n</style>`,
    `<rect class="paper" width="100%" height="100%"/>`,
    ...items.map(element),
    '</svg>',
    '',
  ].join('\n');
}

function element(item: Item): string {
  switch (item.kind) {
    case 'box':
      return box(item);
    case 'line':
      return line(item);
    case 'text':
      return text(item);
  }
}

function box({ x, y, width, height, surface, edge, radius, hint }: Box): string {
  const fill = surface.endsWith('-full') ? surface.slice(0, -5) : surface;
  const classes = edge === undefined ? fill : `${fill} edge-${edge}`;
  const round_ = radius === undefined ? '' : ` rx="${round(radius)}"`;
  const attributes = `class="${classes}" x="${round(x)}" y="${round(y)}" width="${round(width)}" height="${round(height)}"${round_}`;
  return hint === undefined ? `<rect ${attributes}/>` : `<rect ${attributes}><title>${escaped(hint)}</title></rect>`;
}

function line({ points, tone, arrow, dashed, heavy }: Line): string {
  const classes = `stroke edge-${tone}${heavy ? ' heavy' : ''}${dashed ? ' dashed' : ''}`;
  const shaft = arrow ? shortened(points) : points;
  const path = `<path class="${classes}" d="M${shaft.map(([x, y]) => `${round(x)} ${round(y)}`).join('L')}"/>`;
  return arrow ? `${path}\n${head(points, tone)}` : path;
}

/** The shaft of an arrow ends inside its head. */
function shortened(points: Line['points']): Line['points'] {
  const [x, y] = points.at(-1)!;
  const [ux, uy] = direction(points);
  return [...points.slice(0, -1), [x - ux * ARROW_LENGTH * 0.7, y - uy * ARROW_LENGTH * 0.7]];
}

function head(points: Line['points'], tone: string): string {
  const [x, y] = points.at(-1)!;
  const [ux, uy] = direction(points);
  const [bx, by] = [x - ux * ARROW_LENGTH, y - uy * ARROW_LENGTH];
  const corners = [
    [x, y],
    [bx - uy * ARROW_HALF, by + ux * ARROW_HALF],
    [bx + uy * ARROW_HALF, by - ux * ARROW_HALF],
  ];
  return `<path class="${tone}" d="M${corners.map(([a, b]) => `${round(a!)} ${round(b!)}`).join('L')}Z"/>`;
}

function direction(points: Line['points']): [number, number] {
  const [fromX, fromY] = points.at(-2)!;
  const [x, y] = points.at(-1)!;
  const length = Math.hypot(x - fromX, y - fromY) || 1;
  return [(x - fromX) / length, (y - fromY) / length];
}

function text({ x, y, text: content, style, tone, anchor, inverse, hint }: Text): string {
  const place = `x="${round(x)}" y="${round(y)}"${anchor === undefined || anchor === 'start' ? '' : ` text-anchor="${anchor}"`}`;
  const title = hint === undefined ? '' : `<title>${escaped(hint)}</title>`;
  return `<text class="t-${style} ${inverse ? 'inverse' : tone}" ${place}>${title}${escaped(content)}</text>`;
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}

/** Text for XML; characters that XML cannot carry become a question mark. */
function escaped(raw: string): string {
  return raw
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;')
    .replace(/[^\t\n\r -\ud7ff\ue000-\ufffd]/gu, (letter) => (letter.codePointAt(0)! > 0xffff ? letter : '?'));
}

/** FNV-1a, in hexadecimal: the same scene has the same name in every document. */
function hash(data: string): string {
  let value = 0x811c9dc5;
  for (let i = 0; i < data.length; i++) value = Math.imul(value ^ data.charCodeAt(i), 0x01000193);
  return (value >>> 0).toString(16).padStart(8, '0');
}
