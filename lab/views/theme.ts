/** What a drawing looks like: a colour for each tone, by light and by dark, and the fonts. */
import { TEXT_STYLES } from './metrics.ts';
import { TONES, type Tone } from './scene.ts';

/** Colours as `#rrggbb`. */
export interface Palette {
  /** Behind everything. */
  readonly paper: string;
  readonly card: string;
  readonly band: string;
  readonly tones: Readonly<Record<Tone, string>>;
  /** The pale version of a tone, to write on. */
  readonly pale: Readonly<Record<Tone, string>>;
}

export interface Theme {
  readonly light: Palette;
  readonly dark: Palette;
  /** `auto` follows the reader's preference. */
  readonly scheme: 'auto' | 'light' | 'dark';
  /** Font families, first choice first. */
  readonly sans: string;
  readonly mono: string;
}

const light: Palette = {
  paper: '#ffffff',
  card: '#f8fafc',
  band: '#eef2f7',
  tones: {
    ink: '#17202e',
    dim: '#556274',
    accent: '#1d5fbf',
    second: '#7a3fb0',
    ok: '#12703f',
    warn: '#8f5200',
    bad: '#b42318',
    host: '#2f6fb7',
    hyp: '#5b5f97',
    guest: '#1f7a55',
    shared: '#96690b',
    line: '#c3ccd8',
  },
  pale: {
    ink: '#e3e8ef',
    dim: '#eef2f7',
    accent: '#e4eefb',
    second: '#f1e7fa',
    ok: '#e0f4e8',
    warn: '#fdeecd',
    bad: '#fde5e2',
    host: '#d6e8fb',
    hyp: '#c4bdea',
    guest: '#cdebdd',
    shared: '#f6e5b8',
    line: '#eef2f7',
  },
};

const dark: Palette = {
  paper: '#0f141b',
  card: '#171e28',
  band: '#1d2632',
  tones: {
    ink: '#e6ebf2',
    dim: '#9aa7b8',
    accent: '#78b0ff',
    second: '#cb9cf5',
    ok: '#5fd398',
    warn: '#f0b552',
    bad: '#ff8a7d',
    host: '#6aa9ee',
    hyp: '#a3a7e6',
    guest: '#5cc795',
    shared: '#e0b24a',
    line: '#39465a',
  },
  pale: {
    ink: '#2a3443',
    dim: '#1d2632',
    accent: '#172c4a',
    second: '#2f2142',
    ok: '#12301f',
    warn: '#3a2a0c',
    bad: '#43201d',
    host: '#183a5e',
    hyp: '#453d85',
    guest: '#1a4432',
    shared: '#4a3a10',
    line: '#1d2632',
  },
};

/** The theme of the project. */
export const defaultTheme: Theme = {
  light,
  dark,
  scheme: 'auto',
  sans: 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, "DejaVu Sans", sans-serif',
  mono: 'ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace',
};

/** The style sheet of a drawing whose outermost element has the class `postern-view`. */
export function styleSheet(theme: Theme): string {
  const first = theme.scheme === 'dark' ? theme.dark : theme.light;
  const rules = [...fontRules(theme), ...colourRules(first)];
  if (theme.scheme === 'auto')
    rules.push(`@media (prefers-color-scheme: dark) {\n${colourRules(theme.dark).join('\n')}\n}`);
  return rules.join('\n');
}

function fontRules({ sans, mono }: Theme): string[] {
  const scope = '.postern-view';
  const styles = Object.entries(TEXT_STYLES).map(([name, style]) => {
    const family = style.mono ? mono : sans;
    return `${scope} .t-${name} { font: ${style.bold ? 600 : 400} ${style.size}px ${family}; }`;
  });
  return [
    ...styles,
    `${scope} text { white-space: pre; }`,
    `${scope} .none { fill: none; }`,
    `${scope} .stroke { fill: none; stroke-width: 1.5; stroke-linejoin: round; }`,
    `${scope} .heavy { stroke-width: 2.5; }`,
    `${scope} .dashed { stroke-dasharray: 4 4; }`,
  ];
}

function colourRules({ paper, card, band, tones, pale }: Palette): string[] {
  const scope = '.postern-view';
  return [
    `${scope} .paper { fill: ${paper}; }`,
    `${scope} .card { fill: ${card}; }`,
    `${scope} .band { fill: ${band}; }`,
    ...TONES.flatMap((tone) => [
      `${scope} .${tone} { fill: ${tones[tone]}; }`,
      `${scope} .${tone}-pale { fill: ${pale[tone]}; }`,
      `${scope} .edge-${tone} { stroke: ${tones[tone]}; }`,
    ]),
    `${scope} .inverse { fill: ${paper}; }`,
  ];
}
