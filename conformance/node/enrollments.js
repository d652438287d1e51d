'use strict';
// azure-iot-provisioning-service, unmodified: every method of its client, with
// azure-iot-provisioning-device as the device that registers.

const assert = require('node:assert/strict');
const crypto = require('node:crypto');
const fs = require('node:fs');

const { ProvisioningDeviceClient } = require('azure-iot-provisioning-device');
const { Http } = require('azure-iot-provisioning-device-http');
const { SymmetricKeySecurityClient } = require('azure-iot-security-symmetric-key');
const { ProvisioningServiceClient } = require('azure-iot-provisioning-service');

const { limit } = require('./wait.js');

const newId = () => `enrolled-${crypto.randomUUID().slice(0, 8)}`;
const key = crypto.randomBytes(32).toString('base64');
const derive = (id) => crypto.createHmac('sha256', Buffer.from(key, 'base64')).update(id).digest('base64');
const symmetric = { type: 'symmetricKey', symmetricKey: { primaryKey: key, secondaryKey: key } };

// body is the answer itself, without the response that some of the methods wrap it in.
const body = (answer) => answer.responseBody ?? answer.result ?? answer;

// refused says with which status a call fails.
async function refused(promise) {
  try {
    await promise;
  } catch (error) {
    return error.response?.statusCode ?? error.name;
  }
  return 'nothing: it succeeded';
}

// all reads a query to its end, and says how many pages it had. The client begins
// anew unless it is told where it was.
async function all(query) {
  const rows = [];
  let pages = 0;
  for (; query.hasMoreResults; pages++) rows.push(...body(await query.next(query.continuationToken)));
  return { rows, pages };
}

// kinds are the methods of the two kinds of enrollments.
const kinds = (client) => ({
  'individual enrollments': {
    id: 'registrationId', put: (e) => client.createOrUpdateIndividualEnrollment(e), get: (id) => client.getIndividualEnrollment(id),
    remove: (...args) => client.deleteIndividualEnrollment(...args), query: (...args) => client.createIndividualEnrollmentQuery(...args),
    keys: (id) => client.getIndividualEnrollmentAttestationMechanism(id), source: 'enrollments',
  },
  'enrollment groups': {
    id: 'enrollmentGroupId', put: (e) => client.createOrUpdateEnrollmentGroup(e), get: (id) => client.getEnrollmentGroup(id),
    remove: (...args) => client.deleteEnrollmentGroup(...args), query: (...args) => client.createEnrollmentGroupQuery(...args),
    keys: (id) => client.getEnrollmentGroupAttestationMechanism(id), source: 'enrollmentGroups',
  },
});

// verbs are the features of one kind.
const verbs = (name, kind) => ({
  async [`${name}: create, get, update, delete`]() {
    const id = newId();
    const created = body(await kind.put({ [kind.id]: id, attestation: { type: 'symmetricKey' }, initialTwin: { tags: { site: 'north' }, properties: { desired: {} } } }));
    assert.equal(created[kind.id], id);
    assert.match(created.etag, /^".+"$/);
    const read = body(await kind.get(id));
    assert.equal(read.provisioningStatus, 'enabled');
    assert.equal(read.initialTwin.tags.site, 'north');
    const updated = body(await kind.put({ ...read, provisioningStatus: 'disabled' }));
    assert.equal(updated.provisioningStatus, 'disabled');
    assert.equal(await refused(kind.put({ ...read, provisioningStatus: 'enabled' })), 412);
    assert.equal(await refused(kind.put({ [kind.id]: id, attestation: { type: 'symmetricKey' } })), 409);
    assert.equal(await refused(kind.remove(id, read.etag)), 412);
    await kind.remove(updated);
    assert.equal(await refused(kind.get(id)), 404);
    await kind.put({ [kind.id]: id, attestation: { type: 'symmetricKey' } });
    await kind.remove(id);
    assert.equal(await refused(kind.remove(id)), 404);
  },
  async [`${name}: attestation mechanism`]() {
    const id = newId();
    await kind.put({ [kind.id]: id, attestation: symmetric });
    assert.equal(body(await kind.get(id)).attestation.symmetricKey, undefined);
    assert.deepEqual(body(await kind.keys(id)), symmetric);
    await kind.remove(id);
  },
  async [`${name}: query in pages`]() {
    const ids = Array.from({ length: 5 }, newId);
    for (const id of ids) await kind.put({ [kind.id]: id, attestation: { type: 'symmetricKey' } });
    for (const query of ['*', `SELECT * FROM ${kind.source}`]) {
      const { rows, pages } = await all(kind.query({ query }, 2));
      assert.ok(pages > 2);
      for (const id of ids) assert.ok(rows.some((row) => row[kind.id] === id), id);
    }
    for (const id of ids) await kind.remove(id);
  },
});

module.exports = ({ address, connectionString, idScope }) => {
  const client = ProvisioningServiceClient.fromConnectionString(connectionString);
  const register = (id) => limit('registration', ProvisioningDeviceClient
    .create(address, idScope, new Http(), new SymmetricKeySecurityClient(id, derive(id))).register());
  return {
    ...Object.assign({}, ...Object.entries(kinds(client)).map(([name, kind]) => verbs(name, kind))),
    async 'enrollment groups: a certificate that signs'() {
      const enrollmentGroupId = newId();
      const certificate = fs.readFileSync(process.env.NODE_EXTRA_CA_CERTS, 'utf8');
      await client.createOrUpdateEnrollmentGroup({ enrollmentGroupId, attestation: { type: 'x509', x509: { signingCertificates: { primary: { certificate } } } } });
      const read = body(await client.getEnrollmentGroup(enrollmentGroupId));
      const { info } = read.attestation.x509.signingCertificates.primary;
      assert.equal(info.sha256Thumbprint.toUpperCase(), new crypto.X509Certificate(certificate).fingerprint256.replaceAll(':', ''));
      const updated = body(await client.createOrUpdateEnrollmentGroup({ ...read, provisioningStatus: 'disabled' }));
      assert.deepEqual(updated.attestation, read.attestation);
      await client.deleteEnrollmentGroup(enrollmentGroupId);
    },
    async 'bulk: create, update, delete'() {
      const enrollments = Array.from({ length: 3 }, () => ({ registrationId: newId(), attestation: { type: 'symmetricKey' } }));
      // Without a callback this method of the client never ends.
      const run = (mode) => new Promise((resolve, reject) => {
        client.runBulkEnrollmentOperation({ mode, enrollments }, (error, result) => (error ? reject(error) : resolve(result)));
      });
      assert.deepEqual(body(await run('create')), { isSuccessful: true, errors: [] });
      const again = body(await run('create'));
      assert.equal(again.isSuccessful, false);
      assert.deepEqual(again.errors.map((e) => [e.registrationId, e.errorCode]), enrollments.map((e) => [e.registrationId, 409204]));
      enrollments[0].provisioningStatus = 'disabled';
      assert.equal(body(await run('update')).isSuccessful, true);
      assert.equal(body(await client.getIndividualEnrollment(enrollments[0].registrationId)).provisioningStatus, 'disabled');
      assert.equal(body(await run('delete')).isSuccessful, true);
      assert.equal(await refused(client.getIndividualEnrollment(enrollments[0].registrationId)), 404);
    },
    async 'registrations: get, query in pages, delete'() {
      const enrollmentGroupId = newId();
      await client.createOrUpdateEnrollmentGroup({ enrollmentGroupId, attestation: symmetric });
      const ids = Array.from({ length: 3 }, newId);
      for (const id of ids) await register(id);
      const state = body(await client.getDeviceRegistrationState(ids[0]));
      assert.deepEqual([state.status, state.substatus, state.deviceId], ['assigned', 'initialAssignment', ids[0]]);
      const { rows, pages } = await all(client.createEnrollmentGroupDeviceRegistrationStateQuery({ query: '*' }, enrollmentGroupId, 1));
      assert.ok(pages > 2);
      assert.deepEqual(rows.map((row) => row.registrationId).sort(), [...ids].sort());
      assert.equal(await refused(client.deleteDeviceRegistrationState(ids[0], '"other"')), 412);
      await client.deleteDeviceRegistrationState(state);
      assert.equal(await refused(client.getDeviceRegistrationState(ids[0])), 404);
      await client.deleteDeviceRegistrationState(ids[1]);
      await client.deleteEnrollmentGroup(enrollmentGroupId);
      assert.equal(await refused(client.getDeviceRegistrationState(ids[2])), 404);
    },
    async 'errors have their statuses'() {
      const stranger = ProvisioningServiceClient.fromConnectionString(connectionString.replace(/SharedAccessKey=.{6}/, 'SharedAccessKey=AAAAAA'));
      assert.equal(await refused(stranger.getIndividualEnrollment(newId())), 401);
      assert.equal(await refused(client.createOrUpdateIndividualEnrollment({ registrationId: newId(), attestation: { type: 'magic' } })), 400);
      assert.equal(await refused(client.createIndividualEnrollmentQuery({ query: 'SELECT * FROM enrollments WHERE a ==' }).next()), 400);
      assert.equal(await refused(client.getEnrollmentGroup(newId())), 404);
    },
  };
};
