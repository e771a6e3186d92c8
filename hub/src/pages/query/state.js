// What the page shows, as it stands in its address: Prometheus's parameters, so that links of either open in the other.
//
// All panels share one time, which stands with the first. `tab` is `graph` or `table`, in old links 0 or 1.

import { formatTime, parseDuration, parseTime } from './time.js';

/** Panels that an address may open: each asks the hub. */
const PANELS_MAX = 20;

export const newPanel = (expr = '', tab = 'graph') => ({ expr, tab, stacked: false });

/** The state of an address's query string. Times in seconds; `end` and `step` are null for now and automatic. */
export function readState(search) {
  const params = new URLSearchParams(search);
  const panels = [];
  for (let n = 0; n < PANELS_MAX && params.has(`g${n}.expr`); n++) {
    const of = name => params.get(`g${n}.${name}`);
    const tab = of('tab') === '1' || of('tab') === 'table' ? 'table' : 'graph';
    panels.push({ expr: of('expr'), tab, stacked: of('stacked') === '1' || of('display_mode') === 'stacked' });
  }
  if (panels.length === 0) panels.push(newPanel(params.get('expr') ?? '', params.has('expr') ? 'table' : 'graph'));
  const range = parseDuration(params.get('g0.range_input') ?? '');
  const end = parseTime(params.get('g0.end_input') ?? '', true);
  const step = parseDuration(params.get('g0.step_input') ?? '');
  return {
    panels,
    range: range > 0 ? range : 3600,
    end: Number.isNaN(end) ? null : end,
    step: step > 0 ? step : null,
  };
}

/** The query string of a state. */
export function writeState(state) {
  const params = new URLSearchParams();
  state.panels.forEach((panel, n) => {
    params.set(`g${n}.expr`, panel.expr);
    params.set(`g${n}.tab`, panel.tab);
    if (panel.stacked) params.set(`g${n}.stacked`, '1');
  });
  params.set('g0.range_input', formatRange(state.range));
  if (state.end !== null) params.set('g0.end_input', formatTime(state.end, true));
  if (state.step !== null) params.set('g0.step_input', String(state.step));
  return '?' + params.toString().replaceAll('%3A', ':').replaceAll('%2C', ',');
}

// Prometheus reads no fractions of a second here.
const formatRange = seconds => `${Math.max(1, Math.round(seconds))}s`;
