'use strict';
// The official clients for back ends, unmodified: azure-iothub, @azure/event-hubs and
// azure-iot-provisioning-service, with azure-iot-device as the device at the other end. A process of its own runs
// all features and tells the parent what became of each.

const assert = require('node:assert/strict');
const crypto = require('node:crypto');
const { once } = require('node:events');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');

const iothub = require('azure-iothub');
const { AmqpWs } = require('azure-iothub/dist/amqp_ws.js');
const { Amqp } = require('azure-iothub/dist/amqp.js');
const { Message } = require('azure-iot-common');
const eventHubs = require('@azure/event-hubs');
const { WebSocket } = require('ws');
const rhea = require('rhea');

const device = require('azure-iot-device');
const { Mqtt } = require('azure-iot-device-mqtt');
const enrollments = require('./enrollments.js');
const proton = require('./proton.js');
const { limit, until } = require('./wait.js');

const config = JSON.parse(process.argv[2]);
const connectionString = config.serviceConnectionString;
const registry = iothub.Registry.fromConnectionString(connectionString);
const open = []; // clients to be closed in the end

const newId = () => `backend-${crypto.randomUUID().slice(0, 8)}`;

// newDevice makes a device and connects it.
async function newDevice({ connect = true } = {}) {
  const deviceId = newId();
  const { responseBody } = await registry.create({ deviceId });
  const text = `HostName=${config.address};DeviceId=${deviceId};SharedAccessKey=${responseBody.authentication.symmetricKey.primaryKey}`;
  const client = device.Client.fromConnectionString(text, Mqtt);
  client.on('error', () => {}); // features look at what they need
  open.push(client);
  if (connect) await limit('open', client.open());
  return { deviceId, client };
}

// refused says with which class of error a call fails.
async function refused(promise) {
  try {
    await promise;
  } catch (error) {
    return error.name;
  }
  return 'nothing: it succeeded';
}

// bodyOf is the answer itself, which the clients wrap in different ways.
const bodyOf = (answer) => answer?.responseBody ?? answer?.jobStatus ?? answer?.result ?? answer;

const rest = {
  async 'registry: create, get, update, list, delete'() {
    const deviceId = newId();
    const created = (await registry.create({ deviceId, status: 'enabled' })).responseBody;
    assert.equal(created.deviceId, deviceId);
    assert.ok(created.authentication.symmetricKey.primaryKey);
    const updated = (await registry.update({ deviceId, status: 'disabled', statusReason: 'away' })).responseBody;
    assert.equal(updated.status, 'disabled');
    assert.equal((await registry.get(deviceId)).responseBody.statusReason, 'away');
    assert.ok((await registry.list()).responseBody.some((d) => d.deviceId === deviceId));
    await registry.delete(deviceId);
    assert.equal(await refused(registry.get(deviceId)), 'DeviceNotFoundError');
  },
  async 'registry: errors have their classes'() {
    const deviceId = newId();
    await registry.create({ deviceId });
    assert.equal(await refused(registry.create({ deviceId })), 'DeviceAlreadyExistsError');
    assert.equal(await refused(registry.get(newId())), 'DeviceNotFoundError');
    assert.equal(await refused(registry.updateTwin(deviceId, { tags: { a: 1 } }, 'AAAAAAAAAAk=')), 'InvalidEtagError');
    const stranger = iothub.Registry.fromConnectionString(connectionString.replace(/SharedAccessKey=.{6}/, 'SharedAccessKey=AAAAAA'));
    assert.equal(await refused(stranger.get(deviceId)), 'UnauthorizedError');
    assert.equal(await refused(registry.createQuery('SELECT * FROM devices WHERE a ==').next()), 'ArgumentError');
  },
  async 'registry: bulk'() {
    const ids = [newId(), newId()];
    const added = (await registry.addDevices(ids.map((deviceId) => ({ deviceId })))).responseBody;
    assert.equal(added.isSuccessful, true);
    await registry.updateDevices(ids.map((deviceId) => ({ deviceId, status: 'disabled' })), true);
    assert.equal((await registry.get(ids[1])).responseBody.status, 'disabled');
    await registry.removeDevices(ids.map((deviceId) => ({ deviceId })), true);
    assert.equal(await refused(registry.get(ids[0])), 'DeviceNotFoundError');
  },
  async 'registry: modules and statistics'() {
    const deviceId = newId();
    await registry.create({ deviceId });
    await registry.addModule({ deviceId, moduleId: 'm1' });
    assert.equal((await registry.getModule(deviceId, 'm1')).responseBody.moduleId, 'm1');
    assert.deepEqual((await registry.getModulesOnDevice(deviceId)).responseBody.map((m) => m.moduleId), ['m1']);
    await registry.removeModule(deviceId, 'm1');
    assert.equal((await registry.getModulesOnDevice(deviceId)).responseBody.length, 0);
    assert.ok((await registry.getRegistryStatistics()).responseBody.totalDeviceCount >= 1);
  },
  async twin() {
    const { deviceId, client } = await newDevice();
    let interval = 0;
    (await client.getTwin()).on('properties.desired', (delta) => { interval = delta.interval ?? interval; });
    const twin = bodyOf(await registry.getTwin(deviceId));
    const after = bodyOf(await twin.update({ tags: { room: 'attic' }, properties: { desired: { interval: 1 } } }));
    assert.equal(after.tags.room, 'attic');
    // The device asks for changes some time after it has been told to.
    let n = 1;
    await until('the device hears of desired properties', async () => {
      if (interval === 0) await registry.updateTwin(deviceId, { properties: { desired: { interval: n += 1 } } }, '*');
      return interval > 0;
    });
    await registry.updateTwin(deviceId, { tags: { floor: 3 } }, '*');
    assert.equal(await refused(twin.update({ tags: { room: 'roof' } })), 'InvalidEtagError');
    await registry.addModule({ deviceId, moduleId: 'm1' });
    const module = (await registry.getModuleTwin(deviceId, 'm1')).responseBody;
    assert.equal(module.moduleId, 'm1');
  },
  async 'query: pages of twins, and projections'() {
    const tag = newId();
    const ids = [];
    for (let i = 0; i < 5; i++) {
      const deviceId = newId();
      ids.push(deviceId);
      await registry.create({ deviceId });
      await registry.updateTwin(deviceId, { tags: { run: tag, n: i } }, '*');
    }
    const query = registry.createQuery(`SELECT * FROM devices WHERE tags.run = '${tag}' AND tags.n > 0`, 2);
    const found = [];
    while (query.hasMoreResults) found.push(...(await query.nextAsTwin()).result.map((t) => t.deviceId));
    assert.deepEqual(found.sort(), ids.slice(1).sort());
    const counted = await registry.createQuery(`SELECT COUNT() AS n FROM devices WHERE tags.run = '${tag}'`).next();
    assert.deepEqual(counted.result, [{ n: 5 }]);
  },
  async methods() {
    const { deviceId, client } = await newDevice();
    client.onDeviceMethod('add', (request, response) => response.send(200, { sum: request.payload.a + request.payload.b }));
    const service = iothub.Client.fromConnectionString(connectionString);
    const call = () => service.invokeDeviceMethod(deviceId, { methodName: 'add', payload: { a: 1, b: 2 }, responseTimeoutInSeconds: 10 });
    const answer = await until('the device serves methods', () => call().catch(() => null));
    assert.deepEqual(answer.result, { status: 200, payload: { sum: 3 } });
    const absent = newId();
    await registry.create({ deviceId: absent });
    assert.notEqual(await refused(service.invokeDeviceMethod(absent, { methodName: 'add' })), 'nothing: it succeeded');
  },
  async jobs() {
    const { deviceId, client } = await newDevice();
    client.onDeviceMethod('reboot', (request, response) => response.send(200, 'done'));
    const jobs = iothub.JobClient.fromConnectionString(connectionString);
    const wait = (id) => until('the job ends', async () => {
      const job = bodyOf(await jobs.getJob(id));
      return ['completed', 'failed', 'cancelled'].includes(job.status) && job;
    });
    const twinJob = newId();
    await jobs.scheduleTwinUpdate(twinJob, `deviceId = '${deviceId}'`, { tags: { job: twinJob }, etag: '*' }, new Date(), 60);
    const ended = await wait(twinJob);
    assert.equal(ended.status, 'completed');
    assert.equal(ended.deviceJobStatistics.succeededCount, 1);
    assert.equal((await registry.getTwin(deviceId)).responseBody.tags.job, twinJob);
    const methodJob = newId();
    await jobs.scheduleDeviceMethod(methodJob, `deviceId IN ['${deviceId}']`, { methodName: 'reboot', responseTimeoutInSeconds: 10 }, new Date(), 60);
    assert.equal((await wait(methodJob)).status, 'completed');
    const rows = await registry.createQuery(`SELECT * FROM devices.jobs WHERE devices.jobs.jobId = '${methodJob}'`).next();
    assert.equal(rows.result[0].status, 'completed');
    assert.ok((await jobs.createQuery('scheduleDeviceMethod', 'completed').next()).result.some((j) => j.jobId === methodJob));
    const later = newId();
    await jobs.scheduleTwinUpdate(later, '*', { tags: { a: 1 } }, new Date(Date.now() + 3600e3), 60);
    assert.equal(bodyOf(await jobs.cancelJob(later)).status, 'cancelled');
  },
  async configurations() {
    const { deviceId } = await newDevice({ connect: false });
    const id = newId();
    await registry.updateTwin(deviceId, { tags: { target: id } }, '*');
    await registry.addConfiguration({
      id, schemaVersion: '1.0', priority: 10, targetCondition: `tags.target = '${id}'`,
      content: { deviceContent: { 'properties.desired.colour': 'blue' } },
    });
    await until('the configuration is applied', async () => (await registry.getTwin(deviceId)).responseBody.properties.desired.colour === 'blue');
    const got = (await registry.getConfiguration(id)).responseBody;
    assert.equal(got.id, id);
    got.priority = 11;
    assert.equal((await registry.updateConfiguration(got)).responseBody.priority, 11);
    assert.ok((await registry.getConfigurations()).responseBody.some((c) => c.id === id));
    await registry.removeConfiguration(id);
    assert.notEqual(await refused(registry.getConfiguration(id)), 'nothing: it succeeded');
  },
  async 'digital twins'() {
    const { deviceId, client } = await newDevice();
    client.onDeviceMethod('start', (request, response) => response.send(200, { started: request.payload }));
    const twins = new iothub.DigitalTwinClient(new iothub.IoTHubTokenCredentials(connectionString));
    assert.equal((await twins.getDigitalTwin(deviceId)).$dtId, deviceId);
    await twins.updateDigitalTwin(deviceId, [{ op: 'add', path: '/limit', value: 5 }]);
    assert.equal((await registry.getTwin(deviceId)).responseBody.properties.desired.limit, 5);
    const answer = await until('the device serves commands', () => twins.invokeCommand(deviceId, 'start', 3).catch(() => null));
    assert.equal(answer.statusCode ?? answer.xMsCommandStatuscode, 200);
  },
};

const amqp = (Transport) => ({
  async 'messages to devices, with feedback'() {
    const service = iothub.Client.fromConnectionString(connectionString, Transport);
    open.push(service);
    await limit('open', service.open());
    const { deviceId, client } = await newDevice();
    const arrived = once(client, 'message');
    const receiver = bodyOf(await service.getFeedbackReceiver());
    const told = new Promise((resolve) => {
      receiver.on('message', (batch) => {
        const records = JSON.parse(batch.data.toString());
        receiver.complete(batch, () => {});
        const own = records.find((r) => r.deviceId === deviceId);
        if (own) resolve(own);
      });
    });
    const message = new Message('hello');
    message.messageId = newId();
    message.ack = 'full';
    message.properties.add('colour', 'blue');
    await limit('send', service.send(deviceId, message));
    const [got] = await limit('the message', arrived);
    assert.equal(got.data.toString(), 'hello');
    assert.equal(got.properties.getValue('colour'), 'blue');
    await client.complete(got);
    const record = await limit('the feedback', told);
    assert.equal(record.originalMessageId, message.messageId);
    assert.equal(record.statusCode, 'Success');
    assert.notEqual(await refused(service.send(newId(), new Message('nobody'))), 'nothing: it succeeded');
    await service.close();
  },
  async 'file upload, with its notification'() {
    const service = iothub.Client.fromConnectionString(connectionString, Transport);
    open.push(service);
    await limit('open', service.open());
    const { deviceId, client } = await newDevice();
    const receiver = bodyOf(await service.getFileNotificationReceiver());
    const told = new Promise((resolve) => {
      receiver.on('message', (m) => {
        const notification = JSON.parse(m.data.toString());
        receiver.complete(m, () => {});
        if (notification.deviceId === deviceId) resolve(notification);
      });
    });
    const file = path.join(os.tmpdir(), newId());
    fs.writeFileSync(file, crypto.randomBytes(300_000));
    try {
      await limit('uploadToBlob', new Promise((resolve, reject) => {
        client.uploadToBlob('photos/a b.bin', fs.createReadStream(file), 300_000, (error) => (error ? reject(error) : resolve()));
      }));
    } finally {
      fs.rmSync(file);
    }
    const notification = await limit('the notification', told);
    assert.equal(notification.blobName, `${deviceId}/photos/a b.bin`);
    assert.equal(notification.blobSizeInBytes, 300_000);
    await service.close();
  },
});

function consumer(kind, name, group = '$Default') {
  const [text, options] = {
    TLS: [config.eventHub, {}],
    'WebSocket': [config.eventHub, { webSocketOptions: { webSocket: WebSocket } }],
    'development mode': [config.eventHubEmulator, {}],
  }[kind];
  const client = new eventHubs.EventHubConsumerClient(group, name ? text.replace(/EntityPath=[^;]*/, `EntityPath=${name}`) : text, {
    retryOptions: { maxRetries: 1 }, ...options,
  });
  open.push(client);
  return client;
}

// read waits for so many events of a device.
function read(client, deviceId, count, startPosition = eventHubs.earliestEventPosition) {
  const events = [];
  let subscription;
  return limit(`${count} events`, new Promise((resolve, reject) => {
    subscription = client.subscribe({
      async processEvents(batch) {
        events.push(...batch.filter((e) => e.systemProperties['iothub-connection-device-id'] === deviceId));
        if (events.length >= count) resolve(events);
      },
      async processError(error) { reject(error); },
    }, { startPosition });
  })).finally(() => subscription.close());
}

const events = (kind) => ({
  async 'properties of event hub and partitions'() {
    const client = consumer(kind);
    const properties = await limit('getEventHubProperties', client.getEventHubProperties());
    assert.ok(properties.partitionIds.length >= 1);
    const partition = await client.getPartitionProperties(properties.partitionIds[0]);
    assert.equal(partition.partitionId, properties.partitionIds[0]);
  },
  async 'events of a device, with their properties'() {
    const { deviceId, client } = await newDevice();
    for (let i = 0; i < 20; i++) {
      const message = new device.Message(JSON.stringify({ i }));
      message.messageId = `m${i}`;
      message.contentType = 'application/json';
      message.contentEncoding = 'utf-8';
      message.properties.add('i', String(i));
      if (i % 2) message.properties.add('level', 'hot');
      await client.sendEvent(message);
    }
    const got = await read(consumer(kind), deviceId, 20);
    assert.deepEqual(got.map((e) => e.body.i), [...Array(20).keys()]);
    assert.equal(got[3].properties.i, '3');
    assert.equal(got[3].messageId, 'm3');
    assert.equal(got[3].systemProperties['iothub-message-source'], 'Telemetry');
    const later = await read(consumer(kind), deviceId, 9, { sequenceNumber: got[10].sequenceNumber });
    assert.deepEqual(later.map((e) => e.body.i), [11, 12, 13, 14, 15, 16, 17, 18, 19]);
    assert.deepEqual((await read(consumer(kind, 'alerts'), deviceId, 10)).map((e) => e.body.i % 2), Array(10).fill(1));
  },
  async 'a receiver of a higher owner level takes over'() {
    const { deviceId, client } = await newDevice();
    await client.sendEvent(new device.Message('x'));
    const first = consumer(kind, '', 'second');
    const id = (await first.getPartitionIds())[0];
    const lost = new Promise((resolve) => {
      open.push(first.subscribe(id, { async processEvents() {}, async processError(error) { resolve(error.code); } }, { ownerLevel: 1 }));
    });
    await new Promise((resolve) => { setTimeout(resolve, 300); }); // until the first is there
    open.push(consumer(kind, '', 'second').subscribe(id, { async processEvents() {}, async processError() {} }, { ownerLevel: 2 }));
    assert.equal(await limit('the first loses it', lost), 'ReceiverDisconnectedError');
    void deviceId;
  },
});

// rheaPeer is an AMQP client that is not Microsoft's: SASL PLAIN, as in the C SDK.
const rheaPeer = {
  async 'send to a device, and be refused'() {
    const { deviceId, client } = await newDevice();
    const arrived = once(client, 'message');
    const text = (name) => connectionString.match(new RegExp(`${name}=([^;]*)`))[1];
    const container = rhea.create_container();
    const connection = container.connect({
      transport: 'tls', host: config.address, port: 5671, servername: config.address, reconnect: false,
      username: `${text('SharedAccessKeyName')}@sas.root.hub`,
      password: sasToken(text),
    });
    const sender = connection.open_sender('/messages/devicebound');
    await limit('credit', once(sender, 'sendable'));
    const outcome = (message) => new Promise((resolve) => {
      for (const name of ['accepted', 'rejected', 'released']) sender.once(name, (context) => resolve([name, context.delivery.remote_state?.error?.condition]));
      sender.send(message);
    });
    const [accepted] = await limit('the outcome', outcome({ to: `/devices/${deviceId}/messages/devicebound`, body: rhea.message.data_section(Buffer.from('hi')) }));
    assert.equal(accepted, 'accepted');
    assert.equal((await limit('the message', arrived))[0].data.toString(), 'hi');
    const [rejected, condition] = await limit('the outcome', outcome({ to: `/devices/${newId()}/messages/devicebound`, body: 'x' }));
    assert.deepEqual([rejected, condition], ['rejected', 'amqp:not-found']);
    connection.close();
  },
};

function sasToken(text) {
  const resource = encodeURIComponent(config.address);
  const ends = Math.floor(Date.now() / 1000) + 600;
  const signature = crypto.createHmac('sha256', Buffer.from(text('SharedAccessKey'), 'base64')).update(`${resource}\n${ends}`).digest('base64');
  return `SharedAccessSignature sr=${resource}&sig=${encodeURIComponent(signature)}&se=${ends}&skn=${text('SharedAccessKeyName')}`;
}

const groups = [
  ['azure-iothub for Node', 'HTTPS', rest],
  ['azure-iothub for Node', 'AMQP', amqp(Amqp)],
  ['azure-iothub for Node', 'AMQP over WebSocket', amqp(AmqpWs)],
  ['@azure/event-hubs for Node', 'TLS', events('TLS')],
  ['@azure/event-hubs for Node', 'WebSocket', events('WebSocket')],
  ['@azure/event-hubs for Node', 'development mode', events('development mode')],
  ['azure-iot-provisioning-service for Node', 'HTTPS', enrollments({ address: config.address, connectionString: config.provisioningConnectionString, idScope: config.idScope })],
  ['rhea', 'TLS', rheaPeer],
  ['Qpid Proton for Python', 'TLS', proton({ address: config.address, connectionString, eventHub: config.eventHub, newDevice, newId })],
];

async function main() {
  for (const [client, transport, features] of groups) {
    for (const [feature, run] of Object.entries(features)) {
      if (config.only && !feature.includes(config.only)) continue;
      const began = Date.now();
      let result = 'pass';
      try {
        await run();
      } catch (error) {
        result = String(error?.message ?? error).split('\n')[0];
        if (config.verbose) console.error(error);
      }
      process.send({ client, transport, feature, result, seconds: (Date.now() - began) / 1000 });
    }
  }
  for (const client of open) {
    try {
      await Promise.race([Promise.resolve(client.close?.()), new Promise((resolve) => { setTimeout(resolve, 500); })]);
    } catch { /* it was closed already */ }
  }
  process.exit(0);
}

main();
