// One expression with its answer, as a graph or a table.

import { ApiError, get, positionIn, post } from './api.js';
import { Chart } from './chart.js';
import { make } from './dom.js';
import { Editor } from './editor.js';
import { expressions, forget, remember } from './history.js';
import { Legend } from './legend.js';
import { ledgerIn, missing } from './missing.js';
import { errorNote, notes } from './notes.js';
import { table } from './table.js';
import { autoStep, formatDuration, POINTS_MAX } from './time.js';

/** Lines of one graph: more can be neither seen nor told apart. */
const LINES_MAX = 1000;
const EXAMPLES = [
  ['Targets that are down', 'up == 0'],
  ['Share of targets up, by branch', 'sum by (branch) (up) / count by (branch) (up)'],
  ['CPU busy, by branch', '1 - avg by (branch) (rate(node_cpu_seconds_total{mode="idle"}[1m]))'],
];

export class Panel {
  #page;
  #state;
  #editor;
  #out = make('div', { class: 'out' });
  #stats = make('span', { class: 'stats', role: 'status' });
  #tabs;
  #stack;
  #run;
  #running = null;
  #chart = null;

  /** `page` has time(), completer, utc, changed(), remove(panel). */
  constructor(page, state) {
    this.#page = page;
    this.#state = state;
    this.#editor = new Editor({ completer: page.completer, expr: state.expr, onRun: () => this.#ask() });
    this.#run = make('button', { class: 'run', title: 'Run (Enter)', onclick: () => (this.#running ? this.#running.abort() : this.#ask()) }, 'Run');
    this.#tabs = ['graph', 'table'].map(name => make('button', {
      role: 'tab', 'data-tab': name, onclick: () => this.#turnTo(name),
    }, name === 'graph' ? 'Graph' : 'Table'));
    this.#stack = make('button', { class: 'quiet', title: 'Lines on top of one another', onclick: () => this.#toggleStacked() }, 'Stacked');
    this.element = make('section', { class: 'panel', 'aria-label': 'Query' },
      make('div', { class: 'ask' }, this.#editor.element, this.#run),
      make('div', { class: 'bar' },
        make('div', { role: 'tablist' }, ...this.#tabs), this.#stack,
        make('button', { class: 'quiet', title: 'Lay the expression out over lines', onclick: () => this.#format() }, 'Format'),
        this.#history(), this.#stats,
        make('button', { class: 'quiet remove', title: 'Remove this query', 'aria-label': 'Remove this query', onclick: () => page.remove(this) }, '✕')),
      this.#out);
    this.#showState();
  }

  get state() {
    return this.#state;
  }

  focus() {
    this.#editor.focus();
  }

  /** Takes another state, as from the address, without asking. */
  set state(state) {
    this.#state = state;
    this.#editor.text = state.expr;
    this.#showState();
  }

  stop() {
    this.#running?.abort();
  }

  #ask() {
    this.#state.expr = this.#editor.text.trim();
    if (this.#state.expr) remember(this.#state.expr);
    this.#page.changed();
    return this.run();
  }

  #turnTo(tab) {
    this.#state.tab = tab;
    this.#showState();
    this.#ask();
  }

  #toggleStacked() {
    this.#state.stacked = !this.#state.stacked;
    this.#showState();
    this.#ask();
  }

  #showState() {
    for (const tab of this.#tabs) tab.setAttribute('aria-selected', String(tab.dataset.tab === this.#state.tab));
    this.#stack.setAttribute('aria-pressed', String(this.#state.stacked));
    this.#stack.hidden = this.#state.tab !== 'graph';
  }

  /** Asks the hub for the expression as it was last run, and shows the answer. */
  async run() {
    this.stop();
    const { expr, tab } = this.#state;
    if (!expr) return this.#empty();
    const running = this.#running = new AbortController();
    const began = performance.now();
    this.#run.textContent = 'Stop';
    this.element.setAttribute('aria-busy', 'true');
    try {
      const { answer, grid } = tab === 'graph' ? await this.#range(expr, running.signal) : await this.#instant(expr, running.signal);
      this.#mark(answer, expr);
      this.#show(answer, grid, performance.now() - began);
      await this.#tellMissing(answer.warnings ?? [], expr, running.signal);
    } catch (error) {
      if (error.name !== 'AbortError') this.#fail(error, expr);
      else if (this.#running === running) this.#stats.textContent = 'stopped';
    } finally {
      if (this.#running === running) {
        this.#running = null;
        this.#run.textContent = 'Run';
        this.element.removeAttribute('aria-busy');
      }
    }
  }

  async #instant(query, signal) {
    const { end } = this.#page.time();
    return { answer: await post('api/v1/query', { query, time: end.toFixed(3) }, signal) };
  }

  async #range(query, signal) {
    const { end: until, range, step: wished } = this.#page.time();
    const step = wished ?? autoStep(range, this.#out.clientWidth || 900);
    if (range / step > POINTS_MAX) {
      const least = formatDuration(Math.ceil(range / POINTS_MAX));
      throw new ApiError(`a step of ${formatDuration(step)} makes more than ${POINTS_MAX} points: take ${least} or more, or auto`, 'bad_data');
    }
    // On the step's grid, so that a graph that is refreshed does not tremble, and the hub can use answers again.
    const end = Math.floor(until / step) * step, start = end - Math.floor(range / step) * step;
    const answer = await post('api/v1/query_range', { query, start, end, step }, signal);
    return { answer, grid: { start, end, step } };
  }

  #show({ data, warnings = [], infos = [] }, grid, took) {
    const said = [notes(warnings, 'warning'), notes(infos, 'info')];
    const { resultType, result } = data;
    this.#chart = null;
    const many = Array.isArray(result) && (resultType === 'vector' || resultType === 'matrix') ? result.length : 1;
    const step = grid ? ` · step ${formatDuration(grid.step)}` : '';
    this.#stats.textContent = `${many} series${step} · ${Math.round(took)} ms`;
    if (many === 0) said.push(make('p', { class: 'nothing' }, 'No data: nothing of this was stored then.'));
    else said.push(...(grid ? this.#graph(result, grid) : [table(data, this.#page.utc)]));
    this.#out.replaceChildren(...said.filter(Boolean));
  }

  #graph(result, grid) {
    const said = [], drawn = result.filter(each => each.values).slice(0, LINES_MAX);
    const histograms = result.filter(each => each.histograms).length;
    if (histograms > 0) said.push(notes([`${histograms} series are histograms, which a line cannot show: see the table, or draw histogram_quantile(0.9, …) of them`], 'info'));
    const left = result.length - histograms - drawn.length;
    if (left > 0) said.push(notes([`${left} more series are not drawn: aggregate, or take topk(20, …)`], 'info'));
    if (drawn.length === 0) return said;
    const series = drawn.map(({ metric, values }) => ({
      labels: metric, last: values.at(-1)[1],
      points: new Map(values.map(([at, text]) => [Math.round(at * 1000), Number(text.replace('Inf', 'Infinity'))])),
    }));
    const chart = new Chart({ onZoom: (...range) => this.#page.zoom(...range) }), legend = new Legend(chart);
    // In the page first: how wide it is and which colours it has is known only there.
    this.#out.replaceChildren(...said, chart.element, legend.element);
    this.#chart = chart;
    chart.show(series, grid, { stacked: this.#state.stacked, utc: this.#page.utc });
    legend.show(series);
    return [...said, chart.element, legend.element];
  }

  /** Below the graph: when data of which branch is missing, if the hub warned of that. */
  async #tellMissing(warnings, expr, signal) {
    const path = ledgerIn(warnings), chart = this.#chart;
    if (!path || !chart) return;
    try {
      chart.gaps = await missing(path, expr, signal);
    } catch (error) {
      // The warning stands there all the same.
      if (error.name === 'AbortError') throw error;
    }
  }

  #mark({ warnings = [], infos = [] }, expr) {
    if (this.#editor.text.trim() !== expr) return;
    const marks = [...warnings, ...infos].map(text => ({ text, position: positionIn(text), kind: 'warning' }));
    this.#editor.mark(marks.filter(mark => mark.position));
  }

  #fail(error, expr) {
    this.#stats.textContent = '';
    if (error.position && this.#editor.text.trim() === expr) {
      this.#editor.mark([{ position: error.position, kind: 'error', text: error.message }]);
    }
    this.#out.replaceChildren(errorNote(error, expr));
  }

  #empty() {
    this.#stats.textContent = '';
    const example = ([name, expr]) => make('button', { class: 'example', onclick: () => { this.#editor.text = expr; this.#ask(); } },
      make('span', {}, name), make('code', {}, expr));
    this.#out.replaceChildren(make('div', { class: 'examples' }, ...EXAMPLES.map(example)));
  }

  async #format() {
    try {
      const { data } = await get('api/v1/format_query', [['query', this.#editor.text]]);
      this.#editor.text = data;
      this.#editor.focus();
    } catch (error) {
      this.#fail(error, this.#editor.text);
    }
  }

  /** A button that opens the expressions run before. */
  #history() {
    const list = make('ul', { role: 'listbox', 'aria-label': 'Earlier expressions' });
    const find = make('input', { type: 'search', placeholder: 'Find', 'aria-label': 'Find an earlier expression' });
    const details = make('details', { class: 'history' }, make('summary', {}, 'History'), make('div', { class: 'drop' }, find, list));
    const pick = expr => {
      details.open = false;
      this.#editor.text = expr;
      this.#editor.focus();
      this.#ask();
    };
    const fill = () => {
      const wanted = find.value.toLowerCase();
      const found = expressions().filter(expr => expr.toLowerCase().includes(wanted));
      list.replaceChildren(...found.map(expr => make('li', {}, make('button', { onclick: () => pick(expr) }, expr))));
      if (found.length === 0) list.append(make('li', { class: 'note' }, wanted ? 'None like that' : 'Nothing was run yet'));
      else list.append(make('li', {}, make('button', { class: 'note', onclick: () => { forget(); fill(); } }, 'Forget all')));
    };
    find.addEventListener('input', fill);
    details.addEventListener('toggle', () => { if (details.open) { find.value = ''; fill(); find.focus(); } });
    details.addEventListener('keydown', event => { if (event.key === 'Escape') { details.open = false; this.#editor.focus(); } });
    details.addEventListener('focusout', event => { if (!details.contains(event.relatedTarget)) details.open = false; });
    return details;
  }
}
