// What the hub says beside an answer: errors with their place in the expression, warnings (missing data among them), infos.

import { make } from './dom.js';
import { spanAt } from './promql.js';

/** Warnings and infos that stand open; the others are one click away. */
const SHOWN = 3;

/** Elements for an error and the expression that it is about. */
export function errorNote(error, expr) {
  const box = make('div', { class: 'box error', role: 'alert' }, make('p', {}, error.message.replace('invalid parameter "query": ', '')));
  if (error.position) {
    const { from, to } = spanAt(expr, error.position);
    const start = expr.lastIndexOf('\n', from - 1) + 1, newline = expr.indexOf('\n', from);
    const end = newline < 0 ? expr.length : newline;
    box.append(make('pre', {}, expr.slice(start, from), make('span', { class: 'marked-error' }, expr.slice(from, Math.min(to, end)) || ' '), expr.slice(Math.min(to, end), end)));
  }
  return box;
}

/** The text with its addresses of the API as links, relative as all are here. */
function linked(text) {
  return text.split(/(\/api\/v1\/[\w/?=&.:+-]*\w)/).map((part, at) => (at % 2 === 1 ? make('a', { href: part.slice(1) }, part) : part));
}

/** Elements for warnings or infos. */
export function notes(texts, kind) {
  if (texts.length === 0) return null;
  const lines = texts.map(text => make('p', {}, ...linked(text)));
  const box = make('div', { class: `box ${kind}`, role: 'status' }, ...lines.slice(0, SHOWN));
  if (lines.length > SHOWN) {
    box.append(make('details', {}, make('summary', {}, `${lines.length - SHOWN} more`), ...lines.slice(SHOWN)));
  }
  return box;
}
