'use strict';
// One client, one transport: a process of its own runs all features on it and
// tells the parent what became of each.

const assert = require('node:assert/strict');
const crypto = require('node:crypto');
const fs = require('node:fs');
const path = require('node:path');

const features = require('./features.js');
const { Service } = require('./hub.js');
const sdk = require('./sdk.js');
const { limit, settled, until } = require('./wait.js');

const config = JSON.parse(process.argv[2]);
const hubs = Object.fromEntries(Object.entries(config.hubs).map(([name, hub]) => [name, {
  hostName: hub.hostName, service: new Service({ ...hub.service, ca: fs.readFileSync(hub.service.ca) }),
}]));

// records are feedback records, by device.
const records = new Map();
process.on('message', (message) => {
  if (message.type === 'feedback') records.set(message.record.deviceId, message.record);
});

// Bench is what a feature works with.
class Bench {
  constructor(hub = hubs.standalone) {
    this.hostName = hub.hostName;
    this.service = hub.service;
    this.module = config.identity === 'module';
    this.x509 = config.auth === 'X.509';
    this.clients = [];
  }

  // identity makes a new device, or a module of a new device.
  async identity() {
    const deviceId = `conformance-${crypto.randomUUID()}`;
    const id = { deviceId };
    const device = { deviceId };
    if (this.x509) {
      const pair = (name) => ({ cert: this.file(`${name}.crt`), key: this.file(`${name}.key`) });
      id.x509 = pair('client');
      id.wrong = pair('stranger');
      const primaryThumbprint = new crypto.X509Certificate(id.x509.cert).fingerprint256.replaceAll(':', '');
      device.authentication = { type: 'selfSigned', x509Thumbprint: { primaryThumbprint } };
    }
    let made = await this.service.json('PUT', `/devices/${deviceId}`, device);
    if (this.module) {
      id.moduleId = 'mod1';
      made = await this.service.json('PUT', `/devices/${deviceId}/modules/${id.moduleId}`, id);
    }
    id.key = made.authentication.symmetricKey?.primaryKey;
    return id;
  }

  // sibling makes another module of the same device.
  async sibling({ deviceId }, moduleId) {
    const made = await this.service.json('PUT', `/devices/${deviceId}/modules/${moduleId}`, { deviceId, moduleId });
    return { deviceId, moduleId, key: made.authentication.symmetricKey.primaryKey };
  }

  file(name) {
    return fs.readFileSync(path.join(config.certs, name), 'utf8');
  }

  // path is where an identity has its twin and its methods, below /twins.
  path({ deviceId, moduleId }) {
    return `/${deviceId}${moduleId ? `/modules/${moduleId}` : ''}`;
  }

  // client makes a client that is not open yet.
  async client(id, { wrong, tokenSeconds, marginSeconds } = {}) {
    const transport = sdk.transports[config.transport];
    const Client = this.module ? sdk.ModuleClient : sdk.Client;
    let text = `HostName=${this.hostName};DeviceId=${id.deviceId}`;
    if (id.moduleId) text += `;ModuleId=${id.moduleId}`;
    let client;
    if (this.x509) {
      client = Client.fromConnectionString(`${text};x509=true`, transport);
      await client.setOptions(wrong ? id.wrong : id.x509);
    } else {
      text += `;SharedAccessKey=${wrong ? crypto.randomBytes(32).toString('base64') : id.key}`;
      if (tokenSeconds) {
        this.provider = sdk.SharedAccessKeyAuthenticationProvider.fromConnectionString(text, tokenSeconds, marginSeconds);
        client = Client.fromAuthenticationProvider(this.provider, transport);
      } else {
        client = Client.fromConnectionString(text, transport);
      }
    }
    client.on('error', () => {}); // features look at what they need
    this.clients.push(client);
    return client;
  }

  async open(id) {
    const client = await this.client(id);
    await limit('open', client.open());
    return client;
  }

  // state is what the registry says of an identity.
  state({ deviceId, moduleId }) {
    return this.service.json('GET', `/devices/${deviceId}${moduleId ? `/modules/${moduleId}` : ''}`);
  }

  // events waits for so many events of an identity.
  events(id, count) {
    return until(`${count} events are stored`, async () => {
      const events = (await this.service.events(id.deviceId)).filter((event) => (event.moduleId ?? '') === (id.moduleId ?? ''));
      return events.length >= count && events;
    });
  }

  // feedback waits for the feedback record of a device. Who takes records takes
  // those of others too, so the parent does it for all.
  feedback(deviceId) {
    return until('feedback', () => records.get(deviceId));
  }

  async close() {
    await Promise.all(this.clients.map((client) => limit('close', settled(client.close()), 5).catch(() => {})));
  }
}

// reason is the first line of an error, without what differs from run to run.
function reason(error) {
  let text = error instanceof assert.AssertionError && error.generatedMessage
    ? `got ${show(error.actual)}, want ${show(error.expected)}`
    : `${error?.name && error.name !== 'Error' && error.name !== 'AssertionError' ? `${error.name}: ` : ''}${error?.message ?? error}`;
  text = text.split('\n')[0].replaceAll(/conformance-[0-9a-f-]{36}/g, '{id}').replaceAll('|', '/');
  return text.length > 160 ? `${text.slice(0, 160)}…` : text;
}

function show(value) {
  const text = value instanceof RegExp ? String(value) : JSON.stringify(value) ?? String(value);
  return text.length > 60 ? `${text.slice(0, 60)}…` : text;
}

function listenOnce(type) {
  return new Promise((resolve) => process.on('message', (message) => message.type === type && resolve()));
}

async function main() {
  const restarted = listenOnce('restarted');
  const probe = new Bench();
  const mine = features.filter((feature) => feature.applies(probe) && (!config.only || feature.name.includes(config.only)));
  const run = async (feature, ...args) => {
    const bench = new Bench(feature.kind === 'embedded' ? hubs.embedded : hubs.standalone);
    const start = Date.now();
    let result = 'pass';
    try {
      await feature.run(bench, ...args);
    } catch (error) {
      result = reason(error);
      if (config.verbose) console.error(feature.name, error);
    }
    await bench.close();
    process.send({ type: 'result', feature: feature.name, result, seconds: (Date.now() - start) / 1000 });
  };
  for (const feature of mine.filter((f) => f.kind !== 'restart')) await run(feature);
  // The hub is restarted once, for all of these, when each is ready or has failed.
  const last = mine.filter((f) => f.kind === 'restart');
  let waiting = last.length;
  const ready = () => {
    if (--waiting <= 0) process.send({ type: 'ready' });
    return restarted;
  };
  await Promise.all(last.map(async (feature) => {
    let called = false;
    await run(feature, () => {
      called = true;
      return ready();
    });
    if (!called) ready();
  }));
  if (last.length === 0) ready();
  await restarted;
  process.exit(0);
}

process.on('unhandledRejection', (error) => console.error('unhandled rejection:', error));
main();
