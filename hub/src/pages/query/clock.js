// The time that all panels share: how far back, until when, how fine, and how often anew.

import { make } from './dom.js';
import { formatDuration, formatTime, parseDuration, parseTime, RANGES } from './time.js';

const REFRESH = [['Off', 0], ['5s', 5], ['15s', 15], ['1m', 60], ['5m', 300]];

export class Clock {
  #range = make('input', { id: 'range', list: 'ranges', size: 5, 'aria-label': 'Range', spellcheck: 'false', autocomplete: 'off' });
  #end = make('input', { id: 'end', size: 19, placeholder: 'now', 'aria-label': 'End', spellcheck: 'false', autocomplete: 'off' });
  #step = make('input', { id: 'step', size: 5, placeholder: 'auto', 'aria-label': 'Step', spellcheck: 'false', autocomplete: 'off' });
  #utc = make('input', { type: 'checkbox', id: 'utc' });
  #state;
  #changed;
  #now;

  /** `state` has range, end and step; `changed()` is called when the person has changed one; `now()` in seconds. */
  constructor(state, { changed, refresh, now }) {
    this.#now = now;
    this.#changed = changed;
    this.#utc.checked = stored('branchline.utc') === 'true';
    this.#utc.addEventListener('change', () => {
      store('branchline.utc', this.#utc.checked);
      this.show(this.#state);
      changed();
    });
    this.#reads(this.#range, parseDuration, value => value > 0 && (this.#state.range = value), 'a duration like 30m or 1h30m');
    this.#reads(this.#end, text => (text.trim() ? parseTime(text, this.utc) : null), value => { this.#state.end = value; }, 'a time like 2026-11-30 10:42, or nothing for now');
    this.#reads(this.#step, text => (/^(auto)?$/.test(text.trim()) ? null : parseDuration(text)), value => value !== 0 && (this.#state.step = value), 'a duration like 15s, or nothing for auto');
    const button = (text, title, act) => make('button', { type: 'button', title, 'aria-label': title, onclick: act }, text);
    this.element = make('form', { class: 'clock', onsubmit: event => event.preventDefault() },
      make('div', { class: 'joined' }, button('−', 'Half the range', () => this.#grow(-1)), this.#range, button('+', 'Double the range', () => this.#grow(1))),
      make('datalist', { id: 'ranges' }, ...RANGES.map(value => make('option', { value }))),
      make('div', { class: 'joined' }, button('‹', 'Earlier (Alt+PageUp)', () => this.shift(-1)), this.#end, button('›', 'Later (Alt+PageDown)', () => this.shift(1)), button('Now', 'Until now', () => this.#set({ end: null }))),
      make('label', {}, 'Step ', this.#step), make('label', { title: 'Times as UTC' }, this.#utc, ' UTC'),
      make('label', {}, 'Refresh ', make('select', { id: 'refresh', onchange: event => refresh(Number(event.target.value)) },
        ...REFRESH.map(([text, value]) => make('option', { value }, text)))));
    this.show(state);
  }

  get utc() {
    return this.#utc.checked;
  }

  show(state) {
    this.#state = state;
    this.#range.value = formatDuration(state.range);
    this.#end.value = state.end === null ? '' : formatTime(state.end, this.utc);
    this.#step.value = state.step === null ? '' : formatDuration(state.step);
    for (const field of [this.#range, this.#end, this.#step]) field.setCustomValidity('');
  }

  /** Half a range back or forth. Later than now is now. */
  shift(by) {
    const now = this.#now(), end = (this.#state.end ?? now) + by * this.#state.range / 2;
    this.#set({ end: end >= now ? null : Math.round(end) });
  }

  /** A part of the time; twice as much without one. */
  zoom(start, end) {
    if (start === null) return this.#grow(1);
    this.#set({ range: Math.max(1, Math.round(end - start)), end: Math.round(end) });
  }

  #grow(by) {
    const known = RANGES.map(parseDuration), { range } = this.#state;
    const next = by > 0 ? known.find(each => each > range) : known.findLast(each => each < range);
    this.#set({ range: next ?? (by > 0 ? range * 2 : Math.max(1, range / 2)) });
  }

  #set(change) {
    Object.assign(this.#state, change);
    this.show(this.#state);
    this.#changed();
  }

  /** A field that is read when left or entered; what cannot be read is said there and changes nothing. */
  #reads(field, parse, take, wanted) {
    field.addEventListener('change', () => {
      const value = parse(field.value);
      const good = !Number.isNaN(value) && take(value) !== false;
      field.setCustomValidity(good ? '' : `This is no ${wanted.replace(/^a /, '')}`);
      if (!good) return field.reportValidity();
      this.show(this.#state);
      this.#changed();
    });
    field.addEventListener('input', () => field.setCustomValidity(''));
  }
}

function stored(key) {
  try {
    return localStorage.getItem(key);
  } catch {
    return null;
  }
}

function store(key, value) {
  try {
    localStorage.setItem(key, value);
  } catch {
    // Then it holds for this page only.
  }
}
