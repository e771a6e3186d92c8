// A graph on a canvas: lines with their gaps, axes, a crosshair that names the nearest line, a drag that zooms.

import { formatClock, formatDay, formatTime, zoneOffset } from './time.js';
import { make, seriesName } from './dom.js';
import { number, short, ticks } from './numbers.js';
import { colours } from './colours.js';
import { drawGaps, gapsAt } from './missing.js';

const HEIGHT = 320;
const PAD = { top: 12, right: 12, bottom: 26 };
const TIME_STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 604800, 1209600, 2592000];

export class Chart {
  #canvas;
  #layer = make('canvas');
  #stale = true;
  #tip;
  #series = [];
  #lines = [];
  #frame = null;
  #grid = { start: 0, end: 1, step: 1 };
  #options = { stacked: false, utc: false };
  #hidden = new Set();
  #gaps = [];
  #lit = null;
  #cursor = null;
  #drag = null;
  #onZoom;
  #plot = null;

  /** `onZoom(start, end)` when a part of the time was chosen, `onZoom(null)` to see twice as much. */
  constructor({ onZoom }) {
    this.#onZoom = onZoom;
    this.#canvas = make('canvas', {
      role: 'img', onpointermove: event => this.#move(event), onpointerleave: () => this.#leave(),
      onpointerdown: event => this.#press(event), onpointerup: event => this.#release(event),
      onpointercancel: () => this.#leave(), ondblclick: () => this.#onZoom(null),
    });
    this.#tip = make('div', { class: 'tip', hidden: true });
    this.element = make('div', { class: 'chart' }, this.#canvas, this.#tip);
    new ResizeObserver(() => this.draw()).observe(this.element);
  }

  /** Series are {labels, points: Map of time to number}; `grid` is {start, end, step} in seconds. */
  show(series, grid, options) {
    this.#series = series;
    this.#grid = grid;
    this.#options = options;
    this.#hidden.clear();
    this.#lit = null;
    const about = `${series.length} series from ${formatTime(grid.start, options.utc)} to ${formatTime(grid.end, options.utc)}`;
    this.#canvas.setAttribute('aria-label', about);
    this.#prepare();
    this.draw();
  }

  /** Where data of branches is missing, as missing.js has it: shown below the time, and told at the pointer. */
  set gaps(gaps) {
    this.#gaps = gaps;
    this.#redraw();
  }

  /** Which series are not drawn, by their numbers. */
  set hidden(numbers) {
    this.#hidden = numbers;
    this.#prepare();
    this.draw();
  }

  /** The series that stands out, by its number, or null. */
  set lit(number) {
    if (this.#lit === number) return;
    this.#lit = number;
    this.#redraw();
  }

  /** Draws all of it before the next frame, however often that is asked for. */
  draw() {
    this.#stale = true;
    this.#redraw();
  }

  /** Only what follows the pointer; the lines are kept as they were drawn. */
  #redraw() {
    this.#frame ??= requestAnimationFrame(() => {
      this.#frame = null;
      this.#drawNow();
    });
  }

  #drawNow() {
    const width = this.element.clientWidth, ratio = window.devicePixelRatio || 1;
    if (width === 0) return;
    const style = getComputedStyle(this.#canvas), palette = colours(this.element);
    if (this.#stale) this.#drawLines(width, ratio, style, palette);
    const ink = pen(this.#canvas, width, ratio, style), plot = this.#plot;
    this.#axes(ink, plot, style);
    drawGaps(ink, plot, this.#gaps, HEIGHT - PAD.bottom);
    const lit = this.#lines.find(line => line.at === this.#lit);
    ink.globalAlpha = lit ? 0.22 : 1;
    ink.drawImage(this.#layer, 0, 0, width, HEIGHT);
    ink.globalAlpha = 1;
    if (lit) this.#line(ink, plot, lit, palette[lit.at % palette.length]);
    this.#crosshair(ink, plot, style);
  }

  /** The lines, on a layer of their own: drawing them all is what takes time. */
  #drawLines(width, ratio, style, palette) {
    this.#stale = false;
    const ink = pen(this.#layer, width, ratio, style);
    const plot = this.#plot = this.#scale(this.#lines, width, ink);
    ink.save();
    ink.beginPath();
    ink.rect(plot.left - 1, PAD.top - 2, plot.right - plot.left + 2, plot.bottom - PAD.top + 4);
    ink.clip();
    for (const line of this.#lines) this.#line(ink, plot, line, palette[line.at % palette.length]);
    ink.restore();
  }

  /** Finds what is drawn: {at, times, own, values, floor} of each series that is not hidden; stacked ones stand on one another. */
  #prepare() {
    const { start, end, step } = this.#grid;
    const steps = Math.round((end - start) / step) + 1;
    const times = Array.from({ length: steps }, (_, n) => start + n * step);
    const sums = times.map(() => 0);
    this.#lines = this.#series.flatMap((series, at) => {
      if (this.#hidden.has(at)) return [];
      const own = times.map(time => series.points.get(Math.round(time * 1000)) ?? null);
      if (!this.#options.stacked) return [{ at, times, own, values: own, floor: null }];
      const floor = [...sums];
      const values = own.map((value, n) => (Number.isFinite(value) && value !== null ? (sums[n] += value) : null));
      return [{ at, times, own, values, floor }];
    });
  }

  #scale(lines, width, ink) {
    let low = Infinity, high = -Infinity;
    for (const { values, floor } of lines) {
      values.forEach((value, n) => {
        if (value === null || !Number.isFinite(value)) return;
        low = Math.min(low, value, floor ? floor[n] : value);
        high = Math.max(high, value, floor ? floor[n] : value);
      });
    }
    if (low > high) [low, high] = [0, 1];
    // A hair below zero is no reason for a mark below it.
    if (low < 0 && -low < 0.002 * high) low = 0;
    // A line that hardly moves stays a line; zero is shown where it is near.
    if (low > 0 && low < 0.35 * high) low = 0;
    if (low === high) [low, high] = low === 0 ? [0, 1] : [Math.min(0, low), Math.max(0, high)];
    const marks = ticks(low, high, 5);
    [low, high] = [marks[0], marks.at(-1)];
    const left = Math.max(...marks.map(mark => ink.measureText(short(mark)).width)) + 14;
    const right = width - PAD.right, bottom = HEIGHT - PAD.bottom;
    const { start, end } = this.#grid, span = end - start || 1;
    return {
      left, right, bottom, marks,
      x: time => left + ((time - start) / span) * (right - left),
      y: value => bottom - ((value - low) / (high - low)) * (bottom - PAD.top),
      time: x => start + ((x - left) / (right - left)) * span,
    };
  }

  #axes(ink, { left, right, bottom, marks, x, y }, style) {
    const { start, end } = this.#grid, { utc } = this.#options;
    ink.fillStyle = style.color;
    ink.strokeStyle = style.borderTopColor;
    ink.lineWidth = 1;
    ink.textBaseline = 'middle';
    ink.textAlign = 'right';
    for (const mark of marks) {
      rule(ink, left, Math.round(y(mark)) + 0.5, right, Math.round(y(mark)) + 0.5);
      ink.fillText(short(mark), left - 8, y(mark));
    }
    const wish = (end - start) / Math.max((right - left) / 90, 1);
    const step = TIME_STEPS.find(each => each >= wish) ?? wish;
    const zone = zoneOffset(start, utc);
    ink.textAlign = 'center';
    ink.textBaseline = 'top';
    for (let at = Math.ceil((start + zone) / step) * step - zone; at <= end; at += step) {
      rule(ink, Math.round(x(at)) + 0.5, PAD.top, Math.round(x(at)) + 0.5, bottom);
      const day = step >= 86400 || (at + zone) % 86400 === 0;
      ink.fillText(day ? formatDay(at, utc).slice(5) : formatClock(at, utc).slice(0, step < 60 ? 8 : 5), x(at), bottom + 8);
    }
  }

  #line(ink, { x, y }, { at, times, values, floor }, colour) {
    ink.strokeStyle = ink.fillStyle = colour;
    ink.lineWidth = this.#lit === at ? 2.5 : 1.5;
    ink.lineJoin = 'round';
    for (const [from, to] of runs(values)) {
      const path = new Path2D();
      for (let n = from; n < to; n++) path.lineTo(x(times[n]), y(values[n]));
      if (floor) {
        const area = new Path2D(path);
        for (let n = to - 1; n >= from; n--) area.lineTo(x(times[n]), y(floor[n]));
        ink.globalAlpha = 0.35;
        ink.fill(area);
        ink.globalAlpha = 1;
      }
      // A point between two gaps has no length as a line.
      if (to - from === 1) ink.fillRect(x(times[from]) - 1.5, y(values[from]) - 1.5, 3, 3);
      else ink.stroke(path);
    }
  }

  #crosshair(ink, { bottom, x, y }, style) {
    ink.fillStyle = ink.strokeStyle = style.color;
    if (this.#drag) {
      ink.globalAlpha = 0.15;
      ink.fillRect(this.#drag.from, PAD.top, this.#drag.to - this.#drag.from, bottom - PAD.top);
      ink.globalAlpha = 1;
    } else if (this.#cursor) {
      ink.globalAlpha = 0.5;
      rule(ink, Math.round(x(this.#cursor.time)) + 0.5, PAD.top, Math.round(x(this.#cursor.time)) + 0.5, bottom);
      ink.globalAlpha = 1;
      ink.beginPath();
      ink.arc(x(this.#cursor.time), y(this.#cursor.value), 4, 0, 2 * Math.PI);
      ink.fill();
    }
    ink.globalAlpha = 1;
    this.#canvas.style.cursor = this.#drag ? 'col-resize' : 'crosshair';
  }

  #move(event) {
    const { offsetX, offsetY } = event;
    if (this.#drag) {
      this.#drag.to = Math.min(Math.max(offsetX, this.#plot.left), this.#plot.right);
      return this.#redraw();
    }
    this.#cursor = this.#nearest(offsetX, offsetY);
    this.#lit = this.#cursor?.at ?? null;
    this.#redraw();
    this.#tell(offsetX, offsetY);
  }

  /** The drawn point that is nearest, of the step below the pointer. */
  #nearest(x, y) {
    const { start, end, step } = this.#grid;
    const steps = Math.round((end - start) / step);
    const n = Math.min(Math.max(Math.round((this.#plot.time(x) - start) / step), 0), steps);
    let nearest = null;
    for (const { at, times, own, values } of this.#lines) {
      if (values[n] === null || !Number.isFinite(values[n])) continue;
      const away = Math.abs(this.#plot.y(values[n]) - y);
      if (!nearest || away < nearest.away) nearest = { at, time: times[n], value: values[n], own: own[n], away };
    }
    return nearest;
  }

  #tell(x, y) {
    const missing = gapsAt(this.#gaps, this.#plot.time(x)).map(text => make('div', { class: 'unknown' }, text));
    this.#tip.hidden = !this.#cursor && missing.length === 0;
    if (this.#tip.hidden) return;
    const said = [make('div', { class: 'note' }, formatTime(this.#cursor?.time ?? this.#plot.time(x), this.#options.utc))];
    if (this.#cursor) {
      const { at, own } = this.#cursor, palette = colours(this.element);
      const swatch = make('span', { class: 'swatch' });
      swatch.style.background = palette[at % palette.length];
      said.push(make('div', {}, swatch, make('b', {}, number(String(own)))), seriesName(this.#series[at].labels));
    }
    this.#tip.replaceChildren(...said, ...missing);
    const { offsetWidth: wide, offsetHeight: high } = this.#tip, room = this.element.clientWidth;
    this.#tip.style.left = `${x + 16 + wide < room ? x + 16 : Math.max(0, x - wide - 16)}px`;
    this.#tip.style.top = `${Math.max(0, Math.min(y - high / 2, HEIGHT - high))}px`;
  }

  #leave() {
    this.#cursor = this.#drag = null;
    this.#lit = null;
    this.#tip.hidden = true;
    this.#redraw();
  }

  #press(event) {
    if (event.button !== 0 || !this.#plot) return;
    this.#canvas.setPointerCapture(event.pointerId);
    this.#drag = { from: event.offsetX, to: event.offsetX };
    this.#tip.hidden = true;
  }

  #release(event) {
    const drag = this.#drag;
    this.#drag = null;
    // A click is no drag.
    if (!drag || Math.abs(drag.to - drag.from) <= 5) return this.#move(event);
    this.#onZoom(...[drag.from, drag.to].sort((a, b) => a - b).map(x => this.#plot.time(x)));
    this.#redraw();
  }
}

/** A canvas of that size, empty, and what draws on it. */
function pen(canvas, width, ratio, style) {
  const [wide, high] = [Math.round(width * ratio), Math.round(HEIGHT * ratio)];
  if (canvas.width !== wide || canvas.height !== high) Object.assign(canvas, { width: wide, height: high });
  const ink = canvas.getContext('2d');
  ink.setTransform(ratio, 0, 0, ratio, 0, 0);
  ink.clearRect(0, 0, width, HEIGHT);
  ink.font = `11px ${style.fontFamily}`;
  return ink;
}

function rule(ink, x0, y0, x1, y1) {
  ink.beginPath();
  ink.moveTo(x0, y0);
  ink.lineTo(x1, y1);
  ink.stroke();
}

/** [from, to) of every stretch without a gap. */
function runs(values) {
  const found = [];
  values.forEach((value, n) => {
    if (value === null || !Number.isFinite(value)) return;
    if (found.length > 0 && found.at(-1)[1] === n) found.at(-1)[1]++;
    else found.push([n, n + 1]);
  });
  return found;
}
