'use strict';
// What the SDK is asked to do, and what has to come of it. A feature is a
// function of a Bench; it fails by throwing. The text of the error is what
// stands in the results, so it must not differ from run to run.

const assert = require('node:assert/strict');
const { once } = require('node:events');

const { Message, NoRetry } = require('./sdk.js');
const { limit, settled, until } = require('./wait.js');

async function connectAndDisconnect(bench) {
  const id = await bench.identity();
  for (let i = 0; i < 2; i++) {
    const client = await bench.client(id);
    await limit('open', client.open());
    assert.equal((await bench.state(id)).connectionState, 'Connected');
    await limit('close', client.close());
    await until('the hub sees it go', async () => (await bench.state(id)).connectionState === 'Disconnected');
  }
}

async function telemetry(bench) {
  const id = await bench.identity();
  const client = await bench.open(id);
  const properties = { colour: 'dark red', 'a/b&c=d?e': 'x/y&z=1+2 ?#%', name: 'Grüße, 世界', empty: '' };
  const message = new Message(JSON.stringify({ temperature: 21.5 }));
  message.messageId = 'm-1';
  message.correlationId = 'c-1';
  message.userId = 'someone';
  message.contentType = 'application/json';
  message.contentEncoding = 'utf-8';
  for (const [key, value] of Object.entries(properties)) message.properties.add(key, value);
  await limit('sendEvent', client.sendEvent(message));
  await limit('sendEvent', client.sendEvent(new Message(Buffer.from([0, 255, 1]))));
  await limit('sendEvent', client.sendEvent(new Message('')));
  const [first, second, third, ...more] = await bench.events(id, 3);
  assert.equal(more.length, 0, 'more events than were sent');
  assert.equal(first.text, '{"temperature":21.5}');
  assert.deepEqual(first.properties, properties);
  assert.deepEqual(first.systemProperties, {
    'message-id': 'm-1', 'correlation-id': 'c-1', 'user-id': 'someone',
    'content-type': 'application/json', 'content-encoding': 'utf-8',
  });
  assert.equal(first.deviceId, id.deviceId);
  assert.equal(first.moduleId, id.moduleId);
  const method = JSON.parse(first.authMethod);
  assert.equal(method.scope, bench.module ? 'module' : 'device');
  assert.equal(method.type, bench.x509 ? 'x509' : 'sas');
  assert.equal(Buffer.from(second.body, 'base64').toString('hex'), '00ff01');
  assert.equal(third.text, '');
}

async function burst(bench) {
  const id = await bench.identity();
  const client = await bench.open(id);
  const texts = Array.from({ length: 1000 }, (_, i) => `event ${i}`);
  await limit('1000 x sendEvent', Promise.all(texts.map((text) => client.sendEvent(new Message(text)))), 60);
  assert.deepEqual((await bench.events(id, 1000)).map((event) => event.text), texts);
}

async function large(bench) {
  const id = await bench.identity();
  const client = await bench.open(id);
  const body = Buffer.alloc(255 * 1024, 'x');
  await limit('sendEvent', client.sendEvent(new Message(body)));
  const [event] = await bench.events(id, 1);
  assert.ok(Buffer.from(event.body, 'base64').equals(body), 'it arrived changed');
}

// IoT Hub ends the connection over a message that is too large with its
// properties; one that is so without them the SDK refuses by itself.
async function oversize(bench) {
  const id = await bench.identity();
  const client = await bench.client(id);
  client.setRetryPolicy(new NoRetry());
  await limit('open', client.open());
  const refused = await settled(client.sendEvent(new Message(Buffer.alloc(256 * 1024 + 1))));
  assert.equal(refused.error?.name, 'MessageTooLargeError', 'above 256 KiB the SDK refuses');
  const message = new Message(Buffer.alloc(256 * 1024 - 10, 'x'));
  message.properties.add('more', 'x'.repeat(1000));
  const gone = once(client, 'disconnect');
  const sent = await limit('sendEvent', settled(client.sendEvent(message)));
  assert.ok(sent.error, 'it was accepted');
  await limit('disconnect', gone);
  await limit('open again', client.open());
  await limit('sendEvent', client.sendEvent(new Message('small')));
  assert.deepEqual((await bench.events(id, 1)).map((event) => event.text), ['small']);
}

async function takeover(bench) {
  const id = await bench.identity();
  const first = await bench.client(id);
  first.setRetryPolicy(new NoRetry());
  await limit('open', first.open());
  const gone = once(first, 'disconnect');
  const second = await bench.client(id);
  await limit('open the second', second.open());
  await limit('the first is disconnected', gone);
  await limit('sendEvent', second.sendEvent(new Message('from the second')));
  assert.equal((await bench.state(id)).connectionState, 'Connected');
  assert.deepEqual((await bench.events(id, 1)).map((event) => event.text), ['from the second']);
}

// The SDK calls every failure of its first connection UnauthorizedError, so what
// mqtt.js had to say counts too.
async function badCredential(bench) {
  const id = await bench.identity();
  const client = await bench.client(id, { wrong: true });
  const { error } = await limit('open', settled(client.open()));
  assert.equal(error?.name, 'UnauthorizedError');
  assert.match(String(error.transportError?.message), /Connection refused: Not authorized/, 'the CONNACK');
  assert.equal((await bench.state(id)).connectionState, 'Disconnected');
}

async function disabled(bench) {
  const id = await bench.identity();
  const client = await bench.client(id);
  client.setRetryPolicy(new NoRetry());
  await limit('open', client.open());
  const gone = once(client, 'disconnect');
  const path = `/devices/${id.deviceId}`;
  const device = await bench.service.json('GET', path);
  await bench.service.json('PUT', path, { ...device, status: 'disabled' }, { 'If-Match': '"*"' });
  await limit('it is disconnected', gone);
  const again = await bench.client(id);
  const { error } = await limit('open', settled(again.open()));
  assert.equal(error?.name, 'UnauthorizedError');
  await bench.service.json('PUT', path, { ...device, status: 'enabled' }, { 'If-Match': '"*"' });
  await limit('open', (await bench.client(id)).open());
}

// The SDK renews its token by a new connection. Nothing that was sent meanwhile
// may be lost.
async function renewal(bench) {
  const id = await bench.identity();
  const client = await bench.client(id, { tokenSeconds: 4, marginSeconds: 2 });
  await limit('open', client.open());
  let renewed = 0;
  bench.provider.on('newTokenAvailable', () => renewed++);
  const sent = [];
  for (const end = Date.now() + 7000; Date.now() < end;) {
    const text = `event ${sent.length}`;
    await limit('sendEvent', client.sendEvent(new Message(text)));
    sent.push(text);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  assert.ok(renewed >= 2, 'the token was not renewed');
  const stored = new Set((await bench.events(id, sent.length)).map((event) => event.text));
  assert.deepEqual(sent.filter((text) => !stored.has(text)), [], 'lost');
}

async function model(bench) {
  const id = await bench.identity();
  const client = await bench.client(id);
  await client.setOptions({ modelId: 'dtmi:com:example:Thermostat;1' });
  await limit('open', client.open());
  await limit('sendEvent', client.sendEvent(new Message('x')));
  assert.equal((await bench.events(id, 1))[0].modelId, 'dtmi:com:example:Thermostat;1');
}

// --- Cloud-to-device messages -------------------------------------------------

// listen collects what comes. With settle, each message is settled by it.
function listen(client, event, settle) {
  const got = [];
  client.on(event, (...args) => {
    got.push(args);
    if (settle) settle(...args);
  });
  return got;
}

async function c2dReceive(bench) {
  const id = await bench.identity();
  await bench.service.sendToDevice(id.deviceId, { body: 'waiting' });
  const client = await bench.open(id);
  const got = listen(client, 'message');
  await until('what waited comes', () => got.length === 1);
  await bench.service.sendToDevice(id.deviceId, {
    body: 'body', messageId: 'm-1', correlationId: 'c-1', contentType: 'text/plain', contentEncoding: 'utf-8',
    properties: { colour: 'dark red', path: 'a/b&c=d' },
  });
  await until('what is sent comes', () => got.length === 2);
  const [[first], [second]] = got;
  assert.equal(first.getData().toString(), 'waiting');
  assert.equal(second.getData().toString(), 'body');
  assert.equal(second.messageId, 'm-1');
  assert.equal(second.correlationId, 'c-1');
  assert.equal(second.to, `/devices/${id.deviceId}/messages/deviceBound`);
  assert.equal(second.contentType, 'text/plain');
  assert.equal(second.contentEncoding, 'utf-8');
  assert.equal(second.properties.getValue('colour'), 'dark red');
  assert.equal(second.properties.getValue('path'), 'a/b&c=d');
}

async function c2dComplete(bench) {
  const id = await bench.identity();
  const client = await bench.open(id);
  const got = listen(client, 'message');
  for (const body of ['one', 'two']) await bench.service.sendToDevice(id.deviceId, { body, messageId: body });
  await until('both come', () => got.length === 2);
  assert.deepEqual(got.map(([message]) => message.getData().toString()), ['one', 'two']);
  for (const [message] of got) await limit('complete', client.complete(message));
  await until('the queue is empty', async () => (await bench.service.json('GET', `/devices/${id.deviceId}`)).cloudToDeviceMessageCount === 0);
  await limit('close', client.close());
  const again = listen(await bench.open(id), 'message');
  await bench.service.sendToDevice(id.deviceId, { body: 'three' });
  await until('the next comes', () => again.length > 0);
  assert.deepEqual(again.map(([message]) => message.getData().toString()), ['three']);
}

// The sender hears of it.
async function c2dFeedback(bench) {
  const id = await bench.identity();
  const client = await bench.open(id);
  const got = listen(client, 'message');
  await bench.service.sendToDevice(id.deviceId, { body: 'body', messageId: id.deviceId, ack: 'full' });
  await until('it comes', () => got.length === 1);
  // Over MQTT the SDK leaves it among the application properties.
  assert.equal(got[0][0].properties.getValue('iothub-ack'), 'full');
  await limit('complete', client.complete(got[0][0]));
  const record = await bench.feedback(id.deviceId);
  assert.equal(record.description, 'Success');
  assert.equal(record.originalMessageId, id.deviceId);
}

// MQTT has neither: the SDK says so, and the message is complete all the same.
async function c2dRejectAbandon(bench) {
  const id = await bench.identity();
  const client = await bench.open(id);
  const got = listen(client, 'message');
  await bench.service.sendToDevice(id.deviceId, { body: 'body' });
  await until('it comes', () => got.length === 1);
  for (const settle of ['reject', 'abandon']) {
    await assert.rejects(async () => client[settle](got[0][0]), { name: 'NotImplementedError' });
  }
  await until('the queue is empty', async () => (await bench.service.json('GET', `/devices/${id.deviceId}`)).cloudToDeviceMessageCount === 0);
}

// --- Direct methods -------------------------------------------------------------

function onMethod(client, name, handler) {
  return client.onDeviceMethod ? client.onDeviceMethod(name, handler) : client.onMethod(name, handler);
}

function invoke(bench, id, methodName, payload, more = {}) {
  return bench.service.json('POST', `/twins${bench.path(id)}/methods`, {
    methodName, payload, responseTimeoutInSeconds: 20, connectTimeoutInSeconds: 0, ...more,
  });
}

// enabled waits until methods arrive: the SDK subscribes on its own time.
function enabled(bench, id, seconds) {
  return until('methods are enabled', async () => {
    const { error } = await settled(invoke(bench, id, 'echo'));
    if (error && !/404.*(DeviceNotOnline|404103)/.test(error.message)) throw error;
    return !error;
  }, seconds);
}

async function methods(bench) {
  const id = await bench.identity();
  const client = await bench.open(id);
  onMethod(client, 'echo', (request, response) => response.send(201, { method: request.methodName, got: request.payload }));
  await enabled(bench, id);
  for (const payload of [{ a: [1, 'ä'] }, 'text', 7, null, 'x'.repeat(100_000)]) {
    const answer = await limit('invoke', invoke(bench, id, 'echo', payload));
    assert.equal(answer.status, 201);
    assert.deepEqual(answer.payload, { method: 'echo', got: payload });
  }
  const answers = await limit('20 at once', Promise.all(Array.from({ length: 20 }, (_, i) => invoke(bench, id, 'echo', i))));
  assert.deepEqual(answers.map((answer) => answer.payload.got), Array.from({ length: 20 }, (_, i) => i));
}

// The SDK says nothing to a method that nobody has registered.
async function methodUnanswered(bench) {
  const id = await bench.identity();
  const client = await bench.open(id);
  onMethod(client, 'echo', (request, response) => response.send(200, request.payload));
  await enabled(bench, id);
  const { error } = await settled(invoke(bench, id, 'unknown', null, { responseTimeoutInSeconds: 5 }));
  assert.match(String(error?.message), /504.*(GatewayTimeout|504101)/);
}

async function methodOffline(bench) {
  const id = await bench.identity();
  const client = await bench.open(id);
  await limit('close', client.close());
  const { error } = await settled(invoke(bench, id, 'echo'));
  assert.match(String(error?.message), /404.*(DeviceNotOnline|404103)/);
}

// The hub keeps no sessions over a restart; the SDK subscribes again.
async function methodsAfterRestart(bench, restarted) {
  const id = await bench.identity();
  const client = await bench.open(id);
  onMethod(client, 'echo', (request, response) => response.send(200, request.payload));
  await enabled(bench, id);
  await restarted();
  await enabled(bench, id, 120);
  assert.deepEqual(await invoke(bench, id, 'echo', 'x'), { status: 200, payload: 'x' });
}

// --- Twins ----------------------------------------------------------------------

async function twinGet(bench) {
  const id = await bench.identity();
  await bench.service.json('PATCH', `/twins${bench.path(id)}`, { properties: { desired: { interval: 5, nested: { a: 'ä' } } }, tags: { secret: 1 } });
  const client = await bench.open(id);
  const twin = await limit('getTwin', client.getTwin());
  assert.equal(twin.properties.desired.interval, 5);
  assert.deepEqual(twin.properties.desired.nested, { a: 'ä' });
  assert.equal(twin.properties.desired.$version, 2);
  assert.equal(twin.properties.reported.$version, 1);
  assert.equal(twin.tags, undefined, 'tags are not for devices');
}

function report(twin, patch) {
  return limit('update', new Promise((resolve, reject) => {
    twin.properties.reported.update(patch, (error) => (error ? reject(error) : resolve()));
  }));
}

async function twinReported(bench) {
  const id = await bench.identity();
  const client = await bench.open(id);
  const twin = await limit('getTwin', client.getTwin());
  await report(twin, { battery: 55, nested: { a: 1, b: 'x/ä' }, gone: true });
  await report(twin, { battery: 54, gone: null, nested: { a: 2 } });
  const { $metadata, $version, ...reported } = (await bench.service.json('GET', `/twins${bench.path(id)}`)).properties.reported;
  assert.deepEqual(reported, { battery: 54, nested: { a: 2, b: 'x/ä' } });
  assert.equal($version, 3);
  assert.ok($metadata.$lastUpdated);
  const { error } = await settled(report(twin, { 'a.b': 1 }));
  assert.ok(error, 'a key with a dot was accepted');
  await report(twin, { battery: 53 });
}

async function twinDesired(bench) {
  const id = await bench.identity();
  const client = await bench.open(id);
  const twin = await limit('getTwin', client.getTwin());
  const got = listen(twin, 'properties.desired');
  const wanted = [];
  twin.on('properties.desired.interval', (value) => wanted.push(value));
  // The SDK tells what it has, then subscribes on its own time: changes are made
  // until one arrives.
  await until('a change arrives', async () => {
    await bench.service.json('PATCH', `/twins${bench.path(id)}`, { properties: { desired: { probe: Math.random() } } });
    return got.some(([patch]) => patch.probe !== undefined);
  });
  const path = `/twins${bench.path(id)}`;
  await bench.service.json('PATCH', path, { properties: { desired: { interval: 5, other: { x: 1 } } } });
  const { properties } = await bench.service.json('PATCH', path, { properties: { desired: { interval: 6, other: null } } });
  await until('both changes arrive', () => got.at(-1)[0].$version === properties.desired.$version);
  const [last] = got.at(-1);
  assert.equal(last.interval, 6);
  assert.equal(last.other, null);
  assert.deepEqual(wanted.slice(-2), [5, 6]);
  assert.equal(twin.properties.desired.interval, 6);
  assert.equal(twin.properties.desired.other, undefined);
}

// --- Modules --------------------------------------------------------------------

async function outputs(bench) {
  const id = await bench.identity();
  const client = await bench.open(id);
  const message = new Message('body');
  message.properties.add('colour', 'red');
  await limit('sendOutputEvent', client.sendOutputEvent('alerts', message));
  const [event] = await bench.events(id, 1);
  assert.equal(event.text, 'body');
  assert.equal(event.systemProperties['iothub-outputname'], 'alerts');
  assert.deepEqual(event.properties, { colour: 'red' });
}

// The hub routes output "alerts" of module "source" to input "in1" of "mod1", the
// module under test.
async function inputs(bench) {
  const id = await bench.identity();
  const source = await bench.open(await bench.sibling(id, 'source'));
  const client = await bench.open(id);
  const got = listen(client, 'inputMessage', (_input, message) => client.complete(message, () => {}));
  const message = new Message('body');
  message.messageId = 'm-1';
  message.properties.add('colour', 'dark red');
  await limit('sendOutputEvent', source.sendOutputEvent('alerts', message));
  await until('it comes', () => got.length === 1);
  await limit('sendOutputEvent', source.sendOutputEvent('other', new Message('elsewhere')));
  await limit('sendOutputEvent', source.sendOutputEvent('alerts', new Message('again')));
  await until('the next comes', () => got.length === 2);
  assert.deepEqual(got.map(([input, m]) => [input, m.getData().toString()]), [['in1', 'body'], ['in1', 'again']]);
  assert.equal(got[0][1].properties.getValue('colour'), 'dark red');
  assert.equal(got[0][1].messageId, 'm-1');
}

// --- The end of the hub, and its return -------------------------------------------

async function restart(bench, restarted) {
  const id = await bench.identity();
  const client = await bench.open(id);
  await limit('sendEvent', client.sendEvent(new Message('before')));
  await restarted();
  await limit('sendEvent', client.sendEvent(new Message('after')), 120);
  assert.deepEqual((await bench.events(id, 2)).map((event) => event.text), ['before', 'after']);
}

// A feature of kind "embedded" runs on the hub that the tests embed, where there
// are things that "iothub hub" cannot be told; "restart" is for those that get a
// function which has the hub restarted.
const any = () => true;
const devices = (bench) => !bench.module;
const modules = (bench) => bench.module;

module.exports = [
  ['connect and disconnect', connectAndDisconnect, any],
  ['a wrong credential is refused with UnauthorizedError', badCredential, any],
  ['telemetry: body, application and system properties', telemetry, any],
  ['telemetry: 1000 at once, in order', burst, any],
  ['telemetry: 255 KiB', large, any],
  ['telemetry: too large', oversize, any],
  ['telemetry: model id', model, any],
  ['telemetry: module outputs', outputs, modules],
  ['token renewal', renewal, (bench) => !bench.x509],
  ['a second connection takes over', takeover, any],
  ['a disabled identity is disconnected', disabled, any],
  ['reconnect after a restart of the hub', restart, any, 'restart'],
  ['cloud-to-device: receive', c2dReceive, devices, 'embedded'],
  ['cloud-to-device: complete', c2dComplete, devices, 'embedded'],
  ['cloud-to-device: feedback', c2dFeedback, devices, 'embedded'],
  ['cloud-to-device: reject and abandon as MQTT has them', c2dRejectAbandon, devices, 'embedded'],
  ['module inputs', inputs, modules, 'embedded'],
  ['direct methods', methods, any],
  ['direct methods: device offline', methodOffline, any],
  ['direct methods: no answer', methodUnanswered, any],
  ['direct methods after a restart of the hub', methodsAfterRestart, any, 'restart'],
  ['twin: get', twinGet, any],
  ['twin: reported properties', twinReported, any],
  ['twin: desired properties', twinDesired, any],
].map(([name, run, applies, kind]) => ({ name, run, applies, kind }));
