'use strict';
// Modules of azure-iot-device, unmodified, started by `iothub edge`, which runs the hub
// upstream too: edgemodule.js is what they do, this file asks them by methods and looks
// at what arrives upstream. There is a module for each transport.

const assert = require('node:assert/strict');
const fs = require('node:fs');
const path = require('node:path');

const { Service, port } = require('./hub.js');
const { limit, until } = require('./wait.js');

const device = 'edge1';
const transports = { MQTT: 'mqtt', 'MQTT over WebSocket': 'websocket' };
const script = path.join(__dirname, 'edgemodule.js');

// args are those of the command: modules and how messages go between them.
const args = ['edge', '--json', '--with-hub', ...Object.values(transports).flatMap((name) => [
  '--module', `${name}=${JSON.stringify(process.execPath)} ${JSON.stringify(script)} ${name}`,
  '--route', `FROM /messages/modules/${name}/outputs/around INTO BrokeredEndpoint("/modules/${name}/inputs/in")`,
])];

const features = {
  async 'connects by its environment'({ events, name }) {
    const event = await events((e) => e.text === 'started');
    assert.equal(event.moduleId, name);
  },
  async 'output, route, input, output'({ call, events }) {
    await call('emit', { output: 'around', body: 'hello' });
    const event = await events((e) => e.text === 'in got hello');
    assert.equal(event.properties.colour, 'blue');
  },
  async 'direct method'({ call }) {
    assert.deepEqual(await call('double', 21), { status: 200, payload: 42 });
  },
  async 'method of another module'({ call, other }) {
    const { status, payload } = await call('call', { module: other, methodName: 'double', payload: 4 });
    assert.equal(status, 200, String(payload));
    assert.deepEqual(payload, { status: 200, payload: 8 });
  },
  async 'twin: desired and reported'({ service, name }) {
    const where = `/twins/${device}/modules/${name}`;
    await service.json('PATCH', where, { properties: { desired: { interval: 7 } } });
    await until('the report', async () => (await service.json('GET', where)).properties.reported.interval === 7);
  },
  async 'restarted by $edgeAgent'({ service, call, events, name }) {
    const agent = `/twins/${device}/modules/$edgeAgent`;
    const { status } = await service.json('POST', `${agent}/methods`, { methodName: 'RestartModule', payload: { schemaVersion: '1.0', id: name } });
    assert.equal(status, 200);
    await events((e) => e.text === 'started', 2);
    await until('the report', async () => {
      const reported = (await service.json('GET', agent)).properties.reported.modules[name];
      return reported.restartCount === 1 && reported.runtimeStatus === 'running';
    });
    assert.deepEqual(await until('the method', () => call('double', 1).catch(() => undefined)), { status: 200, payload: 2 });
    const { payload: [logs] } = await service.json('POST', `${agent}/methods`, {
      methodName: 'GetModuleLogs', payload: { schemaVersion: '1.0', items: [{ id: name, filter: { tail: 10 } }] },
    });
    assert.equal(logs.payload.match(/^ready$/gm).length, 2);
  },
};

// run runs the features and returns their results.
async function run(runtime, { only, verbose }) {
  const { report } = runtime;
  const text = report.serviceConnectionString;
  const service = new Service({
    address: '127.0.0.1', port: Number(text.match(/HostName=[^;]*:(\d+)/)[1]), connectionString: text, ca: fs.readFileSync(report.upstreamCaFile),
  });
  const standard = port(report, 'MQTT') === 8883 && port(report, 'HTTPS') === 443;
  const results = [];
  for (const [transport, name] of Object.entries(transports)) {
    const bench = {
      service, name, other: Object.values(transports).find((other) => other !== name),
      call: (methodName, payload) => service.json('POST', `/twins/${device}/modules/${name}/methods`, { methodName, payload, connectTimeoutInSeconds: 10 }),
      // events waits for the nth event of the module that is right.
      events: (right, n = 1) => until('the event', async () => (await service.events(device)).filter((e) => e.moduleId === name && right(e))[n - 1]),
    };
    for (const [feature, test] of Object.entries(features)) {
      if (only && !feature.includes(only)) continue;
      const began = Date.now();
      let result = 'pass';
      if (!standard) {
        result = 'not run: this client knows only the ports 8883 and 443, and those could not be bound';
      } else {
        try {
          await limit(feature, test(bench), 60);
        } catch (error) {
          if (verbose) console.error(error);
          result = error.message.split('\n')[0];
        }
      }
      results.push({ client: 'azure-iot-device for Node, module of iothub edge', feature, transport, result });
      console.log(`${result === 'pass' ? 'ok  ' : 'FAIL'} module of iothub edge, ${transport}: ${feature} (${((Date.now() - began) / 1000).toFixed(1)} s)${result === 'pass' ? '' : `: ${result}`}`);
    }
  }
  return results;
}

module.exports = { args, run };
