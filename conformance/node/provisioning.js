'use strict';
// azure-iot-provisioning-device, unmodified, on each of its transports, with each of
// its kinds of attestation: run.js forks this file, because the authority of the hub
// has to be trusted when the process starts.

const assert = require('node:assert/strict');
const crypto = require('node:crypto');
const fs = require('node:fs');
const http = require('node:http');
const path = require('node:path');
const util = require('node:util');

const { ProvisioningDeviceClient } = require('azure-iot-provisioning-device');
const mqtt = require('azure-iot-provisioning-device-mqtt');
const amqp = require('azure-iot-provisioning-device-amqp');
const { Http } = require('azure-iot-provisioning-device-http');
const { SymmetricKeySecurityClient } = require('azure-iot-security-symmetric-key');
const { TpmSecurityClient } = require('azure-iot-security-tpm');
const { X509Security } = require('azure-iot-security-x509');
const { SharedAccessSignature } = require('azure-iot-common');

const { Service } = require('./hub.js');
const sdk = require('./sdk.js');
const { Chip } = require('./tpm.js');
const { limit, settled } = require('./wait.js');

const client = 'azure-iot-provisioning-device for Node';
const transports = {
  MQTT: mqtt.Mqtt, 'MQTT over WebSocket': mqtt.MqttWs, HTTPS: Http, AMQP: amqp.Amqp, 'AMQP over WebSocket': amqp.AmqpWs,
};
const groupKey = crypto.randomBytes(32).toString('base64');
const derive = (id) => crypto.createHmac('sha256', Buffer.from(groupKey, 'base64')).update(id).digest('base64');
const symmetricKey = (primaryKey) => ({ type: 'symmetricKey', symmetricKey: { primaryKey, secondaryKey: primaryKey } });

const features = {
  async 'symmetric key of its own'(bench) {
    const key = crypto.randomBytes(32).toString('base64');
    await bench.enroll({ deviceId: `device-${bench.id}`, attestation: symmetricKey(key) });
    const result = await bench.register(new SymmetricKeySecurityClient(bench.id, key));
    assert.equal(result.deviceId, `device-${bench.id}`);
    await bench.connect(result, `SharedAccessKey=${key}`);
  },
  async 'symmetric key of a group'(bench) {
    const result = await bench.register(new SymmetricKeySecurityClient(bench.id, derive(bench.id)));
    assert.equal(result.deviceId, bench.id);
    await bench.connect(result, `SharedAccessKey=${derive(bench.id)}`);
  },
  async 'X.509'(bench) {
    const [cert, key] = ['crt', 'key'].map((kind) => fs.readFileSync(path.join(bench.certs, `provisioned.${kind}`), 'utf8'));
    bench.id = 'provisioned'; // the common name
    await bench.enroll({ attestation: { type: 'x509', x509: { clientCertificates: { primary: { certificate: cert } } } } });
    const result = await bench.register(new X509Security(bench.id, { cert, key }));
    await bench.connect(result, 'x509=true', { cert, key });
  },
  async 'TPM'(bench) {
    const chip = new Chip();
    try {
      await chip.start();
      const tpm = new TpmSecurityClient(bench.id, chip.tpm);
      const endorsementKey = await promised((done) => tpm.getEndorsementKey(done));
      await bench.enroll({ attestation: { type: 'tpm', tpm: { endorsementKey: endorsementKey.toString('base64') } } });
      const { assignedHub: host, deviceId } = await bench.register(tpm);
      const signature = await promised((done) => SharedAccessSignature.createWithSigningFunction(
        { host, deviceId }, Math.ceil(Date.now() / 1000) + 3600, (text, signed) => tpm.signWithIdentity(text, signed), done));
      await bench.open(sdk.Client.fromSharedAccessSignature(signature.toString(), sdk.transports.MQTT));
    } finally {
      chip.stop();
    }
  },
  async 'X.509 of a group'(bench) {
    const [cert, key] = ['crt', 'key'].map((kind) => fs.readFileSync(path.join(bench.certs, `member.${kind}`), 'utf8'));
    bench.id = 'member'; // the common name
    const result = await bench.register(new X509Security(bench.id, { cert, key }));
    assert.equal(result.deviceId, 'member');
    await bench.connect(result, 'x509=true', { cert, key });
  },
  async 'payload to and from custom allocation'(bench) {
    const key = crypto.randomBytes(32).toString('base64');
    let asked;
    const hook = http.createServer((request, response) => {
      let text = '';
      request.on('data', (chunk) => { text += chunk; });
      request.on('end', () => {
        asked = JSON.parse(text);
        response.end(JSON.stringify({ iotHubHostName: asked.linkedHubs[0], payload: { welcome: [bench.id] } }));
      });
    });
    await new Promise((resolve) => { hook.listen(0, '127.0.0.1', resolve); });
    try {
      await bench.enroll({
        attestation: symmetricKey(key), allocationPolicy: 'custom',
        customAllocationDefinition: { webhookUrl: `http://127.0.0.1:${hook.address().port}/`, apiVersion: '2019-03-31' },
      });
      const result = await bench.register(new SymmetricKeySecurityClient(bench.id, key), { modelId: 'dtmi:com:example;1' });
      assert.deepEqual(result.payload, { welcome: [bench.id] });
      assert.deepEqual(asked.deviceRuntimeContext.payload, { modelId: 'dtmi:com:example;1' });
    } finally {
      hook.close();
    }
  },
  async 'registers again with the same result'(bench) {
    const security = () => new SymmetricKeySecurityClient(bench.id, derive(bench.id));
    const first = await bench.register(security());
    const second = await bench.register(security());
    assert.deepEqual([second.assignedHub, second.deviceId, second.substatus], [first.assignedHub, first.deviceId, 'reprovisionedToInitialAssignment']);
  },
  async 'a wrong key is refused'(bench) {
    await bench.enroll({ attestation: symmetricKey(groupKey) });
    const { error } = await settled(bench.register(new SymmetricKeySecurityClient(bench.id, derive(bench.id))));
    assert.ok(error, 'it was let in');
    // Over AMQP the SDK knows only that it is not connected.
    if (bench.transport.startsWith('AMQP')) assert.equal(error.name, 'NotConnectedError');
    else assert.match(`${error.name} ${error.message}`, /Unauthorized|Not authorized/);
  },
  async 'a disabled enrollment is refused'(bench) {
    await bench.enroll({ attestation: symmetricKey(groupKey), provisioningStatus: 'disabled' });
    const { error, value } = await settled(bench.register(new SymmetricKeySecurityClient(bench.id, groupKey)));
    assert.ok(error, `it was assigned: ${JSON.stringify(value)}`);
    assert.doesNotMatch(error.message, /nothing happened/);
  },
};

// promised makes a promise of what takes a callback.
const promised = (start) => new Promise((resolve, reject) => {
  start((error, value) => (error ? reject(error) : resolve(value)));
});

// What the SDK has no transport for: it says so itself.
const applies = (feature, transport) => feature !== 'TPM' || !transport.startsWith('MQTT');

async function main({ address, idScope, connectionString, certs, only, verbose }) {
  const service = new Service({ address, port: 443, connectionString });
  await service.json('PUT', '/enrollmentGroups/factory', { enrollmentGroupId: 'factory', attestation: symmetricKey(groupKey) });
  const root = fs.readFileSync(path.join(certs, 'root.crt'), 'utf8');
  await service.json('PUT', '/enrollmentGroups/certified', {
    enrollmentGroupId: 'certified', attestation: { type: 'x509', x509: { signingCertificates: { primary: { certificate: root } } } },
  });
  for (const [transport, Transport] of Object.entries(transports)) {
    for (const [feature, test] of Object.entries(features)) {
      if (only && !feature.includes(only) || !applies(feature, transport)) continue;
      const bench = {
        transport, id: `${transport}-${feature}`.toLowerCase().replace(/[^a-z0-9]+/g, '-'), certs,
        enroll(enrollment) {
          return service.json('PUT', `/enrollments/${bench.id}`, { registrationId: bench.id, ...enrollment }, bench.id === 'provisioned' ? { 'If-Match': '*' } : {});
        },
        async register(security, payload) {
          const device = ProvisioningDeviceClient.create(address, idScope, new Transport(), security);
          if (payload) device.setProvisioningPayload(payload);
          const answer = await limit('register', device.register(), 30);
          const result = answer.registrationState ?? answer; // of a TPM it is the whole
          assert.equal(result.status, 'assigned');
          return result;
        },
        // connect is what the device does then.
        async connect({ assignedHub, deviceId }, credential, x509) {
          const device = sdk.Client.fromConnectionString(`HostName=${assignedHub};DeviceId=${deviceId};${credential}`, sdk.transports.MQTT);
          if (x509) await device.setOptions(x509);
          await bench.open(device);
        },
        async open(device) {
          device.setRetryPolicy(new sdk.NoRetry());
          await limit('connect', device.open());
          await limit('close', device.close());
        },
      };
      const began = Date.now();
      let result = 'pass';
      try {
        await limit(feature, test(bench), 60);
      } catch (error) {
        if (verbose) console.error(error);
        // Over AMQP it may be no Error.
        result = (error.message ?? util.inspect(error, { breakLength: Infinity })).split('\n')[0];
      }
      process.send({ client, transport, feature, result, seconds: (Date.now() - began) / 1000 });
    }
  }
}

main(JSON.parse(process.argv[2])).catch((error) => {
  console.error(error);
  process.exitCode = 1;
}).finally(() => process.disconnect());
