// runs_parts.js - of the script of `galerne runs serve`: pictures to keep, the list of runs, events, facts and samples,
// controls; its last lines begin the page. It follows runs_curves.js. SPDX-License-Identifier: Apache-2.0

// ---- pictures and tables to keep

function save(name, blob) {
  const a = make('a', { href: URL.createObjectURL(blob), download: name });
  document.body.append(a);
  a.click();
  a.remove();
  setTimeout(() => URL.revokeObjectURL(a.href), 10000);
}

// The card with title and names, as large as w and h say.
function picture(pen, card, w, h) {
  pen.box(0, 0, w, h, css('--card'));
  pen.text(card.title + (card.unit ? ` (${card.unit})` : ''), 14, 18, css('--text'), 'left', 14, true);
  let x = 14, y = 38;
  for (const l of card.lines.slice(0, 24)) {
    const wide = 26 + pen.width(l.name) + 16;
    if (x > 14 && x + wide > w) { x = 14; y += 16; }
    pen.line([x, x + 20], [y, y], l.colour, 2, DASHES[l.dash]);
    pen.text(l.name, x + 26, y, css('--soft'));
    x += wide;
  }
  const f = frame(card, card.lines, w, h - 18, y + 16);
  if (!f) return;
  drawAxes(pen, f);
  drawCurves(pen, f, card.lines);
  pen.text(AXES[state.axis], (f.left + f.right) / 2, h - 12, css('--soft'), 'center');
}

function keep(card, kind) {
  const w = 900, h = 540, name = card.key.replace(/[^\w.-]+/g, '-');
  if (kind === 'svg') {
    const pen = svgPen(w, h);
    picture(pen, card, w, h);
    save(name + '.svg', new Blob([pen.done()], { type: 'image/svg+xml' }));
  } else if (kind === 'png') {
    const canvas = document.createElement('canvas');
    picture(canvasPen(canvas, w, h, 2), card, w, h);
    canvas.toBlob(b => b && save(name + '.png', b), 'image/png');
  } else {
    const rows = [['run', 'labels', 'first_step', 'last_step', 'rows', state.axis, 'mean', 'least', 'largest', 'smoothed']];
    for (const l of card.lines) l.x.forEach((x, i) => {
      if (state.zoom && (x < state.zoom[0] || x > state.zoom[1])) return;
      rows.push([l.run, l.label, l.step[i][0], l.step[i][1], l.rows[i], x, l.mean[i], l.low[i], l.high[i], l.smooth[i]]);
    });
    save(name + '.csv', new Blob([csv(rows)], { type: 'text/csv' }));
  }
}

// ---- the page's parts

const sight = new IntersectionObserver(list => {
  for (const e of list) {
    const card = cards.get(e.target.dataset.key);
    if (!card) continue;
    card.seen = e.isIntersecting;
    if (card.seen) paint(card);
  }
}, { rootMargin: '200px' });
const sizes = new ResizeObserver(list => { for (const e of list) { const c = cards.get(e.target.dataset.key); if (c) paint(c); } });

function newCard(key, table, column) {
  const [title, unit] = TITLES[key] || [`${table}: ${column}`.replace(/_/g, ' '), ''];
  const card = { key, table, column, title, unit, seen: false, lines: [], frame: null, drag: null };
  card.canvas = make('canvas'); card.over = make('canvas'); card.tip = make('div', { class: 'tip', hidden: true });
  card.plot = make('div', { class: 'plot', tabindex: '0', role: 'img', 'data-key': key }, card.canvas, card.over, card.tip);
  card.legend = make('div', { class: 'legend' });
  card.log = make('button', { title: 'logarithmic y axis', 'aria-label': `${title}: logarithmic y axis`, onclick: () => {
    if (!state.logy.delete(key)) state.logy.add(key);
    settle();
  } }, 'log');
  const buttons = ['png', 'svg', 'csv'].map(kind => make('button', { title: `save as ${kind.toUpperCase()}`,
    'aria-label': `${title}: save as ${kind.toUpperCase()}`, onclick: () => keep(card, kind) }, kind));
  card.box = make('section', { class: 'card', 'aria-label': title },
    make('div', { class: 'head' }, make('h3', {}, title, ' ', make('small', {}, unit)), card.log, ...buttons), card.plot, card.legend);
  listen(card);
  sight.observe(card.plot);
  sizes.observe(card.plot);
  return card;
}

function notices(list) {
  const out = [];
  if (!list.runs.length) out.push(`No runs in ${list.places.join(', ')} yet. A training that begins there appears here by itself.`);
  else if (!chosen().length) out.push(state.chosen ? 'Choose a run to see its curves.' : 'No run has made a step yet.');
  for (const r of chosen()) {
    if (r.message) out.push(`${nameOf(r.run)}: ${r.message}`);
    else if (r.step === undefined) out.push(`${nameOf(r.run)}: no step yet.`);
  }
  return out.map(s => make('p', { class: 'notice card' }, s));
}

function showCards(list = lastList) {
  lastList = list;
  if (!list) return;
  const wanted = new Map();
  for (const run of chosen()) for (const t of run.tables || []) if (t.last !== undefined && !t.events)
    for (const c of t.columns) {
      const key = t.table + '.' + c;
      if (!HIDDEN.test(key)) wanted.set(key, [t.table, c]);
    }
  const rank = key => (ORDER.includes(key) ? ORDER.indexOf(key) : 99);
  const keys = [...wanted.keys()].sort((a, b) => rank(a) - rank(b) || a.localeCompare(b));
  for (const [key, card] of cards) if (!wanted.has(key)) { sight.unobserve(card.plot); sizes.unobserve(card.plot); cards.delete(key); }
  for (const key of keys) if (!cards.has(key)) cards.set(key, newCard(key, ...wanted.get(key)));
  const boxes = keys.map(k => cards.get(k).box), now = [...$('charts').querySelectorAll('section')];
  for (const e of $('charts').querySelectorAll('.notice')) e.remove();
  if (boxes.length !== now.length || boxes.some((b, i) => b !== now[i])) $('charts').replaceChildren(...boxes);
  $('charts').prepend(...notices(list));
  for (const card of cards.values()) card.log.setAttribute('aria-pressed', state.logy.has(card.key));
  draw();
}

function showRuns(list) {
  const needle = $('filter').value.toLowerCase(), on = new Set(chosen().map(r => r.run)), focus = document.activeElement;
  $('filter').hidden = list.runs.length < 9;
  const held = focus && focus.dataset ? focus.dataset.run : null;
  $('runs').replaceChildren(...list.runs.filter(r => r.run.toLowerCase().includes(needle)).map(r => {
    const box = make('input', { type: 'checkbox', 'data-run': r.run, onchange: e => {
      if (!state.chosen) state.chosen = new Set(chosen().map(x => x.run));
      if (e.target.checked) state.chosen.add(r.run); else state.chosen.delete(r.run);
      settle();
      poll();
    } });
    box.checked = on.has(r.run);
    const f = r.facts || {}, key = make('i', { class: 'key' });
    if (on.has(r.run)) key.style.borderTop = `3px ${BORDERS[dash(r.run)]} ${colour(r.run)}`;
    const lines = [make('b', {}, nameOf(r.run)), ' ', ...(on.has(r.run) ? [key] : [])];
    if (r.message) lines.push(make('small', { class: 'bad' }, r.message));
    else {
      const done = r.step === undefined ? 'no step yet' : `step ${r.step.toLocaleString('en')}` +
        (f.steps ? '/' + Number(f.steps).toLocaleString('en') : '');
      lines.push(make('small', { class: r.state === 'broken' ? 'bad' : '' }, `${r.state || 'unborn'}, ${done}`));
      if (finite(r.loss_nats)) lines.push(make('small', {}, `loss ${number(r.loss_nats)}` +
        (r.best ? `, best ${number(r.best.nats_per_token)}` : '')));
    }
    const label = make('label', { class: 'run', title: r.run }, box, make('div', {}, ...lines));
    return label;
  }));
  if (held) for (const e of $('runs').querySelectorAll('input')) if (e.dataset.run === held) e.focus();
}

// ---- facts, settings, samples

async function details_of(run) {
  const have = details.get(run.run), at = run.best ? run.best.step + '/' + (run.tables || []).map(t => t.last) : '';
  const evals = ((run.tables || []).find(t => t.table === 'evaluations') || {}).last;
  if (have && have.evals === evals) return have;
  const d = await ask('/api/run', { run: run.run });
  d.evals = evals; d.at = at;
  if (d.samples.length) {
    const step = Math.max(...d.samples);
    d.sample = await ask('/api/sample', { run: run.run, step }).catch(() => null);
  }
  details.set(run.run, d);
  return d;
}

function when(s) { return s ? new Date(Number(s) * 1000).toLocaleString() : ''; }

async function showFacts() {
  const list = chosen(), got = await Promise.all(list.map(r => details_of(r).catch(() => null)));
  const marked = getSelection(); // somebody is about to copy a number
  if (marked && !marked.isCollapsed && ($('facts').contains(marked.anchorNode) || $('samples').contains(marked.anchorNode))) return;
  $('facts').hidden = !list.length;
  if (!list.length) { $('samples').hidden = true; return; }
  const whole = x => x === undefined ? '' : Number(x).toLocaleString('en'), seen = new Set(['state', 'steps', 'parameters',
    'trained_parameters', 'started_unix_time_s', 'resumed_unix_time_s', 'cpu', 'version']);
  const t = (r, c) => { const s = ((known.get(r.run) || new Map()).get('steps') || {}); return s[c]; };
  const rows = [
    ['state', r => r.message || r.state || 'unborn'],
    ['step', r => r.step === undefined ? '' : whole(r.step) + (r.facts.steps ? ' of ' + whole(r.facts.steps) : '')],
    ['tokens', r => whole(r.tokens)],
    ['time of computing', r => finite(t(r, 'seconds')) ? duration(t(r, 'seconds')) : ''],
    ['loss, nats/token', r => finite(r.loss_nats) ? number(r.loss_nats, 5) : ''],
    ['best validation', r => r.best ? `${number(r.best.nats_per_token, 5)} nats/token, ${number(r.best.bits_per_byte, 5)} bits/byte, step ${whole(r.best.step)}` : ''],
    ['speed, tokens/s', r => finite(r.tokens_per_s) ? whole(Math.round(r.tokens_per_s)) : ''],
    ['parameters', r => r.facts ? whole(r.facts.parameters) : ''],
    ['of these trained', r => r.facts && r.facts.trained_parameters !== r.facts.parameters ? whole(r.facts.trained_parameters) : ''],
    ['begun', r => r.facts ? when(r.facts.started_unix_time_s) : ''],
    ['resumed', r => r.facts ? when(r.facts.resumed_unix_time_s) : ''],
    ['kernels', r => r.facts ? r.facts.cpu || '' : ''],
    ['version', r => r.facts ? r.facts.version || '' : ''],
  ];
  const others = new Set(list.flatMap(r => Object.keys(r.facts || {})).filter(k => !seen.has(k)));
  for (const k of [...others].sort()) rows.push([k.replace(/_/g, ' '), r => (r.facts || {})[k] || '']);
  const table = make('table'), line = (name, cells) => table.append(make('tr', {}, make('th', { scope: 'row' }, name),
    ...cells.map(c => make('td', {}, c))));
  table.append(make('tr', {}, make('th', { scope: 'col' }, 'run'), ...list.map(r => {
    const key = make('i', { class: 'key' });
    key.style.borderTop = `3px ${BORDERS[dash(r.run)]} ${colour(r.run)}`;
    return make('th', { scope: 'col' }, key, nameOf(r.run));
  })));
  for (const [name, of] of rows) {
    const cells = list.map(of);
    if (cells.some(Boolean)) line(name, cells);
  }
  const maps = got.map(d => new Map(d ? d.settings : []));
  const keys = [...new Set(maps.flatMap(m => [...m.keys()]))];
  const told = maps.filter(m => m.size); // a run without its configuration differs in nothing
  const differ = keys.filter(k => new Set(told.map(m => m.get(k))).size > 1);
  if (told.length > 1) {
    table.append(make('tr', { class: 'part' }, make('th', {}, differ.length ? 'settings that differ' : 'all settings are the same')));
    for (const k of differ) line(k, maps.map(m => m.get(k) || '\u2013'));
  }
  const open = $('facts').querySelector('details'), all = make('details', open && open.open ? { open: true } : {},
    make('summary', {}, 'all settings'));
  const every = make('table');
  for (const k of keys) every.append(make('tr', {}, make('th', { scope: 'row' }, k), ...maps.map(m => make('td', {}, m.get(k) || '\u2013'))));
  all.append(every);
  const troubles = got.map((d, i) => d && d.message ? make('p', { class: 'bad' }, nameOf(list[i].run) + ': ' + d.message) : '');
  $('facts').replaceChildren(make('h2', {}, 'Facts'), ...troubles, table, ...(keys.length ? [all] : []));
  const samples = got.map((d, i) => [list[i], d && d.sample]).filter(x => x[1] && x[1].text.trim());
  $('samples').hidden = !samples.length;
  $('samples').replaceChildren(make('h2', {}, 'Newest samples'), ...samples.flatMap(([r, s]) =>
    [make('h3', {}, nameOf(r.run), ' ', make('small', {}, 'step ' + whole(s.step))), make('pre', {}, s.text.trim())]));
}

// ---- controls

// After any choice: the address, the controls and everything that is drawn.
function settle() {
  remember();
  $('axis').value = state.axis;
  $('logx').checked = state.logx;
  const keys = [...cards.keys()];
  $('logy').checked = keys.length > 0 && keys.every(k => state.logy.has(k));
  $('logy').indeterminate = !$('logy').checked && keys.some(k => state.logy.has(k));
  $('smooth').value = state.smooth;
  $('smoothed').textContent = state.smooth ? `over ${span()} steps` : 'not at all';
  $('raw').checked = state.raw;
  if (lastList) { showRuns(lastList); showCards(); showEvents(); showFacts(); }
}

$('axis').addEventListener('change', e => { state.axis = e.target.value; state.zoom = null; zoomTo(null); settle(); });
$('logx').addEventListener('change', e => { state.logx = e.target.checked; settle(); refineHeads().catch(() => {}); });
$('logy').addEventListener('change', e => {
  state.logy = new Set(e.target.checked ? [...cards.keys()] : []);
  settle();
});
$('smooth').addEventListener('input', e => { state.smooth = Number(e.target.value); settle(); });
$('raw').addEventListener('change', e => { state.raw = e.target.checked; settle(); });
$('reset').addEventListener('click', () => zoomTo(null));
$('filter').addEventListener('input', () => lastList && showRuns(lastList));
dark.addEventListener('change', () => settle());
document.addEventListener('visibilitychange', poll);
addEventListener('hashchange', () => { recall(); settle(); poll(); });
document.addEventListener('keydown', e => { if (e.key === 'Escape' && state.zoom) zoomTo(null); });
recall();
settle();
poll();
setInterval(() => busy || poll(), 2000);
