// runs_curves.js - of the script of `galerne runs serve`: what is chosen, asking the server, curves and how they are
// drawn. It follows runs_numbers.js. SPDX-License-Identifier: Apache-2.0

const TITLES = { // in this order; what is not here follows by its own name
  'steps.loss_nats': ['Training loss', 'nats/token'],
  'evaluations.nats_per_token': ['Validation loss', 'nats/token'],
  'evaluations.bits_per_byte': ['Validation', 'bits/byte'],
  'steps.grad_norm': ['Gradient norm', ''],
  'steps.lr': ['Learning rate', ''],
  'steps.tokens_per_s': ['Speed', 'tokens/s'],
  'routers.balance': ['Routers: balance', 'loss'],
  'routers.z': ['Routers: z', 'loss'],
};
const ORDER = Object.keys(TITLES);
const HIDDEN = /(^|\.)(tokens|bytes|unix_time_s)$/; // axes, and sizes that stay the same
const AS_IT_IS = new Set(['steps.lr', 'evaluations.nats_per_token', 'evaluations.bits_per_byte']); // not smoothed
// Okabe and Ito's colours, told apart with any kind of colour vision, lighter ones on dark ground.
const LIGHT = ['#0072b2', '#d55e00', '#009e73', '#b85c93', '#b07a00', '#3a9bd9', '#5b6470'];
const DARK = ['#4aa8e8', '#ff8c42', '#2fc79b', '#e59ac4', '#f2b134', '#9ad4f7', '#b9c0c9'];
const DASHES = [[], [7, 4], [2, 3]], BORDERS = ['solid', 'dashed', 'dotted'];
const AXES = { step: 'step', tokens: 'tokens', seconds: 'time of computing' };
const $ = id => document.getElementById(id);
const dark = matchMedia('(prefers-color-scheme: dark)');
const css = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

const state = { axis: 'step', logx: false, logy: new Set(), smooth: 0, raw: true, chosen: null, zoom: null };
let runs = [], lastList = null, cards = new Map(), cursor = null;
const known = new Map();  // run -> Map(table -> what append() makes)
const detail = new Map(); // run + table -> the same of the range that is looked at
const heads = new Map();  // run + table -> the same of the beginning, for a logarithmic axis, finest first
const places = new Map(); // run -> its number, from which follow colour and dash
const details = new Map(); // run -> { settings, samples, message, at }

function make(tag, attributes = {}, ...children) {
  const e = document.createElement(tag);
  for (const [k, v] of Object.entries(attributes)) {
    if (k === 'class') e.className = v; else if (k.startsWith('on')) e.addEventListener(k.slice(2), v);
    else if (v === true) e.setAttribute(k, ''); else if (v !== false && v !== null) e.setAttribute(k, v);
  }
  e.append(...children);
  return e;
}

async function ask(path, query = {}) {
  const answer = await fetch(path + '?' + new URLSearchParams(query), { cache: 'no-store' });
  const body = await answer.json();
  if (!answer.ok) throw Object.assign(new Error(body.error || answer.statusText), { told: true });
  return body;
}

// ---- what is chosen, kept in the address

function remember() {
  const q = new URLSearchParams();
  if (state.axis !== 'step') q.set('axis', state.axis);
  if (state.logx) q.set('logx', '1');
  if (state.logy.size) q.set('logy', [...state.logy].join(' '));
  if (state.smooth) q.set('smooth', state.smooth);
  if (!state.raw) q.set('raw', '0');
  if (state.chosen) for (const r of state.chosen) q.append('run', r);
  if (state.chosen && !state.chosen.size) q.set('none', '1');
  history.replaceState(null, '', '#' + q);
}

function recall() {
  const q = new URLSearchParams(location.hash.slice(1));
  state.axis = q.get('axis') in AXES ? q.get('axis') : 'step';
  state.logx = q.get('logx') === '1';
  state.logy = new Set((q.get('logy') || '').split(' ').filter(Boolean));
  state.smooth = Math.min(60, Math.max(0, parseInt(q.get('smooth') || '0', 10) || 0));
  state.raw = q.get('raw') !== '0';
  state.chosen = q.has('run') || q.has('none') ? new Set(q.getAll('run')) : null;
}

const span = () => state.smooth ? Math.round(10 ** (state.smooth / 20)) : 1; // rows

// Unless somebody chose: the newest ones that have something to show.
function chosen() {
  if (state.chosen) return runs.filter(r => state.chosen.has(r.run));
  const age = r => -Number((r.facts || {}).started_unix_time_s || 0);
  const some = runs.filter(r => r.step !== undefined).sort((a, b) => age(a) - age(b)).slice(0, 5);
  return runs.filter(r => some.includes(r));
}

function place(run) {
  if (!places.has(run)) places.set(run, places.size);
  return places.get(run);
}
const palette = () => dark.matches ? DARK : LIGHT;
const colour = run => palette()[place(run) % LIGHT.length];
const dash = run => Math.floor(place(run) / LIGHT.length) % DASHES.length;

function nameOf(run) {
  const last = s => s.replace(/\/+$/, '').split('/').pop();
  return runs.filter(r => last(r.run) === last(run)).length > 1 ? run : last(run);
}

// Of labels in their order, from dark to light; the ends that the ground would swallow are left out.
function shade(i, n) {
  const stops = [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]];
  const t = (dark.matches ? 0.25 : 0) + (dark.matches ? 0.75 : 0.8) * (n > 1 ? i / (n - 1) : 0.4), at = t * 4;
  const k = Math.min(3, Math.floor(at)), c = stops[k].map((x, j) => Math.round(x + (stops[k + 1][j] - x) * (at - k)));
  return `rgb(${c.join(',')})`;
}

// ---- asking

async function refresh(run, table) {
  const tables = known.get(run.run) || new Map();
  known.set(run.run, tables);
  let t = tables.get(table.table);
  // Taken up again from an earlier step, perhaps because something happened: what was known of later ones is void.
  const stamp = [(run.facts || {}).resumed_unix_time_s || '', ...run.tables.filter(x => x.events).map(x => x.last)].join(' ');
  if (t && (t.stamp !== stamp || table.last < t.last)) t = null;
  if (t && table.last === t.last) return false;
  const fresh = t || Object.assign(newTable(), { stamp });
  const answer = await ask('/api/series', { run: run.run, table: table.table, after: fresh.last });
  append(fresh, answer);
  tables.set(table.table, fresh);
  return true;
}

// Where a range was chosen and points stand for many rows there, the same range once more, finer.
async function refine() {
  if (!state.zoom) return;
  const zoom = state.zoom, wanted = [];
  for (const run of chosen()) for (const table of run.tables || []) {
    const t = (known.get(run.run) || new Map()).get(table.table), key = run.run + '\n' + table.table;
    const [from, to] = zoom.map(x => stepsAt(run.run, x)), have = detail.get(key);
    if (!t || (have && have.from === from && have.to === to && (have.table.last >= to || have.table.last >= t.last)))
      continue;
    const after = Math.max(-1, Math.floor(from - 5 * span()) - 1);
    const coarse = [...t.series.values()].some(s => s.rows.some((n, i) => n > 1 && s.last[i] >= from && s.first[i] <= to));
    if (coarse) wanted.push({ run: run.run, table: table.table, key, from, to, after, until: Math.ceil(to) });
  }
  for (const w of wanted) {
    const t = newTable();
    t.seconds = w.after > 0 ? onAxis(w.run, 'seconds', w.after) || 0 : 0;
    append(t, await ask('/api/series', { run: w.run, table: w.table, after: w.after, until: w.until }));
    if (state.zoom === zoom) detail.set(w.key, { from: w.from, to: w.to, table: t });
  }
  if (wanted.length) draw();
}

// A logarithmic axis shows the first steps as large as all later ones: these, finer.
async function refineHeads() {
  if (!state.logx) return;
  let news = false;
  for (const run of chosen()) for (const table of run.tables || []) {
    const t = (known.get(run.run) || new Map()).get(table.table), key = run.run + '\n' + table.table, have = heads.get(key);
    const coarse = u => [...u.series.values()].some(s => s.rows[0] > 1);
    if (!t || !coarse(t) || (have && have.stamp === t.stamp)) continue;
    const list = [];
    for (let until = Math.floor(t.last / 50); until >= 1; until = Math.floor(until / 50)) {
      const head = newTable();
      append(head, await ask('/api/series', { run: run.run, table: table.table, until }));
      list.unshift(head);
      if (!coarse(head)) break;
    }
    heads.set(key, { stamp: t.stamp, list });
    news = true;
  }
  if (news) draw();
}

let busy = false, again = false;
async function poll() {
  again = busy;
  if (busy || document.hidden) return;
  busy = true;
  try {
    const list = await ask('/api/runs');
    const before = lastList && JSON.stringify(runs);
    runs = list.runs.sort((a, b) => natural(a.run, b.run));
    $('places').textContent = list.places.join(', ') + (list.left_out ? ` (${list.left_out} more are left out)` : '');
    const changed = before !== JSON.stringify(runs);
    const troubles = [];
    if (changed) showRuns(list);
    const asked = [];
    for (const run of chosen())
      for (const table of run.tables || [])
        if (table.last !== undefined)
          asked.push(refresh(run, table).catch(e => { if (!e.told) throw e; troubles.push(e.message); return false; }));
    const news = (await Promise.all(asked)).some(Boolean);
    const working = runs.filter(r => r.state === 'running').length;
    $('live').className = troubles.length ? 'bad' : '';
    $('live').textContent = troubles[0] || (working ? working + ' running, live' : 'up to date');
    if (changed || news) { showCards(list); showEvents(); showFacts(); }
    refine().then(refineHeads).catch(() => {});
  } catch (e) {
    $('live').className = 'bad';
    $('live').textContent = e.told ? e.message : 'no answer from the server, trying again';
  } finally {
    busy = false;
    if (again) poll(); // something was chosen meanwhile
  }
}

// ---- axes

function onAxis(run, axis, step) {
  if (axis === 'step') return step;
  const t = (known.get(run) || new Map()).get('steps'), s = t && t.series.get('[]');
  const c = s && s.columns[axis];
  if (!c) return NaN;
  if (s.on === undefined || s.onLength !== s.last.length || s.onLast !== t.last) {
    s.on = middles(s); s.onLength = s.last.length; s.onLast = t.last;
  }
  return along(s.on, c.mean, step);
}

function stepsAt(run, x) {
  if (state.axis === 'step') return x;
  const t = (known.get(run) || new Map()).get('steps'), s = t && t.series.get('[]');
  const c = s && s.columns[state.axis];
  return c ? along(c.mean, middles(s), x) : x;
}

// ---- what happened now and then: tables of events

// [step, run, table, words] of the chosen runs, the newest first.
function happenings() {
  const out = [];
  for (const run of chosen()) for (const t of run.tables || []) {
    const got = t.events && (known.get(run.run) || new Map()).get(t.table);
    if (!got) continue;
    for (const s of got.series.values()) s.last.forEach((step, i) => {
      const numbers = Object.entries(s.columns).filter(c => finite(c[1].mean[i])).map(([n, c]) => n.replace(/_/g, ' ') + ' ' + number(c.mean[i]));
      const labels = got.labels.map((l, k) => s.labels[k] === null ? '' : `${l} ${s.labels[k]}`).filter(Boolean);
      out.push([step, run.run, t.table, [...labels, ...(s.rows[i] > 1 ? [s.rows[i] + ' times'] : numbers)].join(', ')]);
    });
  }
  return out.sort((a, b) => b[0] - a[0]);
}

// Where, for the charts of what is measured at each step.
const marks = card => card.table !== 'steps' ? [] : happenings().slice(0, 200)
  .map(([step, run]) => ({ x: onAxis(run, state.axis, step), colour: colour(run) })).filter(m => finite(m.x));

function showEvents() {
  const list = happenings(), table = make('table');
  for (const [step, run, what, how] of list.slice(0, 50)) {
    const key = make('i', { class: 'key' });
    key.style.borderTop = `3px ${BORDERS[dash(run)]} ${colour(run)}`;
    table.append(make('tr', {}, make('th', { scope: 'row' }, key, 'step ' + step.toLocaleString('en')), make('td', {}, nameOf(run)),
      make('td', {}, what), make('td', {}, how)));
  }
  $('events').hidden = !list.length;
  $('events').replaceChildren(make('h2', {}, 'What happened', ' ', make('small', { class: 'soft' },
    list.length > 50 ? `the last 50 of ${list.length}; dotted lines in the charts` : 'dotted lines in the charts')), table);
}

// ---- curves of a card

function curves(card) {
  const out = [], [table, column] = [card.table, card.column];
  const all = [];
  for (const run of chosen()) {
    const found = detail.get(run.run + '\n' + table);
    const t = state.zoom && found ? found.table : (known.get(run.run) || new Map()).get(table);
    const begin = state.logx && !state.zoom ? heads.get(run.run + '\n' + table) : null;
    if (t) for (const [key, s] of t.series) {
      const parts = begin ? begin.list.map(h => h.series.get(key)).filter(Boolean) : [];
      if (s.columns[column]) all.push({ run: run.run, s: parts.length ? joined([...parts, s]) : s, t });
    }
  }
  const names = [...new Set(all.map(e => e.s.labels.join(', ')))].sort(natural);
  const ranked = names.length > LIGHT.length || names.every(n => /^-?\d+$/.test(n)), alone = new Set(all.map(e => e.run)).size === 1;
  for (const { run, s, t } of all) {
    const c = s.columns[column], label = s.labels.join(', '), mid = middles(s), x = [], mean = [], low = [], high = [];
    const rows = [], step = [];
    for (let i = 0; i < mid.length; i++) {
      const at = state.axis === 'step' ? mid[i] : table === 'steps' ? s.columns[state.axis] && s.columns[state.axis].mean[i]
        : onAxis(run, state.axis, mid[i]);
      if (!finite(at) || (state.logx && at <= 0)) continue;
      x.push(at); mean.push(c.mean[i]); low.push(c.low[i]); high.push(c.high[i]); rows.push(s.rows[i]);
      step.push([s.first[i], s.last[i]]);
    }
    if (!mean.some(finite)) continue;
    const few = mean.length < 12, plain = AS_IT_IS.has(card.key) || few || span() <= 1;
    out.push({
      run, label, name: [...(label && alone ? [] : [nameOf(run)]), ...(label ? [t.labels.map((l, i) => l + ' ' + s.labels[i]).join(', ')] : [])].join(' \u00b7 '),
      colour: !label ? colour(run) : ranked ? shade(names.indexOf(label), names.length) : palette()[names.indexOf(label)],
      dash: label ? chosen().findIndex(r => r.run === run) % DASHES.length : dash(run),
      x, mean, low, high, rows, step, plain, dots: few, cut: t.cut, thinned: rows.some(n => n > 1),
      smooth: plain ? mean : smoothed(mean, rows, span()),
    });
  }
  return out.sort((a, b) => natural(a.label, b.label));
}

// ---- drawing: one pen for the screen and pictures, one for SVG

function canvasPen(canvas, w, h, scale) {
  canvas.width = Math.round(w * scale); canvas.height = Math.round(h * scale);
  const g = canvas.getContext('2d');
  g.scale(scale, scale);
  const path = (xs, ys) => {
    g.beginPath();
    let open = false;
    for (let i = 0; i < xs.length; i++) {
      if (!finite(xs[i]) || !finite(ys[i])) { open = false; continue; }
      if (open) g.lineTo(xs[i], ys[i]); else g.moveTo(xs[i], ys[i]);
      open = true;
    }
  };
  return {
    width: s => { g.font = '11px system-ui, sans-serif'; return g.measureText(s).width; },
    box: (x, y, bw, bh, c) => { g.fillStyle = c; g.fillRect(x, y, bw, bh); },
    clip: (x, y, bw, bh) => { g.save(); g.beginPath(); g.rect(x, y, bw, bh); g.clip(); },
    free: () => g.restore(),
    line: (xs, ys, c, width = 1, pattern = [], alpha = 1) => {
      g.globalAlpha = alpha; g.strokeStyle = c; g.lineWidth = width; g.lineJoin = 'round'; g.setLineDash(pattern);
      path(xs, ys); g.stroke(); g.globalAlpha = 1; g.setLineDash([]);
    },
    band: (xs, lows, highs, c, alpha) => {
      g.globalAlpha = alpha; g.fillStyle = c;
      path(xs.concat([...xs].reverse()), lows.concat([...highs].reverse())); g.fill(); g.globalAlpha = 1;
    },
    dot: (x, y, c, r = 3) => { g.fillStyle = c; g.beginPath(); g.arc(x, y, r, 0, 7); g.fill(); },
    text: (s, x, y, c, align = 'left', size = 11, bold = false) => {
      g.font = `${bold ? '600 ' : ''}${size}px system-ui, sans-serif`; g.fillStyle = c; g.textAlign = align;
      g.textBaseline = 'middle'; g.fillText(s, x, y);
    },
  };
}

function svgPen(w, h) {
  const out = [], esc = s => s.replace(/[&<>"]/g, c => `&#${c.charCodeAt(0)};`), f = x => trim(x.toFixed(2));
  const path = (xs, ys) => {
    let d = '', open = false;
    for (let i = 0; i < xs.length; i++) {
      if (!finite(xs[i]) || !finite(ys[i])) { open = false; continue; }
      d += (open ? 'L' : 'M') + f(xs[i]) + ' ' + f(ys[i]);
      open = true;
    }
    return d;
  };
  let clips = 0;
  const measure = document.createElement('canvas').getContext('2d');
  measure.font = '11px sans-serif';
  return {
    width: s => measure.measureText(s).width,
    box: (x, y, bw, bh, c) => out.push(`<rect x="${f(x)}" y="${f(y)}" width="${f(bw)}" height="${f(bh)}" fill="${c}"/>`),
    clip: (x, y, bw, bh) => out.push(`<clipPath id="c${++clips}"><rect x="${f(x)}" y="${f(y)}" width="${f(bw)}" ` +
      `height="${f(bh)}"/></clipPath><g clip-path="url(#c${clips})">`),
    free: () => out.push('</g>'),
    line: (xs, ys, c, width = 1, pattern = [], alpha = 1) => out.push(`<path d="${path(xs, ys)}" fill="none" stroke="${c}" ` +
      `stroke-width="${width}" stroke-linejoin="round" stroke-dasharray="${pattern.join(' ') || 'none'}" opacity="${alpha}"/>`),
    band: (xs, lows, highs, c, alpha) => out.push(`<path d="${path(xs.concat([...xs].reverse()),
      lows.concat([...highs].reverse()))}" fill="${c}" opacity="${alpha}"/>`),
    dot: (x, y, c, r = 3) => out.push(`<circle cx="${f(x)}" cy="${f(y)}" r="${r}" fill="${c}"/>`),
    text: (s, x, y, c, align = 'left', size = 11, bold = false) => out.push(`<text x="${f(x)}" y="${f(y)}" fill="${c}" ` +
      `text-anchor="${{ left: 'start', center: 'middle', right: 'end' }[align]}" dominant-baseline="central" ` +
      `font-family="sans-serif" font-size="${size}"${bold ? ' font-weight="600"' : ''}>${esc(s)}</text>`),
    done: () => `<svg xmlns="http://www.w3.org/2000/svg" width="${w}" height="${h}" viewBox="0 0 ${w} ${h}">` +
      out.join('\n') + '</svg>\n',
  };
}

// What a card shows: ranges and how values become places. null: nothing.
function frame(card, lines, w, h, top) {
  let [x0, x1, y0, y1] = [Infinity, -Infinity, Infinity, -Infinity];
  const logy = state.logy.has(card.key);
  if (state.zoom) [x0, x1] = state.zoom;
  else for (const l of lines) { x0 = Math.min(x0, l.x[0]); x1 = Math.max(x1, l.x[l.x.length - 1]); }
  const see = y => { if (finite(y) && (!logy || y > 0)) { y0 = Math.min(y0, y); y1 = Math.max(y1, y); } };
  for (const l of lines) for (let i = 0; i < l.x.length; i++) {
    if (l.x[i] < x0 || l.x[i] > x1) continue;
    see(l.smooth[i]);
    if (state.raw || l.plain) { see(l.low[i]); see(l.high[i]); }
  }
  if (!(x1 >= x0) || !(y1 >= y0)) return null;
  if (x1 === x0) { const d = state.logx ? x0 / 2 : Math.max(1, Math.abs(x0) / 10); x0 -= d; x1 += d; }
  if (y1 === y0) { const d = Math.abs(y0) / 10 || 1; y0 -= d; y1 += d; }
  else if (logy) { const k = (y1 / y0) ** 0.05; y0 /= k; y1 *= k; }
  else { const d = (y1 - y0) * 0.05; y0 -= y0 >= 0 && y0 < d ? y0 : d; y1 += d; }
  const way = log => log ? Math.log10 : v => v, lx = way(state.logx), ly = way(logy);
  const f = { x0, x1, y0, y1, logy, lx, ly, marks: marks(card), left: 0, top, right: w - 12, bottom: h - 24 };
  f.xAt = x => f.left + (f.right - f.left) * (lx(x) - lx(x0)) / (lx(x1) - lx(x0));
  f.yAt = y => logy && !(y > 0) ? NaN : f.bottom - (f.bottom - f.top) * (ly(y) - ly(y0)) / (ly(y1) - ly(y0));
  f.xOf = px => {
    const v = lx(x0) + (lx(x1) - lx(x0)) * Math.min(1, Math.max(0, (px - f.left) / (f.right - f.left)));
    return state.logx ? 10 ** v : v;
  };
  return f;
}

function xLabel(x, top) {
  if (state.axis !== 'seconds') return short(x);
  const [unit, name] = clock(top);
  return number(x / unit) + ' ' + name;
}

function drawAxes(pen, f) {
  const [text, grid, line] = [css('--soft'), css('--grid'), css('--line')];
  const many = Math.max(2, Math.floor((f.bottom - f.top) / 40));
  const ys = (f.logy ? logTicks(f.y0, f.y1, many) : ticks(f.y0, f.y1, many).map(y => [y, true]));
  const digits = y => f.logy ? number(y, 3) : number(y, 4);
  f.left = Math.ceil(Math.max(24, ...ys.filter(t => t[1]).map(t => pen.width(digits(t[0]))))) + 10;
  let free = Infinity;
  for (const [y, label] of ys) {
    const at = f.yAt(y);
    if (at < f.top - 1 || at > f.bottom + 1) continue;
    pen.line([f.left, f.right], [at, at], grid);
    if (label && at < free - 14) { pen.text(digits(y), f.left - 6, at, text, 'right'); free = at; }
  }
  const wide = Math.max(2, Math.floor((f.right - f.left) / 75)), unit = state.axis === 'seconds' ? clock(f.x1)[0] : 1;
  const xs = state.logx ? logTicks(f.x0, f.x1, wide) : ticks(f.x0, f.x1, wide, unit).map(x => [x, true]);
  free = -Infinity;
  for (const [x, label] of xs) {
    const at = f.xAt(x);
    if (at < f.left - 1 || at > f.right + 1) continue;
    pen.line([at, at], [f.top, f.bottom], grid);
    const s = xLabel(x, f.x1), half = pen.width(s) / 2, middle = Math.min(Math.max(at, f.left + half - 8), f.right + 10 - half);
    if (label && middle - half > free + 8) { pen.text(s, middle, f.bottom + 13, text, 'center'); free = middle + half; }
  }
  pen.line([f.left, f.left, f.right], [f.top, f.bottom, f.bottom], line);
}

function drawCurves(pen, f, lines) {
  pen.clip(f.left, f.top - 2, f.right - f.left + 2, f.bottom - f.top + 4);
  const at = l => [l.x.map(f.xAt), l.mean.map(f.yAt), l.low.map(f.yAt), l.high.map(f.yAt)];
  for (const l of lines) {
    const [xs, ys, lows, highs] = at(l), pattern = DASHES[l.dash];
    const edge = list => list.map(y => finite(y) ? y : f.bottom);
    if ((state.raw || l.plain) && l.thinned) pen.band(xs, edge(lows), edge(highs), l.colour, 0.16);
    if (state.raw && !l.plain) pen.line(xs, ys, l.colour, 1, [], 0.35);
  }
  for (const m of f.marks) pen.line([f.xAt(m.x), f.xAt(m.x)], [f.top, f.bottom], m.colour, 1, [2, 4], 0.8);
  for (const l of lines) {
    const xs = l.x.map(f.xAt), ys = l.smooth.map(f.yAt);
    pen.line(xs, ys, l.colour, l.label ? 1.2 : 1.8, DASHES[l.dash]);
    if (l.dots) xs.forEach((x, i) => finite(ys[i]) && pen.dot(x, ys[i], l.colour, 2.5));
  }
  pen.free();
}

function paint(card) {
  const box = card.plot, w = box.clientWidth, h = box.clientHeight;
  if (!card.seen || !w) return;
  card.lines = curves(card);
  const pen = canvasPen(card.canvas, w, h, devicePixelRatio || 1);
  card.frame = frame(card, card.lines, w, h, 8);
  if (card.frame) { drawAxes(pen, card.frame); drawCurves(pen, card.frame, card.lines); }
  else pen.text(state.zoom ? 'nothing in this range' : state.logy.has(card.key) ? 'nothing above 0' : 'nothing yet', w / 2, h / 2, css('--soft'), 'center', 12);
  card.plot.setAttribute('aria-label', `${card.title} over ${AXES[state.axis]}. ` +
    card.lines.map(l => `${l.name}: ${number(l.smooth[l.smooth.length - 1])}`).join('; '));
  showLegend(card);
  paintCursor(card);
}

const draw = () => { for (const card of cards.values()) paint(card); };

function showLegend(card) {
  const shown = card.lines.slice(0, 12), more = card.lines.length - shown.length;
  const cut = card.lines.some(l => l.cut) ? [make('span', {}, 'further series are left out')] : [];
  card.legend.replaceChildren(...shown.map(l => {
    const key = make('i', { class: 'key' });
    key.style.borderTop = `3px ${BORDERS[l.dash]} ${l.colour}`;
    return make('span', {}, key, l.name);
  }), ...(more > 0 ? [make('span', {}, `and ${more} more`)] : []), ...cut);
}

// ---- what is under the cursor

function paintCursor(card) {
  const w = card.plot.clientWidth, h = card.plot.clientHeight, f = card.frame;
  const pen = canvasPen(card.over, w, h, devicePixelRatio || 1);
  const drag = card.drag;
  if (drag && f) pen.box(Math.min(drag[0], drag[1]), f.top, Math.abs(drag[1] - drag[0]), f.bottom - f.top, '#8884');
  card.tip.hidden = true;
  if (!f || cursor === null || cursor.x < f.x0 || cursor.x > f.x1) return;
  const px = f.xAt(cursor.x), rows = [];
  pen.line([px, px], [f.top, f.bottom], css('--soft'), 1, [3, 3]);
  let steps = null;
  for (const l of card.lines) {
    const i = nearest(l.x, cursor.x), inside = cursor.x >= l.x[0] && cursor.x <= l.x[l.x.length - 1];
    const near = Math.abs(f.xAt(l.x[i]) - px) < (inside ? 40 : 6);
    if (!near || !finite(l.mean[i])) continue;
    const y = f.yAt(l.smooth[i]);
    if (finite(y)) pen.dot(f.xAt(l.x[i]), y, l.colour);
    if (!steps) steps = l.step[i];
    rows.push([l, i, y]);
  }
  if (cursor.card !== card || !rows.length) return;
  const at = steps[0] === steps[1] ? steps[0].toLocaleString('en') : steps.map(s => s.toLocaleString('en')).join(' to ');
  const head = 'step ' + at + (state.axis === 'tokens' ? `, ${short(cursor.x)} tokens` : state.axis === 'seconds'
    ? ', ' + duration(cursor.x) : '');
  rows.sort((a, b) => a[2] - b[2]);
  const table = make('table');
  for (const [l, i] of rows.slice(0, 12)) {
    const key = make('i', { class: 'key' }), extra = [];
    key.style.borderTop = `3px ${BORDERS[l.dash]} ${l.colour}`;
    if (!l.plain) extra.push('measured ' + number(l.mean[i]));
    if (l.rows[i] > 1) extra.push(number(l.low[i]) + ' to ' + number(l.high[i]));
    table.append(make('tr', {}, make('td', {}, key, l.name), make('td', {}, make('b', {}, number(l.smooth[i], 5))),
      make('td', { class: 'soft' }, extra.join(', '))));
  }
  const more = rows.length > 12 ? [make('div', { class: 'soft' }, `and ${rows.length - 12} below`)] : [];
  card.tip.replaceChildren(make('div', { class: 'soft' }, head), table, ...more);
  card.tip.hidden = false;
  const tw = card.tip.offsetWidth, th = card.tip.offsetHeight;
  card.tip.style.left = Math.max(0, Math.min(w - tw, px + (px + 14 + tw > w ? -14 - tw : 14))) + 'px';
  const low = rows.filter(r => r[2] > (f.top + f.bottom) / 2).length * 2 >= rows.length; // where the curves are not
  card.tip.style.top = Math.max(0, low ? 4 : h - th - 28) + 'px';
}

function point(card, x) {
  cursor = x === null ? null : { x, card };
  for (const c of cards.values()) if (c.seen && c.frame) paintCursor(c);
}

function zoomTo(range) {
  state.zoom = range && range[1] > range[0] ? range : null;
  detail.clear();
  $('reset').disabled = !state.zoom;
  draw();
  refine().catch(() => {});
}

function zoomBy(card, factor) {
  const f = card.frame;
  if (!f) return;
  const middle = f.lx(cursor ? cursor.x : f.xOf((f.left + f.right) / 2)), back = v => state.logx ? 10 ** v : v;
  zoomTo([back(middle - (middle - f.lx(f.x0)) * factor), back(middle + (f.lx(f.x1) - middle) * factor)]);
}

function listen(card) {
  const at = e => e.clientX - card.plot.getBoundingClientRect().left;
  card.plot.addEventListener('pointerdown', e => {
    if (!card.frame || e.button) return;
    card.drag = [at(e), at(e)];
    point(card, card.frame.xOf(at(e)));
    if (e.pointerType === 'mouse') card.plot.setPointerCapture(e.pointerId);
  });
  card.plot.addEventListener('pointermove', e => {
    if (!card.frame) return;
    if (card.drag) card.drag[1] = Math.min(card.frame.right, Math.max(card.frame.left, at(e)));
    point(card, card.frame.xOf(at(e)));
  });
  card.plot.addEventListener('pointerup', () => {
    const d = card.drag;
    card.drag = null;
    if (d && card.frame && Math.abs(d[1] - d[0]) > 8) zoomTo([Math.min(...d), Math.max(...d)].map(card.frame.xOf));
    else paintCursor(card);
  });
  card.plot.addEventListener('pointercancel', () => { card.drag = null; paintCursor(card); });
  card.plot.addEventListener('pointerleave', e => { if (!card.drag && e.pointerType === 'mouse') point(card, null); });
  card.plot.addEventListener('dblclick', () => zoomTo(null));
  card.plot.addEventListener('blur', () => point(card, null));
  card.plot.addEventListener('keydown', e => {
    const f = card.frame, move = { ArrowLeft: -1, ArrowRight: 1 }[e.key];
    if (!f) return;
    if (move) {
      const px = cursor ? f.xAt(cursor.x) : (f.left + f.right) / 2, by = (e.shiftKey ? 40 : 8) * move;
      point(card, f.xOf(px + by));
    } else if (e.key === '+' || e.key === '=') zoomBy(card, 0.5);
    else if (e.key === '-') zoomBy(card, 2);
    else if (e.key === '0' || e.key === 'Escape') zoomTo(null);
    else return;
    e.preventDefault();
  });
}
