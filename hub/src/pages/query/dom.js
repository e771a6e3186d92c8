// Making elements without markup in strings: what comes from outside is text, never HTML.

/** `make('button', {class: 'small', onclick: f}, 'Ask', child, null)`: properties that are functions become listeners. */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === 'function') element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, '');
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children.filter(child => child != null));
  return element;
}

/** A series' name and labels, coloured alike everywhere. */
export function seriesName(labels) {
  const { __name__: name, ...rest } = labels;
  const whole = make('span', { class: 'series' });
  if (name !== undefined) whole.append(make('b', {}, name));
  const entries = Object.entries(rest);
  if (entries.length === 0 && name !== undefined) return whole;
  whole.append('{');
  entries.forEach(([key, value], at) => {
    whole.append(at > 0 ? ', ' : '', make('span', { class: 'key' }, key), '=', make('span', { class: 'value' }, JSON.stringify(value)));
  });
  whole.append('}');
  return whole;
}

/** The same as text. */
export const seriesText = labels => seriesName(labels).textContent;
