// The query page: panels that share one time, and an address that always says what is shown.

import { Clock } from './clock.js';
import { Completer } from './complete.js';
import { make } from './dom.js';
import { Panel } from './panel.js';
import { newPanel, readState, writeState } from './state.js';

const root = document.getElementById('query');
// Now is the hub's, whose data it is: a browser's clock may be minutes off. Below three seconds that is the way of the page.
const ahead = Number(root.dataset.now) - Date.now() / 1000;
const now = () => Date.now() / 1000 + (Math.abs(ahead) > 3 ? ahead : 0);
let state = readState(location.search);
let panels = [];
let timer = null;

const list = make('div', { class: 'panels' });
const clock = new Clock(state, { changed: () => { changed(); runAll(); }, refresh, now });
const page = {
  completer: new Completer(() => { const { end, range } = time(); return [end - range, end]; }),
  time,
  changed,
  remove,
  zoom: (...range) => clock.zoom(...range),
  get utc() { return clock.utc; },
};
const copy = make('button', { class: 'quiet', title: 'Copy the address of what is shown', onclick: copyLink }, 'Copy link');
root.append(
  make('div', { class: 'toolbar' }, clock.element, copy, make('button', { class: 'quiet', title: 'Keys (?)', onclick: () => help.showModal() }, 'Keys')),
  list,
  make('button', { class: 'add', title: 'Alt+Enter', onclick: () => add().focus() }, '+ Add a query'));
const help = document.getElementById('keys');

function time() {
  return { end: state.end ?? now(), range: state.range, step: state.step };
}

/** Notes in the address what is shown, as a new entry of the browser's history when it is something else. */
function changed() {
  state.panels = panels.map(panel => panel.state);
  const address = writeState(state);
  if (address !== location.search) history.pushState(null, '', address);
  title();
}

function title() {
  const first = state.panels.map(panel => panel.expr).find(Boolean);
  document.title = `${first ?? 'Query'} · Branchline`;
}

function runAll() {
  return Promise.all(panels.map(panel => panel.run()));
}

function add(of = newPanel()) {
  const panel = new Panel(page, of);
  panels.push(panel);
  list.append(panel.element);
  panel.run();
  return panel;
}

function remove(panel) {
  panel.stop();
  panel.element.remove();
  panels = panels.filter(each => each !== panel);
  if (panels.length === 0) add();
  changed();
}

/** Shows the state of the address: at the start, and when the browser goes back or forth. */
function open() {
  state = readState(location.search);
  clock.show(state);
  for (const panel of panels) panel.stop();
  panels = [];
  list.replaceChildren();
  for (const each of state.panels) add(each);
  title();
}

function refresh(seconds) {
  clearInterval(timer);
  // A page that nobody sees asks nothing.
  if (seconds > 0) timer = setInterval(() => { if (!document.hidden && state.end === null) runAll(); }, seconds * 1000);
}

async function copyLink() {
  changed();
  try {
    await navigator.clipboard.writeText(location.href);
    copy.textContent = 'Copied';
  } catch {
    // Without TLS a browser gives no clipboard away: the address bar has it.
    copy.textContent = 'It stands in the address bar';
  }
  setTimeout(() => { copy.textContent = 'Copy link'; }, 2000);
}

const typing = element => /^(INPUT|TEXTAREA|SELECT)$/.test(element.tagName);

addEventListener('popstate', open);
addEventListener('theme', runAll);
addEventListener('keydown', event => {
  if (event.altKey && event.key === 'Enter') add().focus();
  else if (event.altKey && event.key === 'PageUp') clock.shift(-1);
  else if (event.altKey && event.key === 'PageDown') clock.shift(1);
  else if (!typing(event.target) && event.key === '/') panels[0].focus();
  else if (!typing(event.target) && event.key === '?') help.showModal();
  else return;
  event.preventDefault();
});

open();
if (!state.panels[0].expr) panels[0].focus();
