/** The script of the page that steps through a scenario. It runs in the reader's browser, as it stands here. */
export const PAGE_SCRIPT = `'use strict';
(() => {
  const film = JSON.parse(document.getElementById('film').textContent);
  const { frames, walks, ram, ownerNames } = film;
  const $ = (id) => document.getElementById(id);
  const PAGE = 4096;
  const last = frames.length - 1;
  const hex = (n) => '0x' + n.toString(16);
  const el = (name, attributes, ...children) => {
    const node = document.createElement(name);
    for (const [key, value] of Object.entries(attributes || {})) node.setAttribute(key, value);
    node.append(...children);
    return node;
  };
  let now = 0;

  const broken = frames.reduce((sum, frame) => sum + frame.violations.length, 0);
  $('verdict').textContent = broken === 0 ? 'nothing is violated' : broken + (broken === 1 ? ' violation' : ' violations');
  $('verdict').className = broken === 0 ? 'good' : 'broken';
  $('slider').max = String(last);
  $('access').textContent = film.access === null ? '' : 'What would happen now if: ' + film.access + '.';
  if (walks.length === 0) $('walk-section').hidden = true;

  const items = frames.map((frame, i) => {
    const refused = /^-|^invalid|abort|fault|waits/.test(frame.result);
    const button = el('button', { type: 'button' },
      el('span', { class: 'index' }, String(i)),
      el('code', {}, i === 0 ? 'boot' : frame.text),
      el('span', { class: 'result' + (refused ? ' refused' : '') }, i === 0 ? '' : '→ ' + frame.result + (frame.violations.length > 0 ? '  violation' : '')));
    button.addEventListener('click', () => show(i));
    $('log').append(el('li', {}, button));
    return button;
  });

  const swatch = (kind, text) => el('span', {}, el('i', { class: kind }), text);
  const count = (n) => n.toLocaleString('en-US');

  function cells(frame) {
    const list = [];
    for (const run of frame.memory) for (let i = 0; i < run.pages; i++) list.push({ pa: run.pa + i * PAGE, owner: run.owner, mapped: run.mapped, cached: run.cached });
    return list;
  }
  const total = ram.reduce((sum, range) => sum + range.size / PAGE, 0);

  function svg(width, height, text) {
    return '<svg viewBox="0 0 ' + width + ' ' + height + '" role="img" aria-label="' + text + '">';
  }

  function drawMemory(frame, before) {
    const counts = { host: 0, hyp: 0, guest: 0, shared: 0 };
    let mapped = 0;
    let cached = 0;
    for (const run of frame.memory) {
      counts[run.owner] += run.pages;
      if (run.mapped) mapped += run.pages;
      if (run.cached) cached += run.pages;
    }
    const legend = Object.keys(counts).filter((owner) => counts[owner] > 0).map((owner) => swatch('own-' + owner, ownerNames[owner] + ': ' + count(counts[owner])));
    legend.push(swatch('sw-mapped', 'mapped for DMA: ' + count(mapped)));
    if (cached > 0) legend.push(swatch('sw-cached', 'an old entry may lead there: ' + count(cached)));
    legend.push(swatch('sw-changed', 'changed in this step'));
    $('legend').replaceChildren(...legend);
    const label = Object.keys(counts).filter((owner) => counts[owner] > 0).map((owner) => count(counts[owner]) + ' pages are ' + ownerNames[owner]).join(', ') + '; ' + count(mapped) + ' mapped for DMA';
    $('memory').innerHTML = total <= 4096 ? grid(frame, before, label) : strips(frame, label);
  }

  function nameOf(frame, pa) {
    const page = frame.pages.find((each) => pa >= each.pa && pa < each.pa + each.pages * PAGE);
    return page === undefined ? '' : ', page ' + page.name;
  }

  function grid(frame, before, label) {
    const list = cells(frame);
    const old = before === null ? list : cells(before);
    const narrow = matchMedia('(max-width: 640px)').matches;
    const columns = narrow ? 32 : 64;
    const size = 14;
    const left = narrow ? 76 : 84;
    const rows = Math.ceil(list.length / columns);
    let text = svg(left + columns * size, rows * size + 2, label);
    for (let row = 0; row < rows; row += 2) text += '<text class="address" x="0" y="' + (row * size + 11) + '">' + hex(list[row * columns].pa) + '</text>';
    const rings = [];
    list.forEach((cell, i) => {
      const x = left + (i % columns) * size + 1;
      const y = Math.floor(i / columns) * size + 1;
      const was = old[i];
      const changed = cell.owner !== was.owner || cell.mapped !== was.mapped || cell.cached !== was.cached;
      const title = hex(cell.pa) + nameOf(frame, cell.pa) + ': ' + ownerNames[cell.owner] + (cell.mapped ? ', mapped for DMA' : '') + (cell.cached ? ', an old entry may still lead there' : '');
      text += '<rect class="' + (cell.cached ? 'cell-cached' : 'own-' + cell.owner) + '" x="' + x + '" y="' + y + '" width="12" height="12" rx="2"><title>' + title + '</title></rect>';
      if (cell.mapped) text += '<rect class="dot" x="' + (x + 3.5) + '" y="' + (y + 3.5) + '" width="5" height="5" rx="1"/>';
      if (changed) rings.push('<rect class="changed" fill="none" x="' + (x - 1) + '" y="' + (y - 1) + '" width="14" height="14" rx="3"/>');
    });
    return text + rings.join('') + '</svg>';
  }

  function strips(frame, label) {
    let text = svg(980, ram.length * 56, label);
    ram.forEach((range, i) => {
      const y = i * 56;
      const scale = 980 / range.size;
      text += '<text class="address" x="0" y="' + (y + 12) + '">' + hex(range.base) + ' – ' + hex(range.base + range.size - 1) + '</text>';
      for (const run of frame.memory) {
        if (run.pa < range.base || run.pa >= range.base + range.size) continue;
        const x = (run.pa - range.base) * scale;
        const width = Math.max(1, run.pages * PAGE * scale);
        text += '<rect class="' + (run.cached ? 'cell-cached' : 'own-' + run.owner) + '" x="' + x + '" y="' + (y + 18) + '" width="' + width + '" height="26"/>';
        if (run.mapped) text += '<rect class="dot" x="' + x + '" y="' + (y + 36) + '" width="' + width + '" height="8"/>';
      }
    });
    return text + '</svg>';
  }

  function drawQueue(frame) {
    const earlier = frames.slice(0, frame.number).flatMap((each) => each.commands);
    const shown = earlier.slice(-Math.max(2, 10 - frame.commands.length));
    const several = new Set(frames.flatMap((each) => each.commands.map(({ smmu }) => smmu))).size > 1;
    const line = (command, isNew) => el('li', isNew ? { class: 'new' } : {}, (several ? command.smmu + ': ' : '') + command.text);
    const list = [...shown.map((command) => line(command, false)), ...frame.commands.map((command) => line(command, true))];
    if (list.length === 0) list.push(el('li', { class: 'empty' }, 'No command was queued so far.'));
    $('queue').replaceChildren(...list);
  }

  function drawHeld(frame) {
    const list = frame.held.map(({ text, pending, missing }) => el('li', {}, text, el('small', {}, (pending ? 'invalidated, missing: ' : 'missing: ') + missing.join(', then '))));
    for (const text of frame.passed) list.push(el('li', { class: 'passed' }, text, el('small', {}, 'held during this step, gone with its CMD_SYNC')));
    if (frame.held.length === 0) list.unshift(el('li', { class: 'empty' }, 'Nothing but what memory says now.'));
    $('held').replaceChildren(...list);
  }

  function show(n) {
    now = Math.max(0, Math.min(last, n));
    const frame = frames[now];
    $('number').textContent = now === 0 ? 'Boot' : 'Step ' + now;
    $('text').textContent = now === 0 ? '' : frame.text + ' → ' + frame.result;
    $('sentence').textContent = frame.sentence;
    $('details').replaceChildren(...frame.details.map((detail) => el('li', {}, detail)));
    $('violations').replaceChildren(...frame.violations.map(({ property, text }) => el('p', { class: 'violation' }, el('b', {}, 'Violation of ' + property + ': '), text)));
    $('now').classList.toggle('bad', frame.violations.length > 0);
    drawMemory(frame, now === 0 ? null : frames[now - 1]);
    $('pages').replaceChildren(...frame.pages.map((page) => el('li', {}, el('i', { class: 'own-' + page.owner }), 'page ' + page.name + (page.pages > 1 ? '[' + page.pages + ']' : '') + ' ', el('small', {}, hex(page.pa)), ' ' + (ownerNames[page.owner] || ''))));
    drawQueue(frame);
    drawHeld(frame);
    $('walk').innerHTML = frame.walk === null ? '<p class="empty">Not known yet: the page has no address before this step.</p>' : walks[frame.walk];
    items.forEach((item, i) => {
      item.classList.toggle('future', i > now);
      item.classList.toggle('bad', frames[i].violations.length > 0);
      if (i === now) item.setAttribute('aria-current', 'step');
      else item.removeAttribute('aria-current');
    });
    const box = $('log');
    const item = items[now].parentElement;
    if (item.offsetTop - box.offsetTop < box.scrollTop || item.offsetTop - box.offsetTop + item.offsetHeight > box.scrollTop + box.clientHeight) box.scrollTop = item.offsetTop - box.offsetTop - box.clientHeight / 3;
    $('slider').value = String(now);
    $('slider').setAttribute('aria-valuetext', now === 0 ? 'boot' : 'step ' + now + ': ' + frame.text);
    $('count').replaceChildren(el('span', { class: 'word' }, 'step '), now + ' of ' + last);
    for (const id of ['first', 'back']) $(id).disabled = now === 0;
    for (const id of ['last', 'forward']) $(id).disabled = now === last;
    if (location.hash !== '#' + now) history.replaceState(null, '', '#' + now);
  }

  $('first').addEventListener('click', () => show(0));
  $('back').addEventListener('click', () => show(now - 1));
  $('forward').addEventListener('click', () => show(now + 1));
  $('last').addEventListener('click', () => show(last));
  $('slider').addEventListener('input', (event) => show(Number(event.target.value)));
  addEventListener('keydown', (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey || event.target === $('slider')) return;
    const to = { ArrowRight: now + 1, ArrowLeft: now - 1, Home: 0, End: last }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    show(to);
  });
  matchMedia('(max-width: 640px)').addEventListener('change', () => show(now));
  addEventListener('hashchange', () => show(Number(location.hash.slice(1)) || 0));
  show(Number(location.hash.slice(1)) || 0);
})();`;
