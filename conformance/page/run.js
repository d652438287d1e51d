'use strict';
// Uses the hub's page as a person would, in headless Chromium.
//
//   node run.js --hub BINARY --device BINARY --chromium BINARY [--screenshots DIR]
//
// Run it by ../page.sh, which makes what it needs.

const assert = require('node:assert');
const { spawn } = require('node:child_process');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const readline = require('node:readline');
const { parseArgs } = require('node:util');

const puppeteer = require('puppeteer-core');
const { Hub, Service, port } = require('../node/hub.js');

const { values: options } = parseArgs({
  options: { hub: { type: 'string' }, device: { type: 'string' }, chromium: { type: 'string' }, screenshots: { type: 'string' } },
});

// As hostile as a device id may be; what it sends may be anything.
const deviceId = "it's(onerror=alert(1)),%3Cb%3E?";
const hostile = '<img src=x onerror="window.hurt=1"><script>window.hurt=1</script>';

async function main() {
  const work = fs.mkdtempSync(path.join(os.tmpdir(), 'iothub-page-'));
  const address = process.platform === 'linux' ? '127.88.83.3' : '127.0.0.1';
  const hub = new Hub({
    binary: options.hub, args: ['hub', '--json', '--mqtt-port', '0', '--https-port', '0', '--amqp-port', '0', '--amqp-plain-port', '0', '--device', deviceId, '--device', 'idle'],
    address, data: path.join(work, 'data'), log: path.join(work, 'hub.log'),
  });
  const report = await hub.start();
  const origin = `https://${address}:${port(report, 'HTTPS')}`;
  const own = report.devices.find((d) => d.deviceId === deviceId).connectionString
    .replace(/HostName=[^;]*/, `HostName=${address}:${port(report, 'MQTT')}`);
  const device = new Device(options.device, own, report.caFile);
  const service = new Service({
    address, port: port(report, 'HTTPS'), connectionString: report.serviceConnectionString, ca: fs.readFileSync(report.caFile),
  });
  const browser = await puppeteer.launch({
    executablePath: options.chromium, acceptInsecureCerts: true,
    args: ['--no-sandbox', `--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE ${address}`],
  });
  let failed = 0;
  try {
    const page = await browser.newPage();
    page.setDefaultTimeout(10000);
    const watch = observe(page, origin);
    await page.setViewport({ width: 1200, height: 900 });
    await device.says('ready');
    for (const [name, test] of tests) {
      const began = Date.now();
      try {
        await test({ page, origin, report, device, service, work });
        watch.check();
        console.log(`ok   page: ${name} (${((Date.now() - began) / 1000).toFixed(1)} s)`);
      } catch (error) {
        failed += 1;
        console.log(`FAIL page: ${name}: ${error.stack}`);
      }
      if (options.screenshots) await shoot(page, name);
    }
  } finally {
    await browser.close();
    device.end();
    await hub.stop();
    if (failed) console.log(fs.readFileSync(hub.log, 'utf8').slice(-4000));
    fs.rmSync(work, { recursive: true });
  }
  console.log(`\n${tests.length - failed} of ${tests.length} passed`);
  process.exitCode = failed ? 1 : 0;
}

// Device is the device as a child process.
class Device {
  constructor(binary, connectionString, ca) {
    this.child = spawn(binary, [connectionString, ca], { stdio: ['pipe', 'pipe', 'inherit'] });
    this.lines = [];
    this.waiting = [];
    readline.createInterface(this.child.stdout).on('line', (line) => {
      this.lines.push(line);
      this.waiting.forEach((look) => look());
    });
    this.child.once('exit', () => this.waiting.forEach((look) => look(new Error('the device has ended'))));
  }

  says(text) {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`the device never said ${text}; it said ${this.lines.join(' | ')}`)), 10000);
      const look = (error) => {
        const line = this.lines.find((l) => l.includes(text));
        if (!error && line === undefined) return;
        clearTimeout(timer);
        this.waiting = this.waiting.filter((w) => w !== look);
        if (error) reject(error);
        else resolve(line);
      };
      this.waiting.push(look);
      look();
    });
  }

  send(text) { this.child.stdin.write(`${text}\n`); }

  end() { this.child.kill(); }
}

// observe notes what must never happen: requests to elsewhere, scripts from
// data, errors of the page's own.
function observe(page, origin) {
  const seen = [];
  page.on('request', (r) => {
    if (!r.url().startsWith(`${origin}/`)) seen.push(`a request to ${r.url()}`);
    if (/SharedAccess|sig=/.test(r.url())) seen.push(`a secret in the address ${r.url()}`);
  });
  page.on('pageerror', (error) => seen.push(`an error of the page: ${error}`));
  page.on('dialog', (dialog) => {
    if (dialog.type() !== 'confirm') seen.push(`a dialog: ${dialog.message()}`);
    dialog.accept();
  });
  return {
    check() { assert.deepStrictEqual(seen.splice(0), []); },
  };
}

const shown = (page, selector, text) => page.waitForFunction((s, t) => [...document.querySelectorAll(s)]
  .some((e) => e.textContent.includes(t)), {}, selector, text);

async function press(page, label) {
  await page.waitForFunction((l) => [...document.querySelectorAll('button')].some((b) => b.textContent === l && !b.disabled), {}, label);
  await page.evaluate((l) => [...document.querySelectorAll('button')].find((b) => b.textContent === l).click(), label);
}

async function fill(page, label, text) {
  await page.waitForFunction((l) => [...document.querySelectorAll('label')].some((e) => e.textContent === l), {}, label);
  const id = await page.evaluate((l) => [...document.querySelectorAll('label')].find((e) => e.textContent === l).htmlFor, label);
  await page.$eval(`#${id}`, (e, t) => { e.value = t; }, text);
}

// go follows a link and waits until the new view stands: the event that draws
// it comes later than the change of the hash, and a form of the view before
// could be filled in and sent meanwhile.
async function go(page, hash) {
  await page.evaluate((to) => {
    window.gone = location.hash === to ? null : document.querySelector('main').firstElementChild;
    location.hash = to;
  }, hash);
  await page.waitForFunction(() => !window.gone || !window.gone.isConnected);
}

const at = (tab) => `#/device/${encodeURIComponent(deviceId)}/${tab}`;
const harmed = (page) => page.evaluate(() => window.hurt === 1 || document.querySelector('main img, main script') !== null);

const tests = [
  ['a wrong key is refused with words', async ({ page, origin, report }) => {
    await page.goto(origin);
    await fill(page, 'Service connection string', report.devices[0].connectionString);
    await press(page, 'Sign in');
    await shown(page, '.error', 'the connection string of a device');
    await fill(page, 'Service connection string', report.serviceConnectionString.replace(/SharedAccessKey=.{8}/, 'SharedAccessKey=AAAAAAAA'));
    await press(page, 'Sign in');
    await shown(page, '.error', 'nauthorized');
  }],
  ['sign in, and see the devices', async ({ page, report }) => {
    await fill(page, 'Service connection string', report.serviceConnectionString);
    await press(page, 'Sign in');
    await shown(page, 'tbody td', deviceId);
    await page.waitForFunction((id) => [...document.querySelectorAll('tbody tr')]
      .some((r) => r.textContent.includes(id) && r.querySelector('.state.on')), {}, deviceId);
    await shown(page, 'tbody tr', 'idle');
    assert.ok(!(await page.content()).includes('SharedAccessKey='), 'a key is in the page');
  }],
  ['search by id and by query', async ({ page }) => {
    await page.type('input[type=search]', 'idl');
    await press(page, 'Search');
    await page.waitForFunction(() => document.querySelectorAll('tbody tr').length === 1);
    await page.$eval('input[type=search]', (e) => { e.value = "status = 'enabled'"; });
    await press(page, 'Search');
    await page.waitForFunction(() => document.querySelectorAll('tbody tr').length === 2);
    await page.$eval('input[type=search]', (e) => { e.value = "deviceId = 'idle'"; });
    await press(page, 'Search');
    await page.waitForFunction(() => document.querySelectorAll('tbody tr').length === 1);
    await page.$eval('input[type=search]', (e) => { e.value = 'deviceId = = 1'; });
    await press(page, 'Search');
    await page.waitForFunction(() => document.querySelector('.error').textContent !== '');
  }],
  ['create, disable and delete a device', async ({ page, service }) => {
    await go(page, '#/hub');
    await go(page, '#/devices');
    await fill(page, 'Device id', 'new one?');
    await press(page, 'Create');
    await page.waitForFunction(() => [...document.querySelectorAll('.error')].some((e) => e.textContent !== ''));
    await fill(page, 'Device id', 'newcomer');
    await press(page, 'Create');
    await shown(page, 'tbody tr', 'newcomer');
    await go(page, '#/device/newcomer');
    await press(page, 'Disable');
    await shown(page, 'dd', 'disabled');
    await press(page, 'Delete this device');
    await page.waitForFunction(() => location.hash === '#/devices');
    await page.waitForFunction(() => document.querySelectorAll('tbody tr').length === 2);
    const response = await service.open('GET', '/devices/newcomer');
    assert.strictEqual(response.statusCode, 404);
    response.resume();
  }],
  ['telemetry arrives, and its numbers are drawn', async ({ page, device }) => {
    await go(page, at('telemetry'));
    await shown(page, '.state', 'Live');
    // The stream has been opened when the hub's answer is there, and begins at
    // that time: what is sent is repeated until it is seen.
    const sender = setInterval(() => {
      const t = Date.now() / 1000;
      device.send(JSON.stringify({ temperature: 21 + 3 * Math.sin(t), nested: { humidity: 55 + 5 * Math.cos(t / 2) }, text: hostile }));
    }, 100);
    try {
      await page.waitForFunction(() => document.querySelectorAll('.events li').length > 10);
    } finally {
      clearInterval(sender);
    }
    await shown(page, '.legend', 'nested.humidity');
    await page.waitForFunction(() => document.querySelectorAll('.chart path').length === 2
      && document.querySelector('.chart path').getTotalLength() > 20);
    device.send(`no JSON at all ${hostile}`);
    await shown(page, '.events pre', 'no JSON at all <img');
    assert.strictEqual(await harmed(page), false, 'what a device sent was run');
    await press(page, 'Pause');
    await press(page, 'Go on');
  }],
  ['the twin is edited, and a conflict is told', async ({ page, service }) => {
    await go(page, at('twin'));
    await shown(page, 'pre', '"firmware": "1.0"');
    await fill(page, 'Tags', '{"room": "attic", "floor": 3}');
    await fill(page, 'Desired properties', '{"interval": 5}');
    await press(page, 'Save');
    await shown(page, '#notices', 'The twin was saved.');
    await fill(page, 'Tags', '{"room": "cellar"}');
    await press(page, 'Save');
    const pathOfTwin = `/twins/${encodeURIComponent(deviceId)}`;
    const read = async () => {
      const response = await service.open('GET', pathOfTwin);
      let text = '';
      for await (const chunk of response) text += chunk;
      return JSON.parse(text);
    };
    await page.waitForFunction(() => !document.querySelector('button.primary').disabled);
    const twin = await read();
    assert.deepStrictEqual(twin.tags, { room: 'cellar' });
    assert.strictEqual(twin.properties.desired.interval, 5);
    (await service.open('PATCH', pathOfTwin, '{"tags":{"other":1}}', { 'Content-Type': 'application/json' })).resume();
    await fill(page, 'Tags', '{"room": "roof"}');
    await press(page, 'Save');
    await shown(page, '.error', 'has changed since it was loaded');
    await fill(page, 'Tags', '{"room"');
    await press(page, 'Save');
    await shown(page, '.error', 'Tags: ');
    assert.deepStrictEqual((await read()).tags, { room: 'cellar', other: 1 });
  }],
  ['a method is called', async ({ page }) => {
    await go(page, at('methods'));
    await fill(page, 'Method', 'echo');
    await fill(page, 'Payload, JSON', JSON.stringify({ back: hostile }));
    await press(page, 'Call');
    await shown(page, 'p', 'Status 207');
    await shown(page, 'pre', '<img');
    assert.strictEqual(await harmed(page), false, 'what a device answered was run');
    await go(page, '#/device/idle/methods');
    await fill(page, 'Method', 'echo');
    await press(page, 'Call');
    await page.waitForFunction(() => document.querySelector('.error').textContent !== '');
  }],
  ['a message is sent to the device', async ({ page, device }) => {
    await go(page, at('messages'));
    await fill(page, 'Message', 'good morning ☀');
    await fill(page, 'Properties', 'colour = blue');
    await press(page, 'Send');
    assert.match(await device.says('message good'), /☀ map\[colour:blue\]/);
    await go(page, '#/device/idle/messages');
    await fill(page, 'Message', 'nobody listens');
    await press(page, 'Send');
    await shown(page, '#notices', 'in the queue');
    await press(page, 'Empty the queue');
    await shown(page, '#notices', 'Removed from the queue: 1.');
  }],
  ['the hub in numbers, and a query', async ({ page }) => {
    await go(page, '#/hub');
    await shown(page, '.number', '2');
    await press(page, 'Ask');
    await shown(page, 'pre', '"devices": 1');
  }],
  ['narrow screens do not scroll sideways', async ({ page }) => {
    await page.setViewport({ width: 360, height: 740 });
    for (const hash of ['#/devices', at('twin'), at('telemetry'), '#/hub']) {
      await go(page, hash);
      await page.waitForSelector('main .card');
      const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      assert.ok(wide <= 0, `${hash} is ${wide} pixels too wide`);
    }
  }],
  ['sign out forgets the key', async ({ page }) => {
    await press(page, 'Sign out');
    await shown(page, 'h2', 'Sign in');
    await page.reload();
    await shown(page, 'h2', 'Sign in');
    assert.strictEqual(await page.evaluate(() => sessionStorage.length + localStorage.length), 0);
  }],
];

async function shoot(page, name) {
  const file = path.join(options.screenshots, `${name.replace(/\W+/g, '-')}`);
  await page.screenshot({ path: `${file}.png` });
  await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: 'dark' }]);
  await page.screenshot({ path: `${file}-dark.png` });
  await page.emulateMediaFeatures([]);
}

main().catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
