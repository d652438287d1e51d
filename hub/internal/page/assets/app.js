// The frame of the page: signing in, and which view is shown.

import { h, field, errorBox, busy } from './dom.js';
import { parse, Signer } from './sas.js';
import { Api } from './api.js';
import { devicesView } from './devices.js';
import { deviceView } from './device.js';
import { telemetryView } from './telemetry.js';
import { hubView } from './hub.js';

const main = document.getElementById('main');
const storageKey = 'iothub-service';

let api = null;
let leave = null; // ends what the view of the moment has begun

// remembered is the connection string that this tab has kept, if it has.
function remembered() {
  try {
    return sessionStorage.getItem(storageKey);
  } catch {
    return null; // storage may be switched off
  }
}

function remember(text) {
  try {
    if (text) sessionStorage.setItem(storageKey, text);
    else sessionStorage.removeItem(storageKey);
  } catch { /* then it is asked for again */ }
}

async function signIn(text) {
  const credential = parse(text);
  const candidate = new Api(new Signer(credential));
  await candidate.connected(); // the hub has the last word
  api = candidate;
  document.getElementById('hub-name').textContent = credential.host;
  document.getElementById('nav').hidden = false;
  document.getElementById('sign-out').hidden = false;
}

function signOut() {
  remember(null);
  api = null;
  document.getElementById('hub-name').textContent = '';
  document.getElementById('nav').hidden = true;
  document.getElementById('sign-out').hidden = true;
  show();
}

function signInView() {
  const text = h('input', { type: 'password', autocomplete: 'off', spellcheck: 'false', required: true, name: 'connection-string' });
  const keep = h('input', { type: 'checkbox' });
  const button = h('button', { class: 'primary', type: 'submit' }, 'Sign in');
  const problem = errorBox();
  const form = h('form', {
    onsubmit: (event) => {
      event.preventDefault();
      busy(button, problem, async () => {
        await signIn(text.value);
        if (keep.checked) remember(text.value);
        text.value = '';
        show();
      });
    },
  },
  field('Service connection string', text, 'The hub prints it when it starts. It is used in this page only: requests carry tokens that are made here, and the key is sent nowhere.'),
  h('p', {}, h('label', { class: 'inline' }, keep, 'Keep it until this tab is closed')),
  problem, button);
  main.replaceChildren(h('section', { class: 'card narrow' }, h('h2', {}, 'Sign in'), form));
  text.focus();
}

// The views by the first word behind the hash.
const views = {
  devices: () => devicesView(api),
  device: (device, tab, module) => deviceView(api, device, tab, module),
  live: () => telemetryView(api, null),
  hub: () => hubView(api),
};

function show() {
  leave?.abort();
  leave = new AbortController();
  if (!api) {
    signInView();
    return;
  }
  const [name = 'devices', ...rest] = location.hash.replace(/^#\/?/, '').split('/').filter(Boolean).map(decodeURIComponent);
  const view = views[name] || views.devices;
  for (const link of document.querySelectorAll('#nav a')) {
    const current = link.hash === `#/${name === 'device' ? 'devices' : name}`;
    if (current) link.setAttribute('aria-current', 'page');
    else link.removeAttribute('aria-current');
  }
  const { element, start } = view(...rest);
  main.replaceChildren(element);
  start?.(leave.signal);
}

document.getElementById('sign-out').addEventListener('click', signOut);
addEventListener('hashchange', show);

const kept = remembered();
if (kept) {
  try {
    await signIn(kept);
  } catch {
    remember(null); // of another hub, or of this one before its keys changed
  }
}
show();
