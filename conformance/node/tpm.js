'use strict';
// A TPM for azure-iot-security-tpm: swtpm, a process that takes plain commands on a
// socket. The package brings its own way to the TPM of the kernel, and to a simulator that
// is not Debian's; what it talks to is given to it here.

const { spawn } = require('node:child_process');
const fs = require('node:fs');
const net = require('node:net');
const os = require('node:os');
const path = require('node:path');

const tss = require('tss.js');

// Socket is what tss.js sends commands through, one at a time.
class Socket {
  constructor(file) { this.file = file; }

  connect(callback) {
    this.got = Buffer.alloc(0);
    this.socket = net.connect(this.file, () => callback(null));
    this.socket.on('data', (data) => {
      this.got = Buffer.concat([this.got, data]);
      // TPM 2.0 Part 3, 5: a tag, then the size of the whole response.
      if (this.got.length < 6 || this.got.length < this.got.readUInt32BE(2)) return;
      const response = this.got;
      this.got = Buffer.alloc(0);
      this.callback(null, response);
    });
    this.socket.on('error', (error) => (this.callback ?? callback)(error));
  }

  dispatchCommand(command, callback) {
    this.callback = callback;
    this.socket.write(command);
  }

  close() { this.socket?.destroy(); }
}

class Chip {
  async start() {
    this.dir = fs.mkdtempSync(path.join(os.tmpdir(), 'tpm-'));
    const file = path.join(this.dir, 'sock');
    this.child = spawn('swtpm', ['socket', '--tpm2', '--tpmstate', `dir=${this.dir}`, '--server', `type=unixio,path=${file}`, '--flags', 'not-need-init,startup-clear'],
      { stdio: 'ignore' });
    const failed = new Promise((_, reject) => { this.child.once('error', reject); });
    const listens = (async () => {
      while (!fs.existsSync(file)) await new Promise((resolve) => { setTimeout(resolve, 10); });
    })();
    await Promise.race([failed, listens]);
    this.tpm = new tss.Tpm(false);
    this.tpm.device = new Socket(file);
  }

  stop() {
    this.tpm?.device.close();
    this.child?.kill();
    fs.rmSync(this.dir, { recursive: true, force: true });
  }
}

module.exports = { Chip };
