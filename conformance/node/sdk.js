'use strict';
// The SDK under test, as installed.

const device = require('azure-iot-device');
const mqtt = require('azure-iot-device-mqtt');
const { NoRetry } = require('azure-iot-common');

module.exports = {
  ...device, NoRetry,
  transports: { MQTT: mqtt.Mqtt, 'MQTT over WebSocket': mqtt.MqttWs },
  versions: Object.fromEntries(['azure-iot-device', 'azure-iot-device-mqtt', 'mqtt'].map((name) => [
    name, require(`${name}/package.json`).version,
  ])),
};
