// The expressions that were run in this browser, the last first. They stay on this machine.

const KEY = 'branchline.expressions';
const KEPT_MAX = 200;

/** All, the last first. */
export function expressions() {
  try {
    const all = JSON.parse(localStorage.getItem(KEY) ?? '[]');
    return Array.isArray(all) ? all.filter(each => typeof each === 'string') : [];
  } catch {
    return [];
  }
}

/** Puts one first; it stands there once. */
export function remember(expr) {
  const all = [expr, ...expressions().filter(each => each !== expr)].slice(0, KEPT_MAX);
  try {
    localStorage.setItem(KEY, JSON.stringify(all));
  } catch {
    // No room, or the browser keeps nothing: then there is no history.
  }
}

/** Forgets all. */
export function forget() {
  try {
    localStorage.removeItem(KEY);
  } catch {
    // Nothing was kept.
  }
}
