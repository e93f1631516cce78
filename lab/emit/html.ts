/**
 * A scenario as one page that needs nothing else: it steps through it forward and back, by buttons, by a slider, by the
 * list of steps, and by keys. Everything that it shows was computed when it was written; its script only chooses.
 */
import { defaultTheme, OWNER_NAMES, styleSheet } from '../views/index.ts';
import type { Film } from './film.ts';
import { PAGE_SCRIPT } from './html-script.ts';
import { pageStyle } from './html-style.ts';

/** The page as text. */
export function filmPage(film: Film): string {
  const { title, machine, hypervisor, profile } = film;
  const data = JSON.stringify({ ...film, ownerNames: OWNER_NAMES }).replaceAll('<', '\\u003c');
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,">
<title>${escaped(title)}</title>
<style>
${pageStyle(defaultTheme)}
${styleSheet(defaultTheme)}
</style>
</head>
<body>
<a class="skip" href="#now">Skip to the step</a>
<header>
  <h1>${escaped(title)}</h1>
  <p class="facts"><span>machine <b>${escaped(machine)}</b></span><span>profile <b>${escaped(profile)}</b></span><span>hypervisor <b>${escaped(hypervisor)}</b></span><span id="verdict"></span></p>
</header>
<nav aria-label="Steps of the scenario" class="controls">
  <button type="button" id="first" aria-label="First step" title="First step (Home)">${icon('M5 4v12M16 4 8 10l8 6z')}</button>
  <button type="button" id="back" aria-label="One step back" title="One step back (←)">${icon('M14 4 6 10l8 6z')}</button>
  <input type="range" id="slider" min="0" value="0" aria-label="Step">
  <button type="button" id="forward" aria-label="One step forward" title="One step forward (→)">${icon('M6 4l8 6-8 6z')}</button>
  <button type="button" id="last" aria-label="Last step" title="Last step (End)">${icon('M15 4v12M4 4l8 6-8 6z')}</button>
  <output id="count" for="slider"></output>
</nav>
<main>
  <section class="log" aria-labelledby="log-title">
    <h2 id="log-title">The calls</h2>
    <ol id="log"></ol>
    <p class="hint">← → one step, Home and End to the ends.</p>
  </section>
  <div class="stage">
    <section class="now" id="now" aria-live="polite" aria-atomic="true" tabindex="-1">
      <p class="step"><span id="number"></span> <code id="text"></code></p>
      <p id="sentence"></p>
      <ul id="details"></ul>
      <div id="violations"></div>
    </section>
    <section aria-labelledby="memory-title">
      <h2 id="memory-title">Whom memory belongs to</h2>
      <div id="legend" class="legend"></div>
      <div id="memory"></div>
      <ul id="pages" class="pages" aria-label="Pages by name"></ul>
    </section>
    <div class="pair">
      <section aria-labelledby="queue-title">
        <h2 id="queue-title">Command queue</h2>
        <ol id="queue" class="queue"></ol>
      </section>
      <section aria-labelledby="held-title">
        <h2 id="held-title">What caches may still hold</h2>
        <ul id="held" class="held"></ul>
      </section>
    </div>
    <section aria-labelledby="walk-title" id="walk-section">
      <h2 id="walk-title">The walk</h2>
      <p class="hint" id="access"></p>
      <div id="walk" tabindex="0" role="region" aria-label="Drawing of the walk"></div>
    </section>
  </div>
</main>
<noscript><p>This page needs its script to step through the scenario.</p></noscript>
<script type="application/json" id="film">${data}</script>
<script>
${PAGE_SCRIPT}
</script>
</body>
</html>
`;
}

function icon(path: string): string {
  return `<svg viewBox="0 0 20 20" width="18" height="18" aria-hidden="true"><path d="${path}" fill="currentColor" stroke="currentColor" stroke-width="1.6" stroke-linejoin="round"/></svg>`;
}

function escaped(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;');
}
