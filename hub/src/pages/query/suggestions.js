// The list of offers below the field: opened while typing, walked with the arrows, taken with Enter or Tab.

import { make } from './dom.js';

let lists = 0;

export class Suggestions {
  #area;
  #completer;
  #put;
  #list;
  #help;
  #offers = null;
  #chosen = 0;
  /** Counts looks: what a later one has overtaken is not shown. */
  #look = 0;

  /** `put(from, to, text, after)` changes the field. */
  constructor({ area, completer, put }) {
    this.#area = area;
    this.#completer = completer;
    this.#put = put;
    this.#list = make('ul', { id: `offers-${++lists}`, role: 'listbox', 'aria-label': 'Completions' });
    this.#help = make('div', { class: 'help' });
    this.element = make('div', { class: 'offers', hidden: true }, this.#list, this.#help);
    for (const [name, value] of [['role', 'combobox'], ['aria-autocomplete', 'list'], ['aria-controls', this.#list.id], ['aria-expanded', 'false']]) {
      area.setAttribute(name, value);
    }
    area.addEventListener('blur', () => this.close());
    area.addEventListener('click', () => this.close());
  }

  /** Asks what fits at the cursor, and shows it; `asked` by the person, not only because of what was typed. */
  async look(asked = false) {
    const look = ++this.#look;
    const cursor = this.#area.selectionStart;
    let found = null;
    try {
      found = await this.#completer.at(this.#area.value, cursor, asked);
    } catch {
      // Completion is a help: the query itself will say what is wrong with the hub.
    }
    if (look !== this.#look) return;
    if (!found || found.options.length === 0 || document.activeElement !== this.#area) return this.close();
    this.#offers = { ...found, cursor };
    this.#show();
  }

  close() {
    this.#look++;
    this.#offers = null;
    this.element.hidden = true;
    this.#area.setAttribute('aria-expanded', 'false');
    this.#area.removeAttribute('aria-activedescendant');
  }

  /** Whether the key was for the list. */
  key(event) {
    const keys = { ArrowDown: 1, ArrowUp: -1, PageDown: 8, PageUp: -8 };
    if (!this.#offers || event.ctrlKey || event.altKey || event.metaKey) return false;
    const { options, typed, cursor } = this.#offers;
    if (event.key in keys) {
      const by = keys[event.key], last = options.length - 1;
      const wrapped = Math.abs(by) === 1 ? (this.#chosen + by + options.length) % options.length : this.#chosen + by;
      this.#choose(Math.max(0, Math.min(last, wrapped)));
      return true;
    }
    if (event.key === 'Escape') {
      this.close();
      return true;
    }
    // Enter after a word that is whole already runs the query.
    const whole = options[this.#chosen].text === typed;
    if ((event.key === 'Enter' && !event.shiftKey && !whole) || event.key === 'Tab') {
      if (this.#area.selectionStart === cursor) this.#take(options[this.#chosen]);
      return true;
    }
    if (['ArrowLeft', 'ArrowRight', 'Home', 'End'].includes(event.key)) this.close();
    return false;
  }

  #take({ text, after }) {
    const { from, cursor } = this.#offers;
    this.close();
    this.#put(from, cursor, text, after);
  }

  #show() {
    const { options, typed } = this.#offers;
    this.#list.replaceChildren(...options.map((option, at) => make('li', {
      role: 'option', id: `${this.#list.id}-${at}`,
      // The field keeps the focus.
      onmousedown: event => { event.preventDefault(); this.#take(option); },
      onmouseenter: () => this.#choose(at, false),
    }, make('i', { class: option.kind, title: option.kind }), ...lit(option.label ?? option.text, typed), make('small', {}, option.detail ?? option.kind))));
    this.element.hidden = false;
    this.#area.setAttribute('aria-expanded', 'true');
    this.#choose(0);
  }

  #choose(at, scroll = true) {
    this.#list.children[this.#chosen]?.removeAttribute('aria-selected');
    this.#chosen = at;
    const item = this.#list.children[at], option = this.#offers.options[at];
    item.setAttribute('aria-selected', 'true');
    if (scroll) item.scrollIntoView({ block: 'nearest' });
    this.#area.setAttribute('aria-activedescendant', item.id);
    this.#help.hidden = !option.help;
    this.#help.replaceChildren(...(option.signature ? [make('code', {}, option.signature)] : []), option.help ?? '');
  }
}

/** The name with what is typed in it lit. */
function lit(name, typed) {
  const at = typed ? name.toLowerCase().indexOf(typed.toLowerCase()) : -1;
  if (at < 0) return [make('span', {}, name)];
  const end = at + typed.length;
  return [make('span', {}, name.slice(0, at), make('mark', {}, name.slice(at, end)), name.slice(end))];
}
