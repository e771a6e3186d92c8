// Numbers for people: short on an axis, whole in a table.

const PREFIXES = [[1e24, 'Y'], [1e21, 'Z'], [1e18, 'E'], [1e15, 'P'], [1e12, 'T'], [1e9, 'G'], [1e6, 'M'], [1e3, 'k']];

/** `1.5k`, `20m`, `1e-9`: at most four digits. */
export function short(value) {
  const size = Math.abs(value);
  if (!Number.isFinite(value) || value === 0) return String(value).replace('Infinity', 'Inf');
  if (size < 1e-3 || size >= 1e27) return value.toExponential(2).replace(/\.?0+e/, 'e').replace('e+', 'e');
  if (size < 1e4) return trimmed(value);
  const [scale, prefix] = PREFIXES.find(([scale]) => size >= scale);
  return trimmed(value / scale) + prefix;
}

const trimmed = value => String(Number(value.toPrecision(4)));

/** A sample's text as the hub sent it, or a shorter one that is the same number. */
export const number = text => (/^[+-]?(Inf|NaN)$/.test(text) ? text : Number(text).toString());

/** Round marks between two numbers, about so many: [first, ..., last], from at or below `low` to at or above `high`. */
export function ticks(low, high, count) {
  const span = high - low || Math.abs(high) || 1;
  const rough = span / Math.max(count, 1);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map(n => n * power).find(n => n >= rough * 0.999);
  const first = Math.floor(low / step + 1e-9), last = Math.max(Math.ceil(high / step - 1e-9), first + 1);
  // Products of the step: adding it up would drift.
  return Array.from({ length: last - first + 1 }, (_, n) => Number(((first + n) * step).toPrecision(12)));
}
