'use strict';
// A module of IoT Edge, written as the documentation says: it knows its environment
// only. `iothub edge` starts it for edge.js.
//
//   node edgemodule.js mqtt|websocket

const { ModuleClient, Message } = require('azure-iot-device');
const { Mqtt, MqttWs } = require('azure-iot-device-mqtt');

const transport = { mqtt: Mqtt, websocket: MqttWs }[process.argv[2]];

async function main() {
  const client = await ModuleClient.fromEnvironment(transport);
  client.on('error', (error) => console.error('client error', error.message));
  await client.open();
  client.on('inputMessage', async (input, message) => {
    const answer = new Message(`${input} got ${message.getData()}`);
    for (const { key, value } of message.properties.propertyList) {
      if (!key.startsWith('$.')) answer.properties.add(key, value); // the others are the hub's
    }
    await client.sendOutputEvent('up', answer);
    await client.complete(message);
  });
  client.onMethod('double', (request, response) => response.send(200, request.payload * 2, () => {}));
  client.onMethod('emit', async (request, response) => {
    const message = new Message(request.payload.body);
    message.properties.add('colour', 'blue');
    await client.sendOutputEvent(request.payload.output, message);
    response.send(200, null, () => {});
  });
  client.onMethod('call', async (request, response) => {
    const { module, methodName, payload } = request.payload;
    try {
      const result = await client.invokeMethod(process.env.IOTEDGE_DEVICEID, module, { methodName, payload, responseTimeoutInSeconds: 10, connectTimeoutInSeconds: 10 });
      response.send(200, result, () => {});
    } catch (error) {
      response.send(500, String(error), () => {});
    }
  });
  const twin = await client.getTwin();
  twin.on('properties.desired', (desired) => {
    if (desired.interval === undefined) return;
    twin.properties.reported.update({ interval: desired.interval }, (error) => error && console.error('report', error.message));
  });
  await client.sendEvent(new Message('started'));
  console.log('ready');
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
