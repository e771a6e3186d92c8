// Which branches' data is missing when: asked of the hub's ledger when an answer's warning says that some is.

import { get } from './api.js';
import { tokens } from './promql.js';

/** States of the ledger that are not complete, the worst last, and their colours on light and on dark paper. */
const STATES = ['pending', 'unknown', 'lost'];
const COLOURS = { pending: '#d9a514', unknown: '#8a94a0', lost: '#d1343c' };
/** Intervals fetched, and branches named at the pointer. */
const INTERVALS_MAX = 5000;
const NAMED_MAX = 5;
const HIGH = 5;

/** Where a warning says that the rest of it can be asked: a path of the API, or null. */
export function ledgerIn(warnings) {
  for (const warning of warnings) {
    const found = /\/(api\/v1\/federation\/ledger\?[\w=&.:+-]*)/.exec(warning);
    if (found) return found[1];
  }
  return null;
}

/** What is missing: [{branch, state, start, end}] in seconds, of the branches that the expression names, or of all. */
export async function missing(path, expr, signal) {
  const [address, query] = path.split('?');
  const params = [...new URLSearchParams(query), ...STATES.map(state => ['state', state]), ['limit', INTERVALS_MAX]];
  const { data } = await get(address, params, signal);
  const named = branchesOf(expr);
  return data.branches
    .filter(({ branch }) => named.size === 0 || named.has(branch))
    .flatMap(({ branch, intervals }) => intervals.map(({ state, start, end }) => (
      { branch, state, start: Date.parse(start) / 1000, end: Date.parse(end) / 1000 })));
}

/** The values of `branch="…"`. */
function branchesOf(expr) {
  const all = tokens(expr).filter(token => token.kind !== 'space');
  const values = all.filter((_, at) => all[at - 2]?.text === 'branch' && all[at - 1]?.text === '=');
  return new Set(values.map(token => token.text.slice(1, -1)));
}

/** A ribbon on the line of the times: where one is missing it has the colour of the worst state. */
export function drawGaps(ink, { left, right, x }, gaps, bottom) {
  for (const state of STATES) {
    ink.fillStyle = COLOURS[state];
    for (const gap of gaps) {
      if (gap.state !== state) continue;
      const from = Math.max(left, x(gap.start)), to = Math.min(right, x(gap.end));
      if (to >= left && from <= right) ink.fillRect(from, bottom - HIGH / 2, Math.max(to - from, 2), HIGH);
    }
  }
}

/** Lines that tell what is missing at a time. */
export function gapsAt(gaps, time) {
  const here = gaps.filter(({ start, end }) => start <= time && time < end);
  const named = here.slice(0, NAMED_MAX).map(({ branch, state }) => `${branch}: ${state}`);
  return here.length > NAMED_MAX ? [...named, `and ${here.length - NAMED_MAX} more branches`] : named;
}
