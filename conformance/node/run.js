'use strict';
// Starts a hub, runs every client against it, and says what came of it.
//
//   node run.js --hub BINARY --embedded BINARY --certs DIR [--only TEXT] [--accept] [--verbose]
//
// Run it by ../run.sh, which makes what it needs.

const { fork } = require('node:child_process');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { parseArgs } = require('node:util');

const { Hub, Service, port } = require('./hub.js');
const edge = require('./edge.js');
const features = require('./features.js');
const { versions } = require('./sdk.js');

const folder = path.dirname(__dirname);
const files = Object.fromEntries(['results.json', 'expected.json', 'README.md'].map((name) => [name, path.join(folder, name)]));

const transports = ['MQTT', 'MQTT over WebSocket'];
const clients = [['device', 'SAS'], ['device', 'X.509'], ['module', 'SAS']];
const clientName = (identity, auth) => `azure-iot-device for Node, ${identity}, ${auth}`;
const keyOf = ({ client, feature, transport }) => `${client} | ${transport} | ${feature}`;

const { values: options } = parseArgs({
  options: {
    hub: { type: 'string' }, embedded: { type: 'string' }, certs: { type: 'string' }, only: { type: 'string' },
    accept: { type: 'boolean' }, verbose: { type: 'boolean' },
  },
});

async function main() {
  const work = fs.mkdtempSync(path.join(os.tmpdir(), 'iothub-conformance-'));
  // Addresses of their own keep the hubs apart from others on this machine; only
  // Linux has all of 127.0.0.0/8.
  const own = process.platform === 'linux';
  const hubs = {
    standalone: new Hub({
      binary: options.hub, args: ['hub', '--json'], address: own ? '127.88.83.1' : '127.0.0.1',
      data: path.join(work, 'standalone'), log: path.join(work, 'standalone.log'),
    }),
    embedded: new Hub({
      binary: options.embedded, args: [], address: own ? '127.88.83.2' : '127.0.0.1',
      data: path.join(work, 'embedded'), log: path.join(work, 'embedded.log'),
    }),
  };
  const routing = path.join(work, 'routing.json');
  fs.writeFileSync(routing, JSON.stringify({
    endpoints: { eventHubs: [{ name: 'alerts', partitionCount: 1 }] },
    routes: [
      { name: 'hot', source: 'DeviceMessages', condition: "level = 'hot'", endpointNames: ['alerts'] },
      { name: 'all', source: 'DeviceMessages', endpointNames: ['events'] },
    ],
  }));
  const backend = new Hub({
    binary: options.hub, args: ['hub', '--json', '--routing', routing, '--consumer-group', 'second'], address: own ? '127.88.83.4' : '127.0.0.1',
    data: path.join(work, 'backend'), log: path.join(work, 'backend.log'),
  });
  const runtime = new Hub({
    binary: options.hub, args: edge.args, address: own ? '127.88.83.5' : '127.0.0.1',
    data: path.join(work, 'edge'), log: path.join(work, 'edge.log'),
  });
  const provisioning = new Hub({
    binary: options.hub, args: ['hub', '--json'], address: own ? '127.88.83.6' : '127.0.0.1',
    data: path.join(work, 'provisioning'), log: path.join(work, 'provisioning.log'),
  });
  let results;
  try {
    for (const hub of Object.values(hubs)) await hub.start();
    if (own) await provisioning.start();
    if (own) await backend.start();
    if (own) await runtime.start();
    console.log(`Node ${process.version}, ${Object.entries(versions).map((v) => v.join(' ')).join(', ')}`);
    const backends = own ? runBackends(backend) : [];
    results = await runAll(hubs, work);
    results.push(...await backends);
    if (own) results.push(...await runProvisioning(provisioning));
    if (own) results.push(...await edge.run(runtime, options));
  } catch (error) {
    for (const { log } of Object.values(hubs)) if (fs.existsSync(log)) console.error(fs.readFileSync(log, 'utf8').slice(-4000));
    throw error;
  } finally {
    await Promise.all([...Object.values(hubs), ...[backend, runtime, provisioning].filter((hub) => hub.child)].map((hub) => hub.stop()));
    if (options.verbose) console.log(`the hubs' logs are in ${work}`);
    else fs.rmSync(work, { recursive: true });
  }
  process.exitCode = conclude(results);
}

// view is what a client on a transport has to know of a hub.
function view(hub, transport) {
  const { report, address } = hub;
  return {
    hostName: transport === 'MQTT' && port(report, 'MQTT') !== 8883 ? `${address}:${port(report, 'MQTT')}` : address,
    service: {
      address, port: port(report, 'HTTPS'), connectionString: report.serviceConnectionString,
      ca: report.caFile, control: report.control,
    },
  };
}

async function runAll(hubs, work) {
  const blocked = Object.values(hubs).some((hub) => port(hub.report, 'HTTPS') !== 443);
  const bundle = path.join(work, 'ca.pem');
  fs.writeFileSync(bundle, Object.values(hubs).map((hub) => fs.readFileSync(hub.report.caFile, 'utf8')).join(''));
  const results = [];
  const workers = [];
  for (const transport of transports) {
    for (const [identity, auth] of clients) {
      const config = {
        transport, identity, auth, certs: options.certs, only: options.only, verbose: options.verbose,
        hubs: Object.fromEntries(Object.entries(hubs).map(([name, hub]) => [name, view(hub, transport)])),
      };
      const bench = { module: identity === 'module', x509: auth === 'X.509' };
      const base = { client: clientName(identity, auth), transport };
      if (transport !== 'MQTT' && blocked) {
        const result = 'not run: this client knows only port 443 for WebSockets, and that could not be bound';
        for (const f of features) if (f.applies(bench)) results.push({ ...base, feature: f.name, result });
      } else {
        workers.push(startWorker(config, base, results, bundle));
      }
    }
  }
  const tell = (message) => {
    for (const { child } of workers) if (child.connected) child.send(message, () => {}); // it may just have ended
  };
  const stopFeedback = relayFeedback(view(hubs.embedded, 'MQTT').service, tell);
  await Promise.all(workers.map((w) => w.ready));
  await stopFeedback();
  await hubs.standalone.stop();
  await new Promise((resolve) => setTimeout(resolve, 1500));
  await hubs.standalone.start();
  tell({ type: 'restarted' });
  await Promise.all(workers.map((w) => w.ended));
  const order = features.map((f) => f.name);
  return results.sort((a, b) => order.indexOf(a.feature) - order.indexOf(b.feature)
    || a.client.localeCompare(b.client) || a.transport.localeCompare(b.transport))
    .map(({ client, feature, transport, result }) => ({ client, feature, transport, result }));
}

// runBackends runs the clients for back ends.
function runBackends({ report, address }) {
  return runScript('backend.js', report, 'azure-iothub for Node', {
    address, serviceConnectionString: report.serviceConnectionString, eventHub: report.eventHubConnectionString,
    eventHubEmulator: report.eventHubEmulatorConnectionString,
    idScope: report.idScope, provisioningConnectionString: report.provisioningConnectionString,
  });
}

// runProvisioning runs the client for devices that are to be provisioned.
function runProvisioning({ report, address }) {
  return runScript('provisioning.js', report, 'azure-iot-provisioning-device for Node', {
    address, idScope: report.idScope, connectionString: report.provisioningConnectionString, certs: options.certs,
  });
}

// runScript runs clients that know only the standard ports, in a process that trusts
// the hub.
async function runScript(script, report, name, config) {
  const results = [];
  if (port(report, 'HTTPS') !== 443) {
    const result = 'not run: these clients know only port 443, and that could not be bound';
    return [{ client: name, transport: 'HTTPS', feature: 'all', result }];
  }
  const child = fork(path.join(__dirname, script), [JSON.stringify({ ...config, only: options.only, verbose: options.verbose })], {
    env: { ...process.env, NODE_EXTRA_CA_CERTS: report.caFile, NODE_NO_WARNINGS: '1' },
  });
  child.on('message', ({ client, transport, feature, result, seconds }) => {
    results.push({ client, feature, transport, result });
    console.log(`${result === 'pass' ? 'ok  ' : 'FAIL'} ${client}, ${transport}: ${feature} (${seconds.toFixed(1)} s)${result === 'pass' ? '' : `: ${result}`}`);
  });
  await new Promise((resolve) => { child.once('exit', resolve); });
  return results;
}

// relayFeedback takes the feedback records and tells all workers of them. It
// returns what ends it.
function relayFeedback(config, tell) {
  const service = new Service({ ...config, ca: fs.readFileSync(config.ca) });
  let running = true;
  const ended = (async () => {
    while (running) {
      try {
        for (const record of await service.feedback()) tell({ type: 'feedback', record });
      } catch (error) {
        if (options.verbose) console.error(error); // the features that wait for it fail
      }
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  })();
  return () => {
    running = false;
    return ended;
  };
}

function startWorker(config, base, results, ca) {
  const child = fork(path.join(__dirname, 'worker.js'), [JSON.stringify(config)], {
    env: { ...process.env, NODE_EXTRA_CA_CERTS: ca, NODE_NO_WARNINGS: '1' },
  });
  const ended = new Promise((resolve) => child.once('exit', resolve));
  const ready = new Promise((resolve) => {
    child.on('message', (message) => {
      if (message.type === 'ready') return resolve();
      results.push({ ...base, feature: message.feature, result: message.result });
      const mark = message.result === 'pass' ? 'ok  ' : 'FAIL';
      console.log(`${mark} ${base.transport}: ${config.identity}, ${config.auth}: ${message.feature} (${message.seconds.toFixed(1)} s)${message.result === 'pass' ? '' : `: ${message.result}`}`);
    });
  });
  // One that dies has no say in the rest; what it lacks is found in the end.
  return { child, ended, ready: Promise.race([ready, ended]) };
}

// conclude writes the results and compares them with what is expected.
function conclude(results) {
  const passed = results.filter((r) => r.result === 'pass').length;
  const notRun = results.filter((r) => r.result.startsWith('not run:')).length;
  console.log(`\n${passed} of ${results.length} passed, ${notRun} were not run`);
  const expected = fs.existsSync(files['expected.json']) ? JSON.parse(fs.readFileSync(files['expected.json'], 'utf8')) : [];
  const now = new Map(results.map((r) => [keyOf(r), r.result]));
  const wanted = options.only ? expected.filter((key) => now.has(key)) : expected;
  const regressed = wanted.filter((key) => now.get(key) !== 'pass' && !now.get(key)?.startsWith('not run:'));
  for (const key of regressed) console.log(`REGRESSION: ${key}: ${now.get(key) ?? 'no result'}`);
  if (!options.only) {
    fs.writeFileSync(files['results.json'], `${JSON.stringify(results, null, 1)}\n`);
    if (notRun === 0) writeTable(results);
    if (options.accept) {
      fs.writeFileSync(files['expected.json'], `${JSON.stringify(results.filter((r) => r.result === 'pass').map(keyOf), null, 1)}\n`);
      console.log('expected.json now has what passed');
      return 0;
    }
  }
  return regressed.length > 0 ? 1 : 0;
}

function writeTable(results) {
  const columns = transports.flatMap((transport) => clients.map(([identity, auth]) => ({ transport, identity, auth })));
  const notes = [];
  const cell = (feature, { transport, identity, auth }) => {
    const found = results.find((r) => r.feature === feature && r.transport === transport && r.client === clientName(identity, auth));
    if (!found) return '–';
    if (found.result === 'pass') return '✓';
    if (!notes.includes(found.result)) notes.push(found.result);
    return `no (${notes.indexOf(found.result) + 1})`;
  };
  const rows = [
    ['', ...columns.map((c) => `${c.transport.replace('MQTT over WebSocket', 'WebSocket')}: ${c.identity}, ${c.auth}`)],
    columns.map(() => '---').concat('---'),
    ...features.map((f) => [f.name, ...columns.map((c) => cell(f.name, c))]),
  ];
  const table = rows.map((row) => `| ${row.join(' | ')} |`);
  const own = new Set(clients.map(([identity, auth]) => clientName(identity, auth)));
  table.push('', '| client | transport | feature | |', '| --- | --- | --- | --- |');
  for (const r of results.filter((r) => !own.has(r.client))) {
    table.push(`| ${r.client} | ${r.transport} | ${r.feature} | ${r.result === 'pass' ? '✓' : r.result} |`);
  }
  if (notes.length > 0) table.push('', ...notes.map((note, i) => `${i + 1}. ${note}`));
  const text = fs.readFileSync(files['README.md'], 'utf8');
  const [begin, end] = ['<!-- results: written by run.sh -->', '<!-- end of results -->'];
  const before = text.slice(0, text.indexOf(begin) + begin.length);
  const after = text.slice(text.indexOf(end));
  fs.writeFileSync(files['README.md'], `${before}\n\n${table.join('\n')}\n\n${after}`);
}

main().catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
