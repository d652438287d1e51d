'use strict';
// Apache Qpid Proton for Python, Debian's python3-qpid-proton: qpid/peer.py is
// what it does, this file the device at the other end and what has to come of it.

const assert = require('node:assert/strict');
const { execFileSync, spawn } = require('node:child_process');
const { once } = require('node:events');
const path = require('node:path');
const { text: read } = require('node:stream/consumers');

const device = require('azure-iot-device');
const { limit } = require('./wait.js');

const script = path.join(__dirname, '..', 'qpid', 'peer.py');

// The Python for which Debian has the package need not be the first one.
const python = ['python3', '/usr/bin/python3'].find((command) => {
  try {
    execFileSync(command, ['-c', 'import proton.utils'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
});

module.exports = ({ address, connectionString, eventHub, newDevice, newId }) => {
  const text = (name, from = connectionString) => from.match(new RegExp(`${name}=([^;]*)`))[1];
  const proton = async (command, more) => {
    if (!python) throw new Error('python3-qpid-proton is not installed');
    const config = {
      host: address, ca: process.env.NODE_EXTRA_CA_CERTS,
      policy: text('SharedAccessKeyName'), key: text('SharedAccessKey'), ...more,
    };
    const child = spawn(python, [script, command], { timeout: 60_000 });
    child.stdin.end(JSON.stringify(config)); // arguments would show the key to everybody
    const [said, wrong] = await Promise.all([read(child.stdout), read(child.stderr)]);
    if (wrong) throw new Error(wrong.trim().split('\n').pop());
    return JSON.parse(said);
  };
  return {
    async 'send to a device, and get feedback'() {
      const { deviceId, client } = await newDevice();
      const arrived = once(client, 'message');
      const messageId = newId();
      const feedback = proton('send', { deviceId, messageId });
      const [got] = await limit('the message', Promise.race([arrived, feedback]));
      assert.equal(got.data.toString(), 'hello');
      assert.equal(got.messageId, messageId);
      assert.equal(got.properties.getValue('colour'), 'blue');
      await client.complete(got);
      assert.equal((await feedback).statusCode, 'Success');
    },
    async 'be refused'() {
      assert.deepEqual(await proton('refused'), { message: 'rejected', login: 'refused' });
    },
    async 'read events, with a token put to $cbs'() {
      const { deviceId, client } = await newDevice();
      for (let i = 0; i < 20; i++) {
        const message = new device.Message(JSON.stringify({ i }));
        message.messageId = `m${i}`;
        message.properties.add('i', String(i));
        await client.sendEvent(message);
      }
      const { events, unknownGroup } = await proton('events', {
        deviceId, count: 20, partitions: 4, eventHub: text('EntityPath', eventHub),
        policy: text('SharedAccessKeyName', eventHub), key: text('SharedAccessKey', eventHub),
      });
      assert.deepEqual(events.map((e) => e.body.i), [...Array(20).keys()]);
      assert.deepEqual([events[3].id, events[3].properties.i], ['m3', '3']);
      assert.equal(unknownGroup, 'amqp:not-found');
    },
  };
};
