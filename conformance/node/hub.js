'use strict';
// The hub as a child process, and its REST API.

const { spawn } = require('node:child_process');
const crypto = require('node:crypto');
const fs = require('node:fs');
const https = require('node:https');

// Hub starts and stops one hub, again and again on the same data and ports.
class Hub {
  constructor({ binary, args, data, address, log }) {
    Object.assign(this, { binary, args, data, address, log });
  }

  async start() {
    const log = fs.openSync(this.log, 'a');
    const child = spawn(this.binary, [...this.args, '--data', this.data, '--listen', this.address], {
      stdio: ['ignore', 'pipe', log],
    });
    fs.closeSync(log);
    this.child = child;
    this.ended = new Promise((resolve) => child.once('exit', (code, signal) => resolve(signal || code)));
    const line = await new Promise((resolve, reject) => {
      let text = '';
      child.stdout.on('data', (chunk) => {
        text += chunk;
        const end = text.indexOf('\n', text.indexOf('{')); // modules of iothub edge print too
        if (text.includes('{') && end > 0) resolve(text.slice(text.indexOf('{'), end));
      });
      child.once('error', reject);
      this.ended.then((code) => reject(new Error(`the hub ended with ${code}; its log is ${this.log}`)));
    });
    this.report = JSON.parse(line);
    return this.report;
  }

  async stop() {
    this.child.kill('SIGTERM');
    return this.ended;
  }
}

function port(report, protocol) {
  const listener = report.listeners.find((l) => l.protocol === protocol);
  return Number(listener.address.slice(listener.address.lastIndexOf(':') + 1));
}

function parse(connectionString) {
  return Object.fromEntries(connectionString.split(';').filter(Boolean).map((pair) => {
    const i = pair.indexOf('=');
    return [pair.slice(0, i), pair.slice(i + 1)];
  }));
}

// Service is the back end: it talks REST to the hub.
class Service {
  constructor({ address, port, connectionString, ca, control }) {
    Object.assign(this, { address, port, control });
    this.policy = parse(connectionString);
    this.agent = new https.Agent({ keepAlive: true, ca });
  }

  token() {
    const resource = encodeURIComponent(this.policy.HostName);
    const expiry = Math.floor(Date.now() / 1000) + 3600;
    const signature = crypto.createHmac('sha256', Buffer.from(this.policy.SharedAccessKey, 'base64'))
      .update(`${resource}\n${expiry}`).digest('base64');
    return `SharedAccessSignature sr=${resource}&sig=${encodeURIComponent(signature)}&se=${expiry}&skn=${this.policy.SharedAccessKeyName}`;
  }

  open(method, path, body, headers) {
    const request = https.request({
      agent: this.agent, host: this.address, port: this.port, method,
      path: path + (path.includes('?') ? '&' : '?') + 'api-version=2021-04-12',
      headers: { Authorization: this.token(), ...headers },
    });
    return new Promise((resolve, reject) => {
      request.once('error', reject);
      request.once('response', resolve);
      request.end(body);
    });
  }

  // request makes a request and gives status and text.
  async request(method, path, body, headers) {
    const response = await this.open(method, path, body, headers);
    const chunks = [];
    for await (const chunk of response) chunks.push(chunk);
    return { status: response.statusCode, text: Buffer.concat(chunks).toString() };
  }

  // json makes a request that has to succeed and gives the answer's JSON.
  async json(method, path, body, headers = {}) {
    const text = body === undefined ? undefined : JSON.stringify(body);
    const type = { 'Content-Type': 'application/json; charset=utf-8' };
    const answer = await this.request(method, path, text, { ...type, ...headers });
    if (answer.status < 200 || answer.status > 299) {
      const error = new Error(`the hub's REST API: ${method} ${path}: ${answer.status} ${shorten(answer.text)}`);
      error.status = answer.status;
      throw error;
    }
    return answer.text ? JSON.parse(answer.text) : undefined;
  }

  // events gives all events of a device that are stored now.
  async events(deviceId) {
    const answer = await this.request('GET', `/iothub/events?from=start&wait=false&device=${encodeURIComponent(deviceId)}`);
    if (answer.status !== 200) throw new Error(`the hub's event stream: ${answer.status} ${shorten(answer.text)}`);
    return answer.text.split('\n').filter(Boolean).map((line) => {
      const event = JSON.parse(line);
      event.text = Buffer.from(event.body || '', 'base64').toString();
      return event;
    });
  }

  // sendToDevice sends a cloud-to-device message; only the embedded hub can.
  async sendToDevice(deviceId, message) {
    const answer = await fetch(`http://${this.control}/messages?device=${deviceId}`, { method: 'POST', body: JSON.stringify(message) });
    if (!answer.ok) throw new Error(`a cloud-to-device message could not be sent: ${shorten(await answer.text())}`);
  }

  // feedback takes the feedback records there are.
  async feedback() {
    const response = await this.open('GET', '/messages/serviceBound/feedback');
    const chunks = [];
    for await (const chunk of response) chunks.push(chunk);
    if (response.statusCode === 204) return [];
    const lock = response.headers.etag.replaceAll('"', '');
    await this.json('DELETE', `/messages/serviceBound/feedback/${lock}`);
    return JSON.parse(Buffer.concat(chunks).toString());
  }
}

// shorten takes out of an answer what differs from run to run, and its end.
function shorten(text) {
  try {
    const { Message } = JSON.parse(text);
    if (Message) text = Message;
  } catch {
    // it is no JSON
  }
  text = text.replace(/\s+/g, ' ').trim();
  return text.length > 70 ? `${text.slice(0, 70)}…` : text;
}

module.exports = { Hub, Service, port };
