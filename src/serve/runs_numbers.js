// runs_numbers.js - of the script of `galerne runs serve` what needs no page: numbers as text, axes, tables of series
// (tests/serve/page.js tries it). The first part of the script. SPDX-License-Identifier: Apache-2.0
'use strict';

const MOST = 3000; // points of a series that are kept; beyond that neighbours are put together

const finite = x => typeof x === 'number' && isFinite(x);

function trim(s) { return s.includes('.') && !s.includes('e') ? s.replace(/\.?0+$/, '') : s; }

function number(x, digits = 4) {
  if (!finite(x)) return '\u2013';
  const size = Math.abs(x);
  if (size === 0) return '0';
  if (size >= 1e6 || size < 1e-3) return x.toExponential(digits - 2).replace(/\.?0+e/, 'e').replace('e+', 'e');
  return size >= 10 ** digits ? Math.round(x).toLocaleString('en') : trim(x.toPrecision(digits));
}

// 12000 as 12k, where space is short.
function short(x) {
  const size = Math.abs(x);
  for (const [unit, mark] of [[1e12, 'T'], [1e9, 'G'], [1e6, 'M'], [1e3, 'k']])
    if (size >= unit) return trim((x / unit).toPrecision(4)) + mark;
  return number(x);
}

function duration(s) {
  if (!finite(s)) return '\u2013';
  if (s < 90) return trim(s.toPrecision(3)) + ' s';
  const m = Math.round(s / 60);
  return m < 90 ? m + ' min' : Math.floor(m / 60) + ' h ' + String(m % 60).padStart(2, '0');
}

// Of time: the unit that fits a range, for axes.
function clock(top) {
  for (const [unit, name] of [[86400, 'd'], [3600, 'h'], [60, 'min']])
    if (top >= 3 * unit) return [unit, name];
  return [1, 's'];
}

function ticks(low, high, many, unit = 1) {
  const raw = (high - low) / unit / Math.max(many, 1), power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].find(k => k * power >= raw * 0.999) * power, out = [];
  if (!(step > 0) || !isFinite(step)) return [low];
  for (let k = Math.ceil(low / unit / step - 1e-9); k * step * unit <= high * (1 + 1e-12) + 1e-300 && out.length < 99; k++)
    out.push(k * step * unit + 0); // no -0
  return out;
}

// [value, whether it deserves a label]; with less than a decade the marks of a plain axis, which lie as they may.
function logTicks(low, high, many) {
  if (Math.log10(high / low) < 1) return ticks(low, high, many).filter(x => x > 0).map(x => [x, true]);
  const out = [], decades = Math.log10(high / low), skip = Math.max(1, Math.ceil(decades / many));
  for (let e = Math.floor(Math.log10(low)); e <= Math.ceil(Math.log10(high)); e++)
    for (let k = 1; k < 10; k++) {
      const x = k * 10 ** e, plain = k === 1 ? e % skip === 0 : decades * 2 < many && (k === 2 || k === 5);
      if (x >= low * 0.999999 && x <= high * 1.000001 && (k === 1 || decades < 6)) out.push([x, plain]);
    }
  return out;
}

// The exponential mean over `span` rows, corrected for its beginning. A point of many rows counts as so many.
function smoothed(values, rows, span) {
  if (span <= 1) return values;
  const keep = 1 - 1 / span, out = [];
  let mean = 0, weight = 0;
  for (let i = 0; i < values.length; i++) {
    if (!finite(values[i])) { out.push(null); continue; }
    const k = keep ** rows[i];
    mean = k * mean + (1 - k) * values[i];
    weight = k * weight + (1 - k);
    out.push(mean / weight);
  }
  return out;
}

// y at x of a line through points with rising x, gone on with beyond its ends.
function along(xs, ys, x) {
  const n = xs.length;
  if (n < 2) return n ? ys[0] : NaN;
  let low = 0, high = n - 1;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (xs[middle] <= x) low = middle; else high = middle;
  }
  return xs[high] === xs[low] ? ys[low] : ys[low] + (ys[high] - ys[low]) * (x - xs[low]) / (xs[high] - xs[low]);
}

function nearest(xs, x) {
  let low = 0, high = xs.length - 1;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (xs[middle] <= x) low = middle; else high = middle;
  }
  return Math.abs(xs[low] - x) <= Math.abs(xs[high] - x) ? low : high;
}

const newTable = () => ({ last: -1, seconds: 0, labels: [], series: new Map() });

// Puts neighbours together in pairs, as the server does.
function halve(s) {
  const pairs = (list, join) => {
    const out = [];
    for (let i = 0; i < list.length; i += 2) out.push(i + 1 < list.length ? join(list[i], list[i + 1], i) : list[i]);
    return out;
  };
  const either = join => (a, b, i) => !finite(a) ? b : !finite(b) ? a : join(a, b, i);
  const rows = s.rows;
  for (const c of Object.values(s.columns)) {
    c.mean = pairs(c.mean, either((a, b, i) => (a * rows[i] + b * rows[i + 1]) / (rows[i] + rows[i + 1])));
    c.low = pairs(c.low, either((a, b) => Math.min(a, b)));
    c.high = pairs(c.high, either((a, b) => Math.max(a, b)));
  }
  s.first = pairs(s.first, a => a);
  s.last = pairs(s.last, (a, b) => b);
  s.rows = pairs(rows, (a, b) => a + b);
}

// Adds an answer of /api/series to what is known of that table.
function append(table, answer, most = MOST) {
  table.labels = answer.labels;
  table.cut = table.cut || answer.left_out > 0;
  for (const add of answer.series) {
    const key = JSON.stringify(add.labels), n = add.last.length;
    let s = table.series.get(key);
    if (!s) table.series.set(key, s = { labels: add.labels, first: [], last: [], rows: [], columns: {} });
    const before = s.last.length;
    s.last.push(...add.last);
    s.first.push(...(add.first || add.last));
    s.rows.push(...(add.rows || new Array(n).fill(1)));
    for (const [name, v] of Object.entries(add.values)) {
      const base = name === 'seconds' ? table.seconds : 0, up = x => finite(x) ? x + base : null;
      let c = s.columns[name];
      if (!c) c = s.columns[name] = { mean: [], low: [], high: [] };
      for (const part of ['mean', 'low', 'high']) {
        while (c[part].length < before) c[part].push(null);
        for (const x of v[part] || v.mean) c[part].push(up(x));
      }
    }
    while (s.last.length > most) halve(s);
  }
  table.last = answer.last;
  table.seconds += answer.seconds || 0;
}

// One series of several, finest first: each goes on where the one before ended.
function joined(parts) {
  const out = { labels: parts[0].labels, first: [], last: [], rows: [], columns: {} };
  for (const name of Object.keys(parts[parts.length - 1].columns)) out.columns[name] = { mean: [], low: [], high: [] };
  let end = -Infinity;
  for (const s of parts) {
    const from = s.first.findIndex(step => step > end);
    if (from < 0) continue;
    for (const list of ['first', 'last', 'rows']) out[list].push(...s[list].slice(from));
    for (const [name, c] of Object.entries(out.columns)) for (const part of ['mean', 'low', 'high'])
      c[part].push(...(s.columns[name] ? s.columns[name][part].slice(from) : s.first.slice(from).map(() => null)));
    end = out.last[out.last.length - 1];
  }
  return out;
}

const middles = s => s.first.map((a, i) => (a + s.last[i]) / 2);

function quoted(x) {
  const s = x === null || x === undefined ? '' : String(x);
  return /[",\r\n]/.test(s) ? '"' + s.replace(/"/g, '""') + '"' : s;
}

const natural = (a, b) => a.localeCompare(b, 'en', { numeric: true }); // 9 before 10

const csv = rows => rows.map(r => r.map(quoted).join(',')).join('\n') + '\n';
