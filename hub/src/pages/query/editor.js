// The expression's field: coloured, with mistakes underlined, with completion and history at hand.
//
// A transparent textarea lies over a copy of its text that carries the colours, so that typing, selecting, undo and
// screen readers work as in any field.

import { expressions } from './history.js';
import { make } from './dom.js';
import { coloured, spanAt } from './promql.js';
import { Suggestions } from './suggestions.js';

export class Editor {
  #area;
  #copy;
  #suggestions;
  #marks = [];
  /** Where we are while leafing through the history: null is the text being written. */
  #leaf = null;
  #onRun;

  constructor({ completer, expr, onRun }) {
    this.#onRun = onRun;
    this.#copy = make('pre', { class: 'copy', 'aria-hidden': 'true' });
    this.#area = make('textarea', {
      'aria-label': 'PromQL expression', placeholder: 'Expression: Enter runs it, Ctrl+Space completes, ↑ brings back earlier ones',
      rows: 1, spellcheck: 'false', autocapitalize: 'off', autocomplete: 'off', autocorrect: 'off',
      oninput: event => this.#edited(event), onkeydown: event => this.#key(event),
      onscroll: () => { this.#copy.scrollTop = this.#area.scrollTop; },
    });
    this.element = make('div', { class: 'editor' }, this.#copy, this.#area);
    this.#suggestions = new Suggestions({ area: this.#area, completer, put: (...all) => this.#put(...all) });
    this.element.append(this.#suggestions.element);
    this.text = expr;
  }

  get text() {
    return this.#area.value;
  }

  set text(text) {
    this.#area.value = text;
    this.#marks = [];
    this.#leaf = null;
    this.#show();
  }

  focus() {
    this.#area.focus();
  }

  /** Underlines what the hub complained of: [{position, kind, text}], kind `error` or `warning`. */
  mark(marks) {
    this.#marks = marks.map(({ position, kind, text }) => ({ ...spanAt(this.text, position), kind, text }));
    this.#show();
  }

  #edited(event) {
    this.#marks = [];
    this.#leaf = null;
    this.#show();
    // Pasting brings whole expressions: nothing to complete.
    if (event.inputType !== 'insertFromPaste') this.#suggestions.look();
  }

  #key(event) {
    if (this.#suggestions.key(event)) {
      event.preventDefault();
    } else if (event.key === 'Enter' && !event.shiftKey && !event.altKey) {
      event.preventDefault();
      this.#suggestions.close();
      this.#onRun();
    } else if (event.key === ' ' && event.ctrlKey) {
      event.preventDefault();
      this.#suggestions.look(true);
    } else if (event.key === 'ArrowUp' && !this.#before().includes('\n')) {
      if (this.#turn(1)) event.preventDefault();
    } else if (event.key === 'ArrowDown' && this.#leaf !== null && !this.text.slice(this.#area.selectionEnd).includes('\n')) {
      if (this.#turn(-1)) event.preventDefault();
    }
  }

  #before() {
    return this.text.slice(0, this.#area.selectionStart);
  }

  /** Leafs through the history, older ones for 1, newer ones for -1. */
  #turn(by) {
    const all = expressions();
    const draft = this.#leaf?.draft ?? this.text;
    const at = (this.#leaf?.at ?? (all[0] === this.text ? 0 : -1)) + by;
    if (at >= all.length || at < -1) return false;
    const text = at < 0 ? draft : all[at];
    this.text = text;
    this.#leaf = at < 0 ? null : { at, draft };
    this.#area.setSelectionRange(text.length, text.length);
    return true;
  }

  /** Replaces what is typed by an offer; `after` is put behind the cursor unless it is there. */
  #put(from, to, text, after) {
    const area = this.#area;
    area.setSelectionRange(from, to);
    // The one way that keeps the field's undo.
    if (!document.execCommand('insertText', false, text)) area.setRangeText(text, from, to, 'end');
    if (after && !area.value.startsWith(after, area.selectionEnd)) area.setRangeText(after, area.selectionEnd, area.selectionEnd, 'start');
    this.#marks = [];
    this.#show();
  }

  #show() {
    const text = this.text;
    this.#copy.replaceChildren(...pieces(text, this.#marks));
    // Something after a last line break, or it has no height.
    this.#copy.append(text.endsWith('\n') || text === '' ? '\u200b' : '');
    this.#area.title = this.#marks.map(mark => mark.text).join('\n');
  }
}

/** Coloured spans, cut where marks begin and end. */
function pieces(text, marks) {
  const end = Math.max(text.length, ...marks.map(mark => mark.to));
  // A mark behind the end needs something to stand under.
  const cuts = [...coloured(text), ...(end > text.length ? [{ kind: 'space', text: ' ', from: text.length, to: end }] : [])];
  return cuts.flatMap(({ kind, text: piece, from, to }) => {
    const inside = marks.flatMap(mark => [mark.from, mark.to]).filter(at => from < at && at < to);
    const bounds = [from, ...new Set(inside.sort((a, b) => a - b)), to];
    return bounds.slice(1).map((until, n) => {
      const mark = marks.find(each => each.from < until && bounds[n] < each.to);
      return make('span', { class: mark ? `${kind} marked-${mark.kind}` : kind }, piece.slice(bounds[n] - from, until - from));
    });
  });
}
