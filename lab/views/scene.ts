/**
 * A drawing as data: boxes, lines and texts at fixed places, each with the names of what it looks like, and never a
 * colour or a font. A view makes one from state; `renderSvg` makes a picture of it, and a page may draw it in its own
 * way. Coordinates are pixels, y grows downwards, and what comes later lies on top.
 */
import type { TextStyle } from './metrics.ts';

/** What a thing means: a theme has one colour for each. */
export const TONES = [
  'ink',
  'dim',
  'accent',
  'second',
  'ok',
  'warn',
  'bad',
  'host',
  'hyp',
  'guest',
  'shared',
  'line',
] as const;
export type Tone = (typeof TONES)[number];

/** What a box is filled with: nothing, the paper of a card, or the pale or full colour of a tone. */
export type Surface = 'none' | 'card' | 'band' | `${Tone}-pale` | `${Tone}-full`;

export interface Box {
  readonly kind: 'box';
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
  readonly surface: Surface;
  /** Tone of its edge; without one it has none. */
  readonly edge?: Tone;
  readonly radius?: number;
  /** Shown when it is pointed at. */
  readonly hint?: string;
}

export interface Line {
  readonly kind: 'line';
  /** Corners from beginning to end. */
  readonly points: readonly (readonly [number, number])[];
  readonly tone: Tone;
  /** An arrow head at its end. */
  readonly arrow?: boolean;
  readonly dashed?: boolean;
  readonly heavy?: boolean;
}

export interface Text {
  readonly kind: 'text';
  /** Left end, middle or right end, by {@link Text.anchor}. */
  readonly x: number;
  /** Of the base line. */
  readonly y: number;
  readonly text: string;
  readonly style: TextStyle;
  readonly tone: Tone;
  /** `start` when left out. */
  readonly anchor?: 'start' | 'middle' | 'end';
  /** On a box with the full colour of a tone: the colour of the paper. */
  readonly inverse?: boolean;
  readonly hint?: string;
}

export type Item = Box | Line | Text;

/** A whole drawing. */
export interface Scene {
  /** One line that says what is drawn. */
  readonly title: string;
  /** What is to be seen, in words, for those who cannot see it. */
  readonly description: string;
  readonly width: number;
  readonly height: number;
  readonly items: readonly Item[];
}

type Options<T extends Item, K extends keyof T> = Partial<Omit<T, 'kind' | K>>;

/** Collects the items of a scene. */
export class Sketch {
  readonly items: Item[] = [];

  box(
    x: number,
    y: number,
    width: number,
    height: number,
    surface: Surface,
    options: Options<Box, 'x' | 'y' | 'width' | 'height' | 'surface'> = {},
  ): void {
    this.items.push({ kind: 'box', x, y, width, height, surface, ...options });
  }

  line(points: Line['points'], tone: Tone, options: Options<Line, 'points' | 'tone'> = {}): void {
    this.items.push({ kind: 'line', points, tone, ...options });
  }

  text(
    x: number,
    y: number,
    text: string,
    style: TextStyle,
    tone: Tone = 'ink',
    options: Options<Text, 'x' | 'y' | 'text' | 'style' | 'tone'> = {},
  ): void {
    this.items.push({ kind: 'text', x, y, text, style, tone, ...options });
  }

  scene(title: string, description: string, width: number, height: number): Scene {
    return { title, description, width, height, items: this.items };
  }
}

/** The items of a scene, moved. */
export function moved(items: readonly Item[], dx: number, dy: number): Item[] {
  return items.map((item) =>
    item.kind === 'line'
      ? { ...item, points: item.points.map(([x, y]): [number, number] => [x + dx, y + dy]) }
      : { ...item, x: item.x + dx, y: item.y + dy },
  );
}

/** Scenes side by side, tops aligned, `gap` pixels apart. */
export function beside(title: string, description: string, scenes: readonly Scene[], gap = 0): Scene {
  const items: Item[] = [];
  let x = 0;
  for (const scene of scenes) {
    items.push(...moved(scene.items, x, 0));
    x += scene.width + gap;
  }
  const height = Math.max(...scenes.map((scene) => scene.height));
  return { title, description, width: x - gap, height, items };
}

/** Scenes below each other. */
export function below(title: string, description: string, scenes: readonly Scene[], gap = 0): Scene {
  const items: Item[] = [];
  let y = 0;
  for (const scene of scenes) {
    items.push(...moved(scene.items, 0, y));
    y += scene.height + gap;
  }
  return { title, description, width: Math.max(...scenes.map(({ width }) => width)), height: y - gap, items };
}
