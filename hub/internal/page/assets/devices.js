// The list of devices.

import { h, field, errorBox, busy, notice, time, poll } from './dom.js';

export function devicesView(api) {
  const search = h('input', { type: 'search', 'aria-label': 'Search', placeholder: "Part of an id, or a condition such as tags.room = 'attic'", spellcheck: 'false' });
  const count = h('span', { class: 'quiet small' });
  const body = h('tbody');
  const problem = errorBox();
  let condition = '';
  let refresh = () => {};

  const form = h('form', {
    class: 'row',
    onsubmit: (event) => {
      event.preventDefault();
      condition = search.value.trim();
      refresh();
    },
  }, h('div', { class: 'grow' }, search), h('button', { type: 'submit' }, 'Search'));

  const table = h('div', { class: 'scroll' }, h('table', {},
    h('thead', {}, h('tr', {}, ['Device', 'Connection', 'Status', 'Last activity', 'Messages waiting'].map((c) => h('th', { scope: 'col' }, c)))),
    body));

  async function load() {
    const isCondition = /[=<>(]|\s(in|nin|and|or|not)\s/i.test(condition);
    let rows;
    if (isCondition) {
      const text = /^select\s/i.test(condition) ? condition : `SELECT * FROM devices WHERE ${condition}`;
      ({ rows } = await api.query(text));
    } else {
      rows = await api.devices();
      const part = condition.toLowerCase();
      rows = rows.filter((d) => d.deviceId.toLowerCase().includes(part));
    }
    rows.sort((a, b) => (a.deviceId < b.deviceId ? -1 : 1));
    count.textContent = rows.length === 1 ? '1 device' : `${rows.length} devices`;
    body.replaceChildren(...rows.map(deviceRow));
    if (rows.length === 0) body.append(h('tr', {}, h('td', { colspan: 5, class: 'quiet' }, condition ? 'Nothing matches.' : 'There is no device yet.')));
  }

  const element = h('div', {},
    h('section', { class: 'card' },
      h('div', { class: 'row spread' }, h('h2', {}, 'Devices'), count),
      h('div', {}, form), problem, table),
    createCard(api, () => refresh()));

  return {
    element,
    start(signal) { refresh = poll(signal, problem, load); },
  };
}

function deviceRow(device) {
  const connected = device.connectionState === 'Connected';
  return h('tr', {},
    h('td', {}, h('a', { href: `#/device/${encodeURIComponent(device.deviceId)}` }, device.deviceId),
      device.capabilities?.iotEdge ? h('span', { class: 'quiet small' }, ' IoT Edge') : null),
    h('td', {}, h('span', { class: connected ? 'state on' : 'state' }, connected ? 'Connected' : 'Disconnected')),
    h('td', {}, device.status),
    h('td', {}, time(device.lastActivityTime)),
    h('td', {}, String(device.cloudToDeviceMessageCount ?? 0)));
}

function createCard(api, done) {
  const name = h('input', { type: 'text', required: true, maxlength: 128, spellcheck: 'false', autocomplete: 'off' });
  const button = h('button', { class: 'primary', type: 'submit' }, 'Create');
  const problem = errorBox();
  return h('section', { class: 'card' }, h('h3', {}, 'New device'), h('form', {
    onsubmit: (event) => {
      event.preventDefault();
      busy(button, problem, async () => {
        await api.createDevice(name.value);
        notice(`Device ${name.value} was created.`);
        name.value = '';
        done();
      });
    },
  }, field('Device id', name), problem, h('p', {}, button)));
}
