/** Checks of drawings that every view must pass. */
import { expect } from 'vitest';
import { collisions, textBox } from '#lab/views/metrics';
import type { Scene, Text } from '#lab/views/scene';
import { renderSvg } from '#lab/views/svg';

/** The texts of a scene. */
export function texts(scene: Scene): string[] {
  return scene.items.flatMap((item) => (item.kind === 'text' ? item.text : []));
}

/** No text overlaps another or leaves the drawing, and the SVG is sound XML that names and describes itself. */
export function expectSound(scene: Scene): void {
  expect(collisions(scene)).toEqual([]);
  expect(Number.isFinite(scene.width) && Number.isFinite(scene.height)).toBe(true);
  const svg = renderSvg(scene);
  const names = wellFormed(svg);
  expect(names.slice(0, 4)).toEqual(['svg', 'title', 'desc', 'style']);
  expect(svg).not.toMatch(/NaN|undefined|Infinity|\[object/);
  expect(svg).not.toMatch(/(?:href|src|url\(|@import|<script|<foreignObject)/);
  const [, title, description] = /aria-labelledby="(\S+) (\S+)"/.exec(svg)!;
  expect(svg).toContain(`<title id="${title}">`);
  expect(svg).toContain(`<desc id="${description}">`);
  expect(scene.title.length * scene.description.length).toBeGreaterThan(0);
}

/** Names of the elements of an XML text, in order. @throws Error where it is not well-formed */
export function wellFormed(xml: string): string[] {
  const names: string[] = [];
  const open: string[] = [];
  const token = /<(\/?)([A-Za-z]+)((?:\s+[\w:-]+="[^"<]*")*)\s*(\/?)>|([^<]+)|(<)/gy;
  for (const match of xml.matchAll(token)) {
    const [whole, closes, name, attributes = '', empty, content, stray] = match;
    if (stray !== undefined) throw new Error(`stray < at ${match.index}`);
    for (const part of [attributes, content ?? '']) {
      if (/&(?!(?:amp|lt|gt|quot|#\d+);)/.test(part)) throw new Error(`stray & in ${whole}`);
    }
    if (name === undefined) {
      if (open.length === 0 && content!.trim() !== '') throw new Error(`text outside: ${content}`);
      continue;
    }
    const keys = [...attributes.matchAll(/([\w:-]+)=/g)].map(([, key]) => key);
    if (new Set(keys).size !== keys.length) throw new Error(`attribute twice in ${whole}`);
    if (closes) {
      if (open.pop() !== name) throw new Error(`${whole} closes another element`);
      continue;
    }
    names.push(name);
    if (!empty) open.push(name);
  }
  if (open.length > 0) throw new Error(`${open.join(', ')} not closed`);
  return names;
}

/** Whether a text lies inside one of the boxes of the drawing that have this surface. */
export function insideBox(scene: Scene, text: Text, surface: string): boolean {
  const own = textBox(text);
  return scene.items.some(
    (item) =>
      item.kind === 'box' &&
      item.surface === surface &&
      own.x >= item.x &&
      own.y >= item.y &&
      own.x + own.width <= item.x + item.width &&
      own.y + own.height <= item.y + item.height,
  );
}
