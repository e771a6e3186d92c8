// The names below a graph. A click leaves one line alone, a click with Ctrl or Shift takes one away; pointing lights it.

import { make, seriesName } from './dom.js';
import { short } from './numbers.js';
import { colours } from './colours.js';

const SHOWN = 60;

export class Legend {
  #chart;
  #items = [];
  #count = 0;
  #hidden = new Set();

  constructor(chart) {
    this.#chart = chart;
    this.element = make('div', { class: 'legend' });
  }

  /** The series as the graph has them. */
  show(series) {
    this.#hidden = new Set();
    const palette = colours(this.element);
    const item = (each, at) => {
      const swatch = make('span', { class: 'swatch' });
      swatch.style.background = palette[at % palette.length];
      return make('button', {
        'aria-pressed': 'true', onclick: event => this.#click(at, event.ctrlKey || event.metaKey || event.shiftKey),
        onpointerenter: () => { this.#chart.lit = at; }, onpointerleave: () => { this.#chart.lit = null; },
      }, swatch, seriesName(each.labels), make('span', { class: 'last' }, short(Number(each.last.replace('Inf', 'Infinity')))));
    };
    this.#items = series.slice(0, SHOWN).map(item);
    this.element.replaceChildren(...this.#items);
    if (series.length > SHOWN) {
      const all = () => {
        this.#items = series.map(item);
        this.element.replaceChildren(...this.#items);
      };
      this.element.append(make('button', { class: 'quiet', onclick: all }, `Show all ${series.length}`));
    }
    this.#count = series.length;
  }

  #click(at, one) {
    const alone = this.#hidden.size === this.#count - 1 && !this.#hidden.has(at);
    if (one) {
      if (!this.#hidden.delete(at)) this.#hidden.add(at);
    } else {
      this.#hidden = new Set(alone ? [] : [...Array(this.#count).keys()].filter(each => each !== at));
    }
    this.#items.forEach((item, n) => item.setAttribute('aria-pressed', String(!this.#hidden.has(n))));
    this.#chart.hidden = this.#hidden;
  }
}
