// Live telemetry: what arrives, and a chart of the numbers in it.

import { h, errorBox, pretty } from './dom.js';
import { Chart } from './chart.js';

const kept = 200; // events in the list
const maxText = 4000; // characters of one that are shown

export function telemetryView(api, device) {
  const list = h('ul');
  const problem = errorBox();
  const state = h('span', { class: 'state' }, 'Connecting');
  const count = h('span', { class: 'quiet small' });
  const pause = h('button', { type: 'button', 'aria-pressed': 'false' }, 'Pause');
  const clear = h('button', { type: 'button' }, 'Clear');
  const chart = new Chart();
  let waiting = []; // arrived, not drawn yet
  let total = 0;
  let paused = false;

  pause.addEventListener('click', () => {
    paused = !paused;
    pause.setAttribute('aria-pressed', String(paused));
    pause.textContent = paused ? 'Go on' : 'Pause';
  });
  clear.addEventListener('click', () => {
    waiting = [];
    list.replaceChildren();
    chart.clear();
  });

  function arrived(event) {
    total += 1;
    const text = bodyText(event);
    const value = parse(text);
    if (value !== undefined) {
      const prefix = device ? '' : `${event.deviceId} `;
      for (const [name, number] of numbers(value)) chart.add(prefix + name, Date.parse(event.enqueuedTime), number);
    }
    waiting.push({ event, text: value === undefined ? text : pretty(value) });
    if (waiting.length > kept) waiting.shift();
  }

  function draw() {
    count.textContent = total === 1 ? '1 event' : `${total} events`;
    if (paused) return;
    list.prepend(...waiting.reverse().map(eventItem));
    waiting = [];
    while (list.childElementCount > kept) list.lastElementChild.remove();
    chart.draw();
  }

  return {
    element: h('div', {},
      h('section', { class: 'card' },
        h('div', { class: 'row spread' }, h('h2', {}, device ? 'Telemetry' : 'Live telemetry'), h('div', { class: 'row' }, count, state, pause, clear)),
        problem, chart.element),
      h('section', { class: 'card' }, h('h3', {}, 'Events'),
        h('div', { class: 'events', tabindex: '0', 'aria-label': 'Events, the newest first' }, list))),
    start(signal) {
      const timer = setInterval(draw, 500); // however many arrive, the page is drawn twice a second
      signal.addEventListener('abort', () => clearInterval(timer));
      follow(signal);
    },
  };

  async function follow(signal) {
    for (let wait = 500; !signal.aborted; wait = Math.min(wait * 2, 10000)) {
      try {
        state.className = 'state on';
        state.textContent = 'Live';
        await api.events(device, signal, (event) => {
          wait = 500;
          problem.textContent = '';
          arrived(event);
        });
      } catch (error) {
        if (signal.aborted) return;
        problem.textContent = error.message;
      }
      state.className = 'state';
      state.textContent = 'Reconnecting';
      await new Promise((resolve) => { setTimeout(resolve, wait); });
    }
  }
}

function eventItem({ event, text }) {
  const from = event.moduleId ? `${event.deviceId}/${event.moduleId}` : event.deviceId;
  const properties = Object.entries(event.properties || {}).map(([k, v]) => `${k}=${v}`).join('  ');
  return h('li', {},
    h('div', { class: 'row spread small' },
      h('span', {}, h('a', { href: `#/device/${encodeURIComponent(event.deviceId)}/telemetry` }, from)),
      h('span', { class: 'quiet' }, `${new Date(event.enqueuedTime).toLocaleTimeString()} · partition ${event.partition} · ${event.sequenceNumber}`)),
    properties ? h('div', { class: 'quiet small mono' }, properties) : null,
    h('pre', {}, text.length > maxText ? `${text.slice(0, maxText)} …` : text));
}

function bodyText(event) {
  const bytes = Uint8Array.from(atob(event.body || ''), (c) => c.charCodeAt(0));
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    const hex = [...bytes.slice(0, 256)].map((b) => b.toString(16).padStart(2, '0')).join(' ');
    return bytes.length > 256 ? `${hex} … (${bytes.length} bytes)` : hex;
  }
}

function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

// numbers finds the numbers in a value, by their path, three levels deep.
function* numbers(value, path = '', depth = 0) {
  if (typeof value === 'number') yield [path || 'value', value];
  else if (value !== null && typeof value === 'object' && !Array.isArray(value) && depth < 3) {
    for (const [key, inner] of Object.entries(value)) yield* numbers(inner, path ? `${path}.${key}` : key, depth + 1);
  }
}
