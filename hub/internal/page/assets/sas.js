// Tokens, made in the browser: the key never leaves it.

const lifetime = 3600;

// parse reads a service connection string. Its errors name what is missing and
// never show the key.
export function parse(text) {
  const values = {};
  for (const pair of text.trim().split(';')) {
    if (!pair) continue;
    const at = pair.indexOf('=');
    if (at < 0) throw new Error('A connection string has the form HostName=…;SharedAccessKeyName=…;SharedAccessKey=….');
    values[pair.slice(0, at).trim().toLowerCase()] = pair.slice(at + 1).trim();
  }
  for (const name of ['HostName', 'SharedAccessKeyName', 'SharedAccessKey']) {
    if (!values[name.toLowerCase()]) {
      const hint = values.deviceid ? ' This is the connection string of a device; the page needs the one of the service.' : '';
      throw new Error(`${name} is missing.${hint}`);
    }
  }
  return {
    host: values.hostname.replace(/:\d+$/, ''),
    policy: values.sharedaccesskeyname,
    key: values.sharedaccesskey,
  };
}

function bytes(base64) {
  try {
    return Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
  } catch {
    throw new Error('SharedAccessKey is not base64.');
  }
}

// Signer makes tokens for the whole hub and renews them.
export class Signer {
  constructor(credential) {
    this.credential = credential;
    this.ends = 0;
  }

  async token() {
    const now = Math.floor(Date.now() / 1000);
    if (now < this.ends - lifetime / 4) return this.value;
    const { host, policy, key } = this.credential;
    const resource = encodeURIComponent(host);
    const ends = now + lifetime;
    const hmac = await crypto.subtle.importKey('raw', bytes(key), { name: 'HMAC', hash: 'SHA-256' }, false, ['sign']);
    const signed = new Uint8Array(await crypto.subtle.sign('HMAC', hmac, new TextEncoder().encode(`${resource}\n${ends}`)));
    const signature = encodeURIComponent(btoa(String.fromCharCode(...signed)));
    this.value = `SharedAccessSignature sr=${resource}&sig=${signature}&se=${ends}&skn=${encodeURIComponent(policy)}`;
    this.ends = ends;
    return this.value;
  }
}
