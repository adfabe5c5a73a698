// page.js - stands behind the part of the page's script that needs no page, runs_numbers.js. SPDX-License-Identifier: Apache-2.0
'use strict';
const assert = require('assert').strict;
const near = (a, b) => assert.ok(Math.abs(a - b) <= 1e-9 * Math.max(1, Math.abs(b)), `${a}, expected ${b}`);

assert.equal(number(0.00081), '8.1e-4');
assert.equal(number(1234.56), '1235');
assert.equal(number(123456), '123,456');
assert.equal(number(2.5), '2.5');
assert.equal(number(200), '200');
assert.equal(number(null), '\u2013');
assert.equal(short(12000), '12k');
assert.equal(short(100000), '100k');
assert.equal(duration(59), '59 s');
assert.equal(duration(7260), '2 h 01');

assert.deepEqual(['r/w10', 'r/w9', 'a'].sort(natural), ['a', 'r/w9', 'r/w10']);
assert.deepEqual(ticks(0, 10, 5), [0, 2, 4, 6, 8, 10]);
assert.deepEqual(ticks(0, 7200, 4, 3600), [0, 1800, 3600, 5400, 7200]);
assert.ok(ticks(5, 5, 4).length >= 1);
for (const [a, b] of [[1e-9, 3e-9], [-5, 1e6], [0.1, 0.3], [1, 1 + 1e-12]]) {
  const t = ticks(a, b, 6);
  assert.ok(t.length <= 15 && t.every(x => x >= a - 1e-6 * Math.abs(a) && x <= b + 1e-6 * Math.abs(b)));
}
assert.deepEqual(logTicks(1, 1000, 5).filter(t => t[1] && Number.isInteger(Math.log10(t[0]))).map(t => t[0]), [1, 10, 100, 1000]);
assert.ok(logTicks(1e-12, 1e12, 6).filter(t => t[1]).length <= 8);

// A point of many rows weighs what its rows would.
const rows = Array.from({ length: 64 }, (_, i) => 5 + (i >= 32));
const one = smoothed(rows, rows.map(() => 1), 10);
const two = smoothed([5, 5, 6, 6], [16, 16, 16, 16], 10);
near(one[31], two[1]);
near(one[63], two[3]);
near(smoothed([3], [1], 50)[0], 3); // corrected for its beginning
assert.deepEqual(smoothed([1, null, 2], [1, 1, 1], 1), [1, null, 2]);
assert.equal(smoothed([1, null, 2], [1, 1, 1], 5)[1], null);

near(along([1, 2, 4], [10, 20, 40], 3), 30);
near(along([1, 2, 4], [10, 20, 40], 5), 50);
near(along([1, 2, 4], [10, 20, 40], 0), 0);
assert.equal(nearest([1, 2, 10], 7), 2);
assert.equal(nearest([5], 7), 0);

// Answers one after the other are one series; seconds go on.
const table = newTable();
const answer = (from, to, more) => ({ last: to, resumed: '', labels: [], seconds: 2 * (to - from), series: [{ labels: [],
  last: Array.from({ length: to - from }, (_, i) => from + 1 + i),
  values: { x: { mean: Array.from({ length: to - from }, (_, i) => from + 1 + i) },
    seconds: { mean: Array.from({ length: to - from }, (_, i) => 2 * (1 + i)) }, ...more } }] });
append(table, answer(0, 10));
append(table, answer(10, 25, { late: { mean: new Array(15).fill(1) } }));
const s = table.series.get('[]');
assert.equal(table.last, 25);
assert.equal(s.last.length, 25);
assert.deepEqual(s.columns.seconds.mean.slice(-2), [48, 50]);
assert.equal(s.columns.late.mean[9], null);
assert.equal(s.columns.late.mean[10], 1);
// Halved when there are too many, as if all had come at once.
append(table, answer(25, 41), 20);
assert.equal(s.last.length, 11);
assert.equal(s.rows.reduce((a, b) => a + b), 41);
near(s.columns.x.mean[0], 2.5);
assert.equal(s.columns.x.low[0], 1);
assert.equal(s.columns.x.high[0], 4);
assert.equal(s.first[1], 5);
assert.equal(s.columns.late.mean[2], 1);
assert.equal(s.last[10], 41);

const fine = { labels: [], first: [1, 2], last: [1, 2], rows: [1, 1], columns: { x: { mean: [1, 2], low: [1, 2], high: [1, 2] } } };
const j = joined([fine, s]);
assert.deepEqual(j.first.slice(0, 3), [1, 2, 5]);
assert.equal(j.columns.x.mean.length, j.first.length);
assert.equal(j.columns.late.mean[0], null);

assert.equal(csv([['a', 'b'], ['x,y', 'say "hi"'], [null, 1]]), 'a,b\n"x,y","say ""hi"""\n,1\n');
console.log('the page computes what it should');
