// One device, or one of its modules: what it is, its twin, its methods, messages
// to it, and what it sends.

import { h, field, errorBox, busy, notice, pretty, time, copyButton, poll } from './dom.js';
import { telemetryView } from './telemetry.js';

const tabs = { overview: 'Overview', twin: 'Twin', methods: 'Methods', messages: 'Messages', telemetry: 'Telemetry' };

export function deviceView(api, device, tab = 'overview', module = null) {
  if (!tabs[tab]) tab = 'overview';
  const shown = Object.entries(tabs).filter(([key]) => !module || ['twin', 'methods'].includes(key));
  const link = (key) => `#/device/${encodeURIComponent(device)}/${key}${module ? `/${encodeURIComponent(module)}` : ''}`;
  const { element, start } = {
    overview: () => overview(api, device),
    twin: () => twin(api, device, module),
    methods: () => methods(api, device, module),
    messages: () => messages(api, device),
    telemetry: () => telemetryView(api, device),
  }[tab]();
  const title = module
    ? h('h2', {}, h('a', { href: `#/device/${encodeURIComponent(device)}` }, device), ` / ${module}`)
    : h('h2', {}, device);
  return {
    element: h('div', {},
      h('p', { class: 'small' }, h('a', { href: '#/devices' }, '← All devices')), title,
      h('nav', { class: 'tabs', 'aria-label': 'Of this device' },
        shown.map(([key, label]) => h('a', { href: link(key), 'aria-current': key === tab ? 'page' : null }, label))),
      element),
    start,
  };
}

function overview(api, id) {
  const facts = h('dl', { class: 'facts' });
  const problem = errorBox();
  const toggle = h('button', { type: 'button' });
  const remove = h('button', { type: 'button', class: 'danger' }, 'Delete this device');
  const modules = h('ul');
  let device = null;

  function draw(list) {
    const connected = device.connectionState === 'Connected';
    const auth = device.authentication || {};
    const rows = [
      ['Connection', h('span', { class: connected ? 'state on' : 'state' }, connected ? 'Connected' : 'Disconnected')],
      ['Status', device.statusReason ? `${device.status} (${device.statusReason})` : device.status],
      ['Connection state since', time(device.connectionStateUpdatedTime)],
      ['Last activity', time(device.lastActivityTime)],
      ['Messages waiting', String(device.cloudToDeviceMessageCount)],
      ['Authentication', auth.type],
      ['Generation', device.generationId],
    ];
    facts.replaceChildren(...rows.flatMap(([name, value]) => [h('dt', {}, name), h('dd', {}, value)]));
    toggle.textContent = device.status === 'enabled' ? 'Disable' : 'Enable';
    modules.replaceChildren(...(list.length ? list.map((m) => h('li', {},
      h('a', { href: `#/device/${encodeURIComponent(id)}/twin/${encodeURIComponent(m.moduleId)}` }, m.moduleId), ' ',
      h('span', { class: m.connectionState === 'Connected' ? 'state on small' : 'state small' }, m.connectionState || '')))
      : [h('li', { class: 'quiet' }, 'None.')]));
  }

  async function load() {
    const [found, list] = await Promise.all([api.device(id), api.modules(id)]);
    device = found;
    draw(list);
  }

  toggle.addEventListener('click', () => busy(toggle, problem, async () => {
    await api.updateDevice({ ...device, status: device.status === 'enabled' ? 'disabled' : 'enabled' });
    await load();
  }));
  remove.addEventListener('click', () => {
    if (!confirm(`Delete ${id} with its modules, twins and waiting messages?`)) return;
    busy(remove, problem, async () => {
      await api.deleteDevice(id);
      notice(`Device ${id} was deleted.`);
      location.hash = '#/devices';
    });
  });
  const copy = copyButton('Copy connection string', async () => {
    const key = (await api.device(id)).authentication?.symmetricKey?.primaryKey;
    if (!key) throw new Error('this device has no key');
    return `HostName=${api.signer.credential.host};DeviceId=${id};SharedAccessKey=${key}`;
  });

  return {
    element: h('div', { class: 'columns' },
      h('section', { class: 'card' }, h('h3', {}, 'Device'), facts, problem, h('p', { class: 'row' }, copy, toggle, remove)),
      h('section', { class: 'card' }, h('h3', {}, 'Modules'), modules)),
    start: (signal) => poll(signal, problem, load),
  };
}

// without leaves the metadata out, which nobody edits.
function without(section) {
  const { $metadata, $version, ...rest } = section || {};
  return rest;
}

function twin(api, device, module) {
  const tags = h('textarea', { spellcheck: 'false' });
  const desired = h('textarea', { spellcheck: 'false' });
  const reported = h('pre', { tabindex: '0', 'aria-label': 'Reported properties' });
  const version = h('p', { class: 'quiet small' });
  const problem = errorBox();
  const save = h('button', { class: 'primary', type: 'submit' }, 'Save');
  const reload = h('button', { type: 'button' }, 'Reload');
  let current = null;

  function draw(found) {
    current = found;
    tags.value = pretty(found.tags || {});
    desired.value = pretty(without(found.properties.desired));
    drawReported(found);
  }

  function drawReported(found) {
    reported.textContent = pretty(without(found.properties.reported));
    version.textContent = `Desired version ${found.properties.desired.$version}, reported version ${found.properties.reported.$version}.`;
  }

  const load = async () => draw(await api.twin(device, module));
  reload.addEventListener('click', () => busy(reload, problem, load));

  const form = h('form', {
    class: 'card',
    onsubmit: (event) => {
      event.preventDefault();
      busy(save, problem, async () => {
        const patch = {
          tags: difference(current.tags || {}, read('Tags', tags.value)),
          properties: { desired: difference(without(current.properties.desired), read('Desired properties', desired.value)) },
        };
        try {
          draw(await api.patchTwin(device, module, patch, current.etag));
        } catch (error) {
          if (error.status === 412) {
            throw new Error('Not saved: the twin has changed since it was loaded. Reload it, and make your change again.');
          }
          throw error;
        }
        notice('The twin was saved.');
      });
    },
  },
  field('Tags', tags), field('Desired properties', desired, 'A key that you take out is removed from the twin.'), problem, h('p', { class: 'row' }, save, reload));

  return {
    element: h('div', { class: 'columns' }, form, h('section', { class: 'card' }, h('h3', {}, 'Reported properties'), reported, version)),
    start: (signal) => {
      // What the user edits stays; what the device reports is followed.
      poll(signal, problem, async () => {
        if (!current) await load();
        else drawReported(await api.twin(device, module));
      });
    },
  };
}

function read(name, text) {
  let value;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new Error(`${name}: ${error.message}`);
  }
  if (value === null || typeof value !== 'object' || Array.isArray(value)) throw new Error(`${name}: it has to be a JSON object.`);
  return value;
}

const isObject = (value) => value !== null && typeof value === 'object' && !Array.isArray(value);

// difference is the merge patch that makes after of before.
export function difference(before, after) {
  const patch = {};
  for (const key of Object.keys(before)) if (!Object.hasOwn(after, key)) patch[key] = null;
  for (const [key, value] of Object.entries(after)) {
    const old = Object.hasOwn(before, key) ? before[key] : undefined;
    if (isObject(value) && isObject(old)) {
      const inner = difference(old, value);
      if (Object.keys(inner).length) patch[key] = inner;
    } else if (JSON.stringify(value) !== JSON.stringify(old)) {
      patch[key] = value;
    }
  }
  return patch;
}

function methods(api, device, module) {
  const name = h('input', { type: 'text', required: true, spellcheck: 'false', autocomplete: 'off' });
  const payload = h('textarea', { spellcheck: 'false', value: '{}' });
  const timeout = h('input', { type: 'number', min: 5, max: 300, value: '30' });
  const connect = h('input', { type: 'number', min: 0, max: 300, value: '0' });
  const call = h('button', { class: 'primary', type: 'submit' }, 'Call');
  const problem = errorBox();
  const status = h('p');
  const answer = h('pre', { tabindex: '0', 'aria-label': 'Answer' }, 'Nothing was called yet.');
  const form = h('form', {
    class: 'card',
    onsubmit: (event) => {
      event.preventDefault();
      busy(call, problem, async () => {
        status.textContent = '';
        answer.textContent = 'Waiting for the answer …';
        try {
          let value = null;
          if (payload.value.trim()) {
            try {
              value = JSON.parse(payload.value);
            } catch (error) {
              throw new Error(`Payload: ${error.message}`);
            }
          }
          const began = performance.now();
          const result = await api.call(device, module, {
            methodName: name.value, payload: value,
            responseTimeoutInSeconds: Number(timeout.value), connectTimeoutInSeconds: Number(connect.value),
          });
          status.textContent = `Status ${result.status} after ${Math.round(performance.now() - began)} ms`;
          answer.textContent = pretty(result.payload);
        } catch (error) {
          answer.textContent = 'No answer.';
          throw error;
        }
      });
    },
  },
  field('Method', name), field('Payload, JSON', payload),
  h('div', { class: 'row' }, field('Seconds for the answer', timeout), field('Seconds to connect', connect)),
  problem, h('p', {}, call));
  return { element: h('div', { class: 'columns' }, form, h('section', { class: 'card' }, h('h3', {}, 'Answer'), status, answer)) };
}

function messages(api, device) {
  const payload = h('textarea', { spellcheck: 'false' });
  const properties = h('textarea', { spellcheck: 'false', placeholder: 'name = value, one a line' });
  const messageId = h('input', { type: 'text', spellcheck: 'false', autocomplete: 'off' });
  const ack = h('select', {}, ['none', 'positive', 'negative', 'full'].map((v) => h('option', { value: v }, v)));
  const send = h('button', { class: 'primary', type: 'submit' }, 'Send');
  const purge = h('button', { type: 'button', class: 'danger' }, 'Empty the queue');
  const problem = errorBox();
  purge.addEventListener('click', () => busy(purge, problem, async () => {
    const { totalMessagesPurged } = await api.purge(device);
    notice(`Removed from the queue: ${totalMessagesPurged}.`);
  }));
  const form = h('form', {
    class: 'card',
    onsubmit: (event) => {
      event.preventDefault();
      busy(send, problem, async () => {
        await api.sendC2D(device, {
          body: base64(payload.value), properties: lines(properties.value),
          messageId: messageId.value, ack: ack.value,
        });
        notice('The message is in the queue of the device.');
      });
    },
  },
  field('Message', payload), field('Properties', properties),
  h('div', { class: 'row' }, field('Message id', messageId), field('Feedback', ack)),
  problem, h('p', { class: 'row' }, send, purge));
  return { element: h('div', {}, form, h('p', { class: 'quiet small' }, 'The queue of a device holds 50 messages; it gets them when it is connected and asks for them.')) };
}

function base64(text) {
  return btoa(String.fromCharCode(...new TextEncoder().encode(text)));
}

function lines(text) {
  const result = {};
  for (const line of text.split('\n')) {
    if (!line.trim()) continue;
    const at = line.indexOf('=');
    if (at < 1) throw new Error(`Properties: “${line}” does not have the form name = value.`);
    result[line.slice(0, at).trim()] = line.slice(at + 1).trim();
  }
  return result;
}
