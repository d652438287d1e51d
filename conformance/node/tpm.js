'use strict';
// What azure-iot-security-tpm is for a program, with a TPM whose keys are in memory:
// that package needs a device of the kernel, or a simulator that is not Debian's.
// Activation is as in TPM 2.0 Part 1, 23.3 and 24.

const crypto = require('node:crypto');

const sha256 = (...parts) => crypto.createHash('sha256').update(Buffer.concat(parts)).digest();
const hmac = (key, ...parts) => crypto.createHmac('sha256', key).update(Buffer.concat(parts)).digest();
const uint = (size, value) => { const b = Buffer.alloc(size); b.writeUIntBE(value, 0, size); return b; };
const sized = (b) => Buffer.concat([uint(2, b.length), b]);
const cfb = (key, text) => crypto.createDecipheriv('aes-128-cfb', key, Buffer.alloc(16)).update(text);

// kdfa derives a key of at most 256 bits.
const kdfa = (key, label, context, bits) => hmac(key, uint(4, 1), Buffer.from(`${label}\0`), context, uint(4, bits)).subarray(0, bits / 8);

// storageKey makes an RSA key that protects others, and its TPMT_PUBLIC.
function storageKey(attributes, policy) {
  const { privateKey, publicKey } = crypto.generateKeyPairSync('rsa', { modulusLength: 2048 });
  const modulus = Buffer.from(publicKey.export({ format: 'jwk' }).n, 'base64url');
  const area = Buffer.concat([
    uint(2, 0x0001), uint(2, 0x000b), uint(4, attributes), sized(policy), // RSA, named by SHA-256
    uint(2, 0x0006), uint(2, 128), uint(2, 0x0043), // AES in CFB mode
    uint(2, 0x0010), uint(2, 2048), uint(4, 0), sized(modulus), // no scheme
  ]);
  return { privateKey, public: sized(area), name: Buffer.concat([uint(2, 0x000b), sha256(area)]) };
}

// reader cuts sized parts off a buffer.
function reader(b) {
  return () => {
    const n = b.readUInt16BE(0);
    const part = b.subarray(2, 2 + n);
    b = b.subarray(2 + n);
    return part;
  };
}

class SoftwareTPM {
  constructor(registrationId) {
    this.registrationId = registrationId;
    this.endorsement = storageKey(0x000300b2, Buffer.from('837197674484b3f81a90cc8d46a5d724fd52d76e06520b64f2a1da1b331469aa', 'hex'));
    this.storage = storageKey(0x00030472, Buffer.alloc(0));
    this.endorsementKey = this.endorsement.public;
  }

  getRegistrationId(callback) { callback(null, this.registrationId); }

  getEndorsementKey(callback) { callback(null, this.endorsement.public); }

  getStorageRootKey(callback) { callback(null, this.storage.public); }

  activateIdentityKey(blob, callback) {
    try {
      this.identityKey = this.open(blob);
    } catch (error) {
      return callback(error);
    }
    return callback();
  }

  signWithIdentity(data, callback) { callback(null, hmac(this.identityKey, Buffer.from(data))); }

  open(blob) {
    const next = reader(blob);
    const [credential, secret, duplicate, outer, area] = [next(), next(), next(), next(), next()];
    if (outer.length > 0) throw new Error('there is an outer wrapper, which this TPM knows nothing of');
    const seed = crypto.privateDecrypt({
      key: this.endorsement.privateKey, padding: crypto.constants.RSA_PKCS1_OAEP_PADDING, oaepHash: 'sha256', oaepLabel: Buffer.from('IDENTITY\0'),
    }, secret);
    const integrity = reader(credential)();
    const encrypted = credential.subarray(2 + integrity.length);
    const check = (given, sum, what) => { if (!given.equals(sum)) throw new Error(`the integrity of the ${what} is broken`); };
    check(integrity, hmac(kdfa(seed, 'INTEGRITY', Buffer.alloc(0), 256), encrypted, this.storage.name), 'credential');
    const inner = reader(cfb(kdfa(seed, 'STORAGE', this.storage.name, 128), encrypted))();
    const plain = cfb(inner, duplicate);
    const whole = reader(plain)();
    const rest = plain.subarray(2 + whole.length);
    check(whole, sha256(rest, uint(2, 0x000b), sha256(area)), 'key');
    const sensitive = reader(rest)().subarray(2); // behind its type
    const fields = reader(sensitive);
    fields(); // authorization
    fields(); // seed
    return fields();
  }
}

module.exports = { SoftwareTPM };
