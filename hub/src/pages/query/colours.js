// The colours of lines: apart from one another for most eyes, and for light and dark paper each their own.

const LIGHT = ['#1f6feb', '#d1570a', '#1a7f37', '#b3267a', '#7d5bd0', '#8a6a00', '#087e8b', '#c0272d', '#5c6b7a', '#4b7a06'];
const DARK = ['#58a6ff', '#ffa657', '#56d364', '#ff7bbf', '#b392f0', '#e3b341', '#39c5cf', '#ff7b72', '#a5b3c2', '#a2d149'];

/** The list that suits the paper below an element. */
export function colours(element) {
  const [red, green, blue] = getComputedStyle(element).color.match(/[\d.]+/g).map(Number);
  // Light ink means dark paper.
  return red + green + blue > 384 ? DARK : LIGHT;
}
