// Durations as PromQL writes them, times as people write them, and steps that fall on round times.

const UNITS = { ms: 0.001, s: 1, m: 60, h: 3600, d: 86400, w: 604800, y: 31536000 };
const STEPS = [1, 2, 5, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400];

/** The most points of a series that the API answers with. */
export const POINTS_MAX = 11000;
/** What a range grows and shrinks through. */
export const RANGES = ['1m', '5m', '15m', '30m', '1h', '3h', '6h', '12h', '1d', '2d', '1w', '2w', '4w', '12w', '1y'];

/** Seconds of `1h30m` or of a plain number; NaN for anything else. */
export function parseDuration(text) {
  const plain = text.trim();
  if (/^\d+(\.\d+)?$/.test(plain)) return Number(plain);
  if (!/^(\d+(ms|[smhdwy]))+$/.test(plain)) return NaN;
  return [...plain.matchAll(/(\d+)(ms|[smhdwy])/g)].reduce((sum, [, n, unit]) => sum + n * UNITS[unit], 0);
}

/** Seconds as PromQL writes them: `1h30m`. */
export function formatDuration(seconds) {
  let rest = Math.round(seconds * 1000) / 1000, text = '';
  for (const unit of ['w', 'd', 'h', 'm', 's']) {
    const n = Math.floor(rest / UNITS[unit]);
    // A week only when nothing is left of it: 8d reads better than 1w1d.
    if (n === 0 || (unit === 'w' && rest % UNITS.w !== 0)) continue;
    text += n + unit;
    rest -= n * UNITS[unit];
  }
  const ms = Math.round(rest * 1000);
  return text + (ms > 0 ? ms + 'ms' : '') || '0s';
}

/** A step for a graph of so many pixels: two or three of them a point, and round. */
export function autoStep(range, width) {
  const wish = range / Math.min(Math.max(width / 2.5, 120), 1000);
  return STEPS.find(step => step >= wish) ?? Math.ceil(wish / 86400) * 86400;
}

const two = n => String(n).padStart(2, '0');
const get = (date, part, utc) => date[(utc ? 'getUTC' : 'get') + part]();

/** `2026-11-30 10:42:07` of seconds since 1970. */
export function formatTime(seconds, utc) {
  return formatDay(seconds, utc) + ' ' + formatClock(seconds, utc);
}

/** `2026-11-30`. */
export function formatDay(seconds, utc) {
  const date = new Date(seconds * 1000);
  return `${get(date, 'FullYear', utc)}-${two(get(date, 'Month', utc) + 1)}-${two(get(date, 'Date', utc))}`;
}

/** `10:42:07`, with milliseconds where there are some. */
export function formatClock(seconds, utc) {
  const date = new Date(Math.round(seconds * 1000));
  const ms = date.getMilliseconds();
  const clock = ['Hours', 'Minutes', 'Seconds'].map(part => two(get(date, part, utc))).join(':');
  return ms ? `${clock}.${String(ms).padStart(3, '0')}` : clock;
}

/** Seconds since 1970 of `2026-11-30 10:42:07`, of a part of it, of an RFC 3339 time or of a number; NaN for anything else. */
export function parseTime(text, utc) {
  const plain = text.trim();
  if (/^\d{9,10}(\.\d+)?$/.test(plain)) return Number(plain);
  const parts = /^(\d{4})-(\d\d?)-(\d\d?)(?:[ T](\d\d?):(\d\d)(?::(\d\d(?:\.\d+)?))?(Z|[+-]\d\d:\d\d)?)?$/.exec(plain);
  if (!parts) return NaN;
  if (parts[7]) return Date.parse(plain.replace(' ', 'T')) / 1000;
  const [year, month, day, hour = 0, minute = 0, second = 0] = parts.slice(1, 7).map(part => part && Number(part));
  const from = utc ? Date.UTC : (...all) => new Date(...all).getTime();
  return from(year, month - 1, day, hour, minute) / 1000 + second;
}

/** Seconds of local time ahead of UTC then. */
export const zoneOffset = (seconds, utc) => (utc ? 0 : -new Date(seconds * 1000).getTimezoneOffset() * 60);
