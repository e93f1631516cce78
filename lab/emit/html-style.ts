/** The style sheet of the page that steps through a scenario: the colours are those of the drawings. */
import type { Palette, Theme } from '../views/index.ts';

/** The style sheet, for light and dark. */
export function pageStyle(theme: Theme): string {
  return `:root { ${variables(theme.light)} --sans: ${theme.sans}; --mono: ${theme.mono}; }
@media (prefers-color-scheme: dark) { :root { ${variables(theme.dark)} } }
${RULES}`;
}

function variables({ paper, card, band, tones, pale }: Palette): string {
  const all = [
    ['paper', paper],
    ['card', card],
    ['band', band],
    ...Object.entries(tones),
    ...Object.entries(pale).map(([name, colour]) => [`${name}-pale`, colour]),
  ];
  return all.map(([name, colour]) => `--${name}: ${colour};`).join(' ');
}

const RULES = `* { box-sizing: border-box; }
html { scroll-padding-top: 4.5rem; }
body { margin: 0 auto; max-width: 1460px; padding: 0 1.5rem 3rem; background: var(--paper); color: var(--ink); font: 16px/1.5 var(--sans); }
code, .mono { font-family: var(--mono); }
.skip { position: absolute; left: -100vw; }
.skip:focus { left: 1rem; top: .5rem; background: var(--paper); padding: .4rem .8rem; z-index: 9; }
:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; border-radius: 6px; }
header { padding: 1.8rem 0 .6rem; }
h1 { font-size: 1.65rem; line-height: 1.25; margin: 0; letter-spacing: -.01em; text-wrap: balance; }
h2 { font-size: .8rem; font-weight: 650; text-transform: uppercase; letter-spacing: .06em; color: var(--dim); margin: 0 0 .6rem; }
.facts { display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; margin: .4rem 0 0; color: var(--dim); font-size: .9rem; }
.facts b { color: var(--ink); font-weight: 600; }
.good { color: var(--ok); font-weight: 600; }
.broken { color: var(--bad); font-weight: 600; }
.controls { position: sticky; top: 0; z-index: 5; display: flex; align-items: center; gap: .5rem; padding: .7rem 0; background: var(--paper); border-bottom: 1px solid var(--line); margin-bottom: 1.2rem; }
.controls button { font: inherit; font-size: 1rem; line-height: 1; width: 2.6rem; height: 2.3rem; border: 1px solid var(--line); border-radius: 8px; background: var(--card); color: var(--ink); cursor: pointer; }
.controls button svg { display: block; margin: auto; }
.controls button:hover:enabled { border-color: var(--accent); color: var(--accent); }
.controls button:disabled { opacity: .35; cursor: default; }
.controls #forward { background: var(--accent); border-color: var(--accent); color: var(--paper); width: 3.4rem; }
.controls input { flex: 1; min-width: 4rem; accent-color: var(--accent); }
.controls output { min-width: 7.2em; text-align: right; font-variant-numeric: tabular-nums; color: var(--dim); font-size: .9rem; white-space: nowrap; }
main { display: grid; grid-template-columns: minmax(16rem, 23rem) minmax(0, 1fr); gap: 1.5rem; align-items: start; }
.log { position: sticky; top: 4.6rem; max-height: calc(100vh - 5.6rem); display: flex; flex-direction: column; }
.log ol { list-style: none; margin: 0; padding: 0 .3rem 0 0; overflow: auto; overscroll-behavior: contain; }
.log button { display: grid; grid-template-columns: 1.7rem 1fr; gap: 0 .4rem; width: 100%; text-align: left; font: inherit; color: inherit; background: none; border: 0; border-left: 3px solid transparent; border-radius: 0 6px 6px 0; padding: .28rem .5rem .3rem .35rem; cursor: pointer; }
.log button:hover { background: var(--band); }
.log [aria-current] { background: var(--accent-pale); border-left-color: var(--accent); }
.log .future { color: var(--dim); }
.log .index { color: var(--dim); font-size: .78rem; text-align: right; padding-top: .12rem; font-variant-numeric: tabular-nums; }
.log code { font-size: .78rem; line-height: 1.45; overflow-wrap: anywhere; }
.log .result { grid-column: 2; font: .76rem/1.4 var(--mono); color: var(--ok); }
.log .future .result { visibility: hidden; }
.log .refused { color: var(--warn); }
.log .bad .result { color: var(--bad); font-weight: 600; visibility: visible; }
.hint { color: var(--dim); font-size: .82rem; margin: .5rem 0 0; }
.stage { display: grid; gap: 1.2rem; min-width: 0; }
.stage > section, .pair > section { background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 1rem 1.15rem; min-width: 0; }
.stage > .now { border-left: 5px solid var(--accent); min-height: 8.4rem; }
.stage > .now.bad { border-left-color: var(--bad); }
.now .step { margin: 0 0 .35rem; color: var(--dim); font-size: .86rem; overflow-wrap: anywhere; }
.now #number { display: inline-block; background: var(--accent); color: var(--paper); font-weight: 650; border-radius: 99px; padding: 0 .65em; margin-right: .3em; }
.now #sentence { font-size: 1.22rem; line-height: 1.45; margin: 0; text-wrap: pretty; }
.now ul { margin: .6rem 0 0; padding-left: 1.1rem; color: var(--dim); font-size: .93rem; }
.now li { margin: .15rem 0; }
.violation { margin-top: .7rem; background: var(--bad-pale); color: var(--bad); border: 1px solid var(--bad); border-radius: 8px; padding: .5rem .75rem; font-size: .95rem; }
.legend { display: flex; flex-wrap: wrap; gap: .25rem 1.1rem; font-size: .85rem; color: var(--dim); margin-bottom: .7rem; }
.legend i, .pages i { display: inline-block; width: .85em; height: .85em; border-radius: 3px; border: 1px solid; margin-right: .4em; vertical-align: -.06em; }
#memory svg { display: block; width: 100%; height: auto; }
#memory .changed { stroke: var(--accent); stroke-width: 2; }
.own-host { fill: var(--host-pale); background: var(--host-pale); border-color: var(--host) !important; }
.own-hyp { fill: var(--hyp-pale); background: var(--hyp-pale); border-color: var(--hyp) !important; }
.own-guest { fill: var(--guest-pale); background: var(--guest-pale); border-color: var(--guest) !important; }
.own-shared { fill: var(--shared-pale); background: var(--shared-pale); border-color: var(--shared) !important; }
.own-none { fill: none; background: none; border-color: var(--line) !important; }
.sw-mapped { background: var(--ink); border-color: var(--ink) !important; }
.sw-cached { background: var(--bad-pale); border-color: var(--bad) !important; }
.sw-changed { background: none; border-color: var(--accent) !important; border-width: 2px !important; }
rect.own-guest { stroke: var(--guest); }
rect.own-shared { stroke: var(--shared); }
.cell-cached { fill: var(--bad-pale); stroke: var(--bad); }
.dot { fill: var(--ink); }
.address { font: 11px var(--mono); fill: var(--dim); }
.pages { list-style: none; display: flex; flex-wrap: wrap; gap: .35rem 1rem; margin: .7rem 0 0; padding: 0; font-size: .85rem; }
.pages small { color: var(--dim); font-family: var(--mono); }
.pair { display: grid; grid-template-columns: 1fr 1fr; gap: 1.2rem; }
.queue, .held { list-style: none; margin: 0; padding: 0; font-size: .85rem; }
.queue li { font-family: var(--mono); font-size: .8rem; padding: .16rem .5rem; border-radius: 5px; color: var(--dim); overflow-wrap: anywhere; }
.queue .new { background: var(--accent-pale); color: var(--ink); margin-bottom: 2px; }
.held li { border: 1px solid var(--warn); background: var(--warn-pale); border-radius: 8px; padding: .45rem .65rem; margin-bottom: .45rem; }
.held small { display: block; color: var(--warn); font-family: var(--mono); overflow-wrap: anywhere; }
.empty { color: var(--dim); margin: 0; font-size: .9rem; }
.held .passed { border-color: var(--line); background: none; color: var(--dim); }
.held .passed small { color: var(--ok); }
.held .empty { border: 0; background: none; padding: 0; color: var(--ok); }
#walk { overflow-x: auto; border-radius: 8px; }
#walk svg { display: block; max-width: 100%; min-width: 680px; height: auto; margin: 0 auto; }
#walk .paper { fill: transparent; }
@media (max-width: 900px) {
  body { padding: 0 .9rem 2rem; }
  main { grid-template-columns: minmax(0, 1fr); }
  .log { position: static; max-height: 15rem; order: 2; }
  .pair { grid-template-columns: minmax(0, 1fr); }
  h1 { font-size: 1.3rem; }
  header { padding-top: 1rem; }
}
@media (max-width: 480px) {
  .controls output { min-width: 3.6em; }
  .controls output .word { display: none; }
  .controls #first, .controls #last { display: none; }
  .now #sentence { font-size: 1.08rem; }
}
@media (prefers-reduced-motion: no-preference) { #memory rect, .log button { transition: fill .15s, background .15s; } }
@media print { .controls, .log .hint { display: none; } .log { position: static; max-height: none; } }`;
