// The answer of an instant query as a table: one row a series, sorted by what is clicked.

import { formatTime } from './time.js';
import { make, seriesName, seriesText } from './dom.js';
import { number, short } from './numbers.js';

const ROWS_SHOWN = 500;
/** Samples of one series of a range vector. */
const SAMPLES_SHOWN = 100;

/** An element for the `data` of an answer. */
export function table({ resultType, result }, utc) {
  if (resultType === 'scalar' || resultType === 'string') {
    return make('p', { class: 'single' }, make('span', { class: 'note' }, `${resultType} `), make('output', {}, result[1]));
  }
  const rows = result.map(entry => ({ entry, name: seriesText(entry.metric), value: sortable(entry) }));
  const body = make('tbody');
  let shown = ROWS_SHOWN;
  const more = make('button', { class: 'quiet', onclick: () => { shown = Infinity; fill(); } });
  const fill = () => {
    body.replaceChildren(...rows.slice(0, shown).map(({ entry }) => make('tr', {},
      make('td', {}, make('code', {}, seriesName(entry.metric))), make('td', { class: 'number' }, value(entry, utc)))));
    more.hidden = rows.length <= shown;
    more.textContent = `Show all ${rows.length}`;
  };
  const sorted = { by: null, down: false };
  const sort = (by, compare) => heading => {
    sorted.down = sorted.by === by ? !sorted.down : by === 'value';
    sorted.by = by;
    rows.sort((a, b) => compare(a, b) * (sorted.down ? -1 : 1));
    for (const each of heading.closest('tr').cells) each.removeAttribute('aria-sort');
    heading.closest('th').setAttribute('aria-sort', sorted.down ? 'descending' : 'ascending');
    fill();
  };
  const head = (text, kind, by) => make('th', { class: kind }, make('button', { onclick: event => by(event.currentTarget) }, text));
  const byName = sort('name', (a, b) => a.name.localeCompare(b.name, 'en', { numeric: true }));
  const byValue = sort('value', (a, b) => a.value - b.value);
  fill();
  return make('div', {},
    make('table', { class: 'result' }, make('thead', {}, make('tr', {}, head('Series', '', byName), head('Value', 'number', byValue))), body), more);
}

/** What a series is sorted by: its only or last value; histograms by their counts. */
function sortable({ value, values, histogram, histograms }) {
  const sample = value ?? histogram ?? values?.at(-1) ?? histograms?.at(-1);
  const found = Number(sample[1].count ?? sample[1].replace('Inf', 'Infinity'));
  return Number.isNaN(found) ? -Infinity : found;
}

function value({ value: one, values = [], histogram, histograms = [] }, utc) {
  if (one) return number(one[1]);
  if (histogram) return buckets(histogram[1]);
  const samples = [...values, ...histograms].sort((a, b) => a[0] - b[0]);
  const lines = samples.slice(-SAMPLES_SHOWN).map(([at, sample]) => make('div', {},
    sample.count === undefined ? number(sample) : buckets(sample), make('span', { class: 'note' }, ` @ ${formatTime(at, utc)}`)));
  if (samples.length > SAMPLES_SHOWN) lines.unshift(make('div', { class: 'note' }, `${samples.length - SAMPLES_SHOWN} earlier samples`));
  return make('div', {}, ...lines);
}

const CLOSED = { 0: ['(', ']'], 1: ['[', ')'], 2: ['(', ')'], 3: ['[', ']'] };

/** A native histogram: its sums, and its buckets as bars when opened. */
function buckets({ count, sum, buckets: all = [] }) {
  const most = Math.max(...all.map(bucket => Number(bucket[3])));
  const rows = all.map(([bounds, low, high, many]) => {
    const [open, close] = CLOSED[bounds];
    const bar = make('meter', { min: 0, max: most, value: many });
    return make('tr', {}, make('td', {}, `${open}${short(Number(low))}, ${short(Number(high))}${close}`), make('td', {}, bar), make('td', { class: 'number' }, number(many)));
  });
  return make('details', {}, make('summary', {}, `count ${number(count)}, sum ${number(sum)}`), make('table', {}, ...rows));
}
