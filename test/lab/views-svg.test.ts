import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { attackScenario } from '#lab/demo/attack';
import { parseScenario } from '#lab/scenario/index';
import { Session } from '#lab/session/session';
import { memoryMap } from '#lab/views/memory-map';
import { memoryView } from '#lab/views/memory-view';
import { fitted, TEXT_STYLES, type TextStyle, textWidth, wrapped } from '#lab/views/metrics';
import { beside, Sketch, TONES } from '#lab/views/scene';
import { renderSvg } from '#lab/views/svg';
import { defaultTheme, type Palette } from '#lab/views/theme';
import { timelineOf } from '#lab/views/timeline';
import { timelineView } from '#lab/views/timeline-view';
import { hypervisorByIdentity } from '#lab/zoo/index';
import { qemuVirt } from '#machine';
import { expectSound, wellFormed } from './views-rig.ts';

const attack = parseScenario(attackScenario, 'attack');
const timeline = (identity: string, scenario = attack) =>
  timelineOf({ ...scenario, hypervisor: identity }, hypervisorByIdentity(identity));

test('text is cut and broken to the width it is given', () => {
  const styles = Object.keys(TEXT_STYLES) as TextStyle[];
  fc.assert(
    fc.property(fc.string(), fc.constantFrom(...styles), fc.integer({ min: 60, max: 600 }), (text, style, width) => {
      expect(textWidth(fitted(text, style, width), style)).toBeLessThanOrEqual(width);
      for (const line of wrapped(text, style, width)) expect(textWidth(line, style)).toBeLessThanOrEqual(width);
    }),
  );
});

test('any text makes well-formed XML', () => {
  const quoted = new Sketch();
  quoted.text(10, 20, 'a & b < c > "d" ]]>', 'body', 'ink', { hint: '&amp;' });
  const sound = renderSvg(quoted.scene('<t> & "u"', '&', 100, 100));
  expect(wellFormed(sound).length).toBe(7);
  expect(sound).toContain('<title>&amp;amp;</title>a &amp; b &lt; c &gt; &quot;d&quot; ]]&gt;</text>');
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), (text) => {
      const sketch = new Sketch();
      sketch.text(10, 20, text, 'body', 'ink', { hint: text });
      sketch.box(0, 0, 5, 5, 'card', { hint: text });
      const svg = renderSvg(sketch.scene(text, text, 100, 100));
      expect(wellFormed(svg).length).toBe(9);
      // biome-ignore lint/suspicious/noControlCharactersInRegex: XML forbids exactly these
      expect(svg).not.toMatch(/[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]/);
    }),
    { numRuns: 50 },
  );
});

test('drawings in one page have names of their own, and the same drawing the same name', () => {
  const one = timelineView(timeline('postern'));
  const id = (svg: string): string => /aria-labelledby="(\S+)/.exec(svg)![1]!;
  expect(id(renderSvg(one))).toBe(id(renderSvg(one)));
  expect(id(renderSvg(one))).not.toBe(id(renderSvg(timelineView(timeline('postern+Z14')))));
  expectSound(beside('two', 'two timelines', [one, one], 20));
});

test('every text can be read on every surface that it stands on, by light and by dark', () => {
  const luminance = (colour: string): number => {
    const [r, g, b] = [1, 3, 5].map((at) => {
      const value = Number.parseInt(colour.slice(at, at + 2), 16) / 255;
      return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r! + 0.7152 * g! + 0.0722 * b!;
  };
  const contrast = (a: string, b: string): number => {
    const [low, high] = [luminance(a), luminance(b)].sort((x, y) => x - y);
    return (high! + 0.05) / (low! + 0.05);
  };
  const check = ({ paper, card, band, tones, pale }: Palette): void => {
    for (const tone of ['ink', 'dim', 'accent', 'second', 'ok', 'warn', 'bad'] as const) {
      for (const surface of [paper, card, band, pale[tone]])
        expect(contrast(tones[tone], surface)).toBeGreaterThan(4.5);
    }
    for (const tone of TONES) expect(tones[tone] + pale[tone]).toMatch(/^(#[0-9a-f]{6}){2}$/);
    expect(contrast(tones.ink, pale.host)).toBeGreaterThan(4.5);
  };
  check(defaultTheme.light);
  check(defaultTheme.dark);
  const svg = renderSvg(memoryView(memoryMap(new Session({ machine: qemuVirt }).machine)));
  expect(svg).toContain('@media (prefers-color-scheme: dark)');
  const fixed = renderSvg(timelineView(timeline('postern')), { ...defaultTheme, scheme: 'dark' });
  expect(fixed).not.toContain('@media');
  expect(fixed).toContain(defaultTheme.dark.paper);
});
