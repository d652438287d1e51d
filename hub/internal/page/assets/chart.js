// A line chart of numbers over time, drawn as SVG.

import { h, s } from './dom.js';

const maxSeries = 8; // as many as there are colours
const maxPoints = 600; // of a series
const span = 5 * 60 * 1000; // milliseconds that are shown at the most
const height = 240;
const margin = { left: 56, right: 12, top: 10, bottom: 22 };

export class Chart {
  constructor() {
    this.series = new Map();
    this.hidden = new Set();
    this.left = 0; // series beyond the colours
    this.svg = s('svg', { role: 'img', 'aria-label': 'Chart of the numbers in the events' });
    this.legend = h('div', { class: 'legend' });
    this.note = h('p', { class: 'quiet small' });
    this.element = h('div', { class: 'chart' }, this.svg, this.legend, this.note);
    this.svg.addEventListener('pointermove', (event) => this.hover(event.offsetX));
    this.svg.addEventListener('pointerleave', () => this.hover(null));
    this.draw();
  }

  clear() {
    this.series.clear();
    this.hidden.clear();
    this.left = 0;
    this.draw();
  }

  add(name, time, value) {
    if (!Number.isFinite(value) || !Number.isFinite(time)) return;
    let series = this.series.get(name);
    if (!series) {
      if (this.series.size >= maxSeries) {
        this.left += 1;
        return;
      }
      series = { points: [], colour: this.series.size };
      this.series.set(name, series);
    }
    const { points } = series;
    // Events of several partitions may come a little out of order.
    let at = points.length;
    while (at > 0 && points[at - 1][0] > time) at -= 1;
    points.splice(at, 0, [time, value]);
    if (points.length > maxPoints) points.shift();
  }

  hover(x) {
    this.cursor = x;
    this.draw();
  }

  visible() {
    return [...this.series].filter(([name]) => !this.hidden.has(name));
  }

  draw() {
    const width = Math.max(this.svg.clientWidth, 200);
    this.svg.setAttribute('viewBox', `0 0 ${width} ${height}`);
    this.svg.setAttribute('preserveAspectRatio', 'none');
    let newest = -Infinity;
    for (const [, { points }] of this.series) newest = Math.max(newest, points.at(-1)[0]);
    for (const [, { points }] of this.series) while (points.length > 1 && points[0][0] < newest - span) points.shift();
    const scale = this.scale(width, newest);
    const parts = scale ? [...grid(scale, width), ...this.lines(scale), ...this.marks(scale)] : [empty(width)];
    this.svg.replaceChildren(...parts);
    this.drawLegend(scale);
  }

  scale(width, newest) {
    const points = this.visible().flatMap(([, { points }]) => points);
    if (points.length === 0) return null;
    let [low, high, oldest] = [Infinity, -Infinity, Infinity];
    for (const [time, value] of points) {
      low = Math.min(low, value);
      high = Math.max(high, value);
      oldest = Math.min(oldest, time);
    }
    const ticks = steps(low, high);
    [low, high] = [ticks[0], ticks.at(-1)];
    const duration = Math.max(newest - oldest, 1000);
    return {
      ticks, newest, duration,
      x: (time) => margin.left + ((time - newest + duration) / duration) * (width - margin.left - margin.right),
      y: (value) => height - margin.bottom - ((value - low) / (high - low)) * (height - margin.top - margin.bottom),
    };
  }

  lines(scale) {
    return this.visible().map(([, { points, colour }]) => {
      const text = points.map(([time, value], i) => `${i ? 'L' : 'M'}${scale.x(time).toFixed(1)} ${scale.y(value).toFixed(1)}`).join('');
      const group = s('g', { class: `s${colour}` }, s('path', { d: text }));
      if (points.length < 40) for (const [time, value] of points) group.append(s('circle', { r: 2.2, cx: scale.x(time), cy: scale.y(value) }));
      return group;
    });
  }

  // marks are the points nearest to the pointer.
  marks(scale) {
    if (this.cursor === null || this.cursor === undefined) return [];
    return [s('line', { class: 'cursor', x1: this.cursor, x2: this.cursor, y1: margin.top, y2: height - margin.bottom }),
      ...this.visible().map(([, series]) => {
        const [time, value] = nearest(series.points, scale, this.cursor);
        return s('g', { class: `s${series.colour}` }, s('circle', { r: 4, cx: scale.x(time), cy: scale.y(value) }));
      })];
  }

  drawLegend(scale) {
    const hovered = scale && this.cursor !== null && this.cursor !== undefined;
    this.legend.replaceChildren(...[...this.series].map(([name, series]) => {
      const [, value] = hovered ? nearest(series.points, scale, this.cursor) : series.points.at(-1);
      const text = `${name} ${format(value)}`;
      return h('button', {
        type: 'button', class: `s${series.colour}`, 'aria-pressed': String(!this.hidden.has(name)),
        onclick: () => {
          if (!this.hidden.delete(name)) this.hidden.add(name);
          this.draw();
        },
      }, h('i'), text);
    }));
    const when = hovered ? nearestTime(this.visible(), scale, this.cursor) : null;
    this.note.textContent = when ? new Date(when).toLocaleTimeString()
      : this.left ? `Only the first ${maxSeries} numbers are drawn.` : '';
  }
}

function nearest(points, scale, x) {
  return points.reduce((best, point) => (Math.abs(scale.x(point[0]) - x) < Math.abs(scale.x(best[0]) - x) ? point : best));
}

function nearestTime(visible, scale, x) {
  if (visible.length === 0) return null;
  return nearest(visible.flatMap(([, { points }]) => points), scale, x)[0];
}

// steps are round numbers that hold low and high between them.
function steps(low, high) {
  if (low === high) [low, high] = [low - 1, high + 1];
  const raw = (high - low) / 4;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].map((f) => f * power).find((f) => f >= raw);
  const result = [];
  for (let i = Math.floor(low / step); i <= Math.ceil(high / step); i += 1) result.push(i * step);
  return result;
}

const format = (value) => String(Number(value.toPrecision(5)));

function grid(scale, width) {
  const parts = [];
  for (const tick of scale.ticks) {
    const y = scale.y(tick);
    parts.push(s('line', { class: 'grid', x1: margin.left, x2: width - margin.right, y1: y, y2: y }),
      s('text', { x: margin.left - 6, y: y + 4, 'text-anchor': 'end' }, format(tick)));
  }
  const count = width < 500 ? 2 : 4;
  for (let i = 0; i <= count; i += 1) {
    const time = scale.newest - scale.duration * (1 - i / count);
    const anchor = i === 0 ? 'start' : i === count ? 'end' : 'middle';
    parts.push(s('text', { x: scale.x(time), y: height - 6, 'text-anchor': anchor }, new Date(time).toLocaleTimeString()));
  }
  return parts;
}

function empty(width) {
  return s('text', { x: width / 2, y: height / 2, 'text-anchor': 'middle' }, 'The numbers in JSON events are drawn here.');
}
