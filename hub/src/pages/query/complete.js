// What to offer at the cursor: words of PromQL, and names and values that the hub has.

import { get } from './api.js';
import { contextAt, metricsOf } from './promql.js';

/** Names fetched at once; where there are more, the hub is asked for those that match what is typed. */
const NAMES_MAX = 20000;
const VALUES_MAX = 2000;
const SHOWN_MAX = 60;
/** The score of a name that has the letters in their order, but not together. */
const SCATTERED = 2;
/** How long answers are used again. */
const FRESH_MS = 60_000;
const DURATIONS = ['1m', '5m', '15m', '30m', '1h', '6h', '12h', '1d', '1w'];

/** Whatever is offered: {text, kind, detail, help}; `text` is what is put in, `after` what follows the cursor. */
export class Completer {
  #answers = new Map();
  #timeRange;

  /** `timeRange()` gives [start, end] in seconds: names of those times are offered. */
  constructor(timeRange) {
    this.#timeRange = timeRange;
  }

  /** Offers for a cursor: {from, typed, options}, or null for none: also where anything may stand and nobody `asked`. */
  async at(text, cursor, asked) {
    const context = contextAt(text, cursor);
    if (!context || (context.kind === 'expression' && context.typed === '' && !asked)) return null;
    const options = await this.#options(context, text);
    return { from: context.from, typed: context.typed, options: best(options, context.typed) };
  }

  async #options(context, text) {
    switch (context.kind) {
      case 'duration':
        return DURATIONS.map(each => ({ text: each, kind: 'duration' }));
      case 'label':
        return this.#labels(context.selector ? [context.selector] : []);
      case 'grouping':
        return this.#labels(metricsOf(text).slice(0, 5).map(name => `{__name__="${name}"}`));
      case 'value':
        return this.#values(context);
      default:
        return [...(await this.#metrics(context.typed)), ...(await this.#words())];
    }
  }

  async #metrics(typed) {
    const [all, about] = await Promise.all([this.#names([]), this.#metadata()]);
    let names = all.data;
    if (all.warnings) {
      names = (await this.#names([['match[]', `{__name__=~"(?i).*${typed.replace(/[^\w:]/g, '.')}.*"}`]])).data;
    }
    return names.map(name => {
      const known = about[name] ?? about[name.replace(/_(bucket|count|sum|total)$/, '')];
      const plain = /^[a-z_:][\w:]*$/i.test(name);
      const entry = { kind: 'metric', label: name, detail: known?.[0].type.replace('unknown', 'metric'), help: known?.[0].help };
      return plain ? { ...entry, text: name } : { ...entry, text: `{${JSON.stringify(name)}}` };
    });
  }

  async #labels(selectors) {
    const { data } = await this.#ask('api/v1/labels', selectors.map(each => ['match[]', each]));
    return data.filter(name => name !== '__name__').map(name => {
      const plain = /^[a-z_]\w*$/i.test(name);
      return { kind: 'label', label: name, text: plain ? name : JSON.stringify(name) };
    });
  }

  async #values({ label, operator, quote, selector }) {
    const path = `api/v1/label/${escapeName(label)}/values`;
    const { data } = await this.#ask(path, selector ? [['match[]', selector]] : [], VALUES_MAX);
    return data.map(value => ({ kind: 'value', label: value, text: quoted(value, operator, quote), after: quote }));
  }

  #names(params) {
    return this.#ask('api/v1/label/__name__/values', params, NAMES_MAX);
  }

  async #metadata() {
    const { data } = await this.#cached('metadata', () => get('api/v1/metadata', [['limit', NAMES_MAX]]));
    return data;
  }

  async #words() {
    const all = await this.#cached('words', () => get('query/words'));
    return all.data;
  }

  #ask(path, params, limit = NAMES_MAX) {
    // To the minute, so that typing on asks nothing again.
    const [start, end] = this.#timeRange().map(at => Math.floor(at / 60) * 60);
    const all = [...params, ['start', start], ['end', end + 60], ['limit', limit]];
    return this.#cached(path + JSON.stringify(all), () => get(path, all));
  }

  #cached(key, fetch) {
    const known = this.#answers.get(key);
    if (known && Date.now() - known.at < FRESH_MS) return known.answer;
    const answer = fetch();
    // What failed is asked again.
    answer.catch(() => this.#answers.delete(key));
    this.#answers.set(key, { at: Date.now(), answer });
    if (this.#answers.size > 200) this.#answers.delete(this.#answers.keys().next().value);
    return answer;
  }
}

/** What fits what is typed, the best first. */
export function best(options, typed) {
  const wanted = typed.toLowerCase();
  const scored = options.map(option => {
    const name = (option.label ?? option.text).toLowerCase();
    return { option, name, score: score(name, wanted) };
  });
  // Scattered letters only where nothing has what is typed in one piece.
  const least = scored.some(({ score }) => score > SCATTERED) ? SCATTERED + 1 : 1;
  return scored
    .filter(({ score }) => score >= least)
    // As they came while nothing is typed: the hub's own names before the words of PromQL.
    .sort((a, b) => b.score - a.score || (wanted && a.name.length - b.name.length))
    .slice(0, SHOWN_MAX)
    .map(({ option }) => option);
}

/** 0: does not fit. The beginning is best, then the beginning of a word, then anywhere, then the letters in their order. */
function score(name, typed) {
  if (typed === '') return SCATTERED + 1;
  if (name === typed) return 6;
  if (name.startsWith(typed)) return 5;
  const at = name.indexOf(typed);
  if (at > 0) return /[a-z0-9]/.test(name[at - 1]) ? 3 : 4;
  let next = 0;
  for (const letter of name) if (letter === typed[next]) next++;
  return next === typed.length && typed.length > 2 ? SCATTERED : 0;
}

/** A value as it stands between quotes; in a regular expression every sign means itself. */
function quoted(value, operator, quote) {
  const text = operator.endsWith('~') ? value.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&') : value;
  return quote === '`' ? text : text.replace(/\\/g, '\\\\').replaceAll(quote, `\\${quote}`).replace(/\n/g, '\\n');
}

/** A label's name in a path, as Prometheus escapes those that are not plain. */
function escapeName(name) {
  if (/^[a-z_]\w*$/i.test(name)) return name;
  const signs = [...name].map(sign => (sign === '_' ? '__' : /[a-z0-9]/i.test(sign) ? sign : `_${sign.codePointAt(0).toString(16)}_`));
  return `U__${signs.join('')}`;
}
