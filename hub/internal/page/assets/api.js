// The hub's REST API.

const version = 'api-version=2021-04-12';
const id = encodeURIComponent;

// HubError says in the hub's words what it has refused.
export class HubError extends Error {
  constructor(status, code, message) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

export class Api {
  constructor(signer) {
    this.signer = signer;
  }

  async request(method, path, { body, headers = {}, signal } = {}) {
    let response;
    try {
      response = await fetch(path, {
        method,
        signal,
        cache: 'no-store',
        headers: {
          Authorization: await this.signer.token(),
          ...(body === undefined ? {} : { 'Content-Type': 'application/json; charset=utf-8' }),
          ...headers,
        },
        body: body === undefined ? undefined : JSON.stringify(body),
      });
    } catch (error) {
      if (error instanceof TypeError) throw new Error('The hub cannot be reached. Is it still running?');
      throw error;
    }
    if (!response.ok) throw await refusal(response);
    return response;
  }

  async json(method, path, options) {
    const response = await this.request(method, path, options);
    return response.status === 204 ? null : response.json();
  }

  devices() { return this.json('GET', `/devices?top=1000&${version}`); }

  async query(text, continuation) {
    const headers = { 'x-ms-max-item-count': '200' };
    if (continuation) headers['x-ms-continuation'] = continuation;
    const response = await this.request('POST', `/devices/query?${version}`, { body: { query: text }, headers });
    return { rows: await response.json(), continuation: response.headers.get('x-ms-continuation') };
  }

  device(device) { return this.json('GET', `/devices/${id(device)}?${version}`); }

  createDevice(device) {
    return this.json('PUT', `/devices/${id(device)}?${version}`, { body: { deviceId: device, status: 'enabled' } });
  }

  updateDevice(device) {
    return this.json('PUT', `/devices/${id(device.deviceId)}?${version}`, { body: device, headers: { 'If-Match': `"${device.etag}"` } });
  }

  deleteDevice(device) {
    return this.json('DELETE', `/devices/${id(device)}?${version}`, { headers: { 'If-Match': '"*"' } });
  }

  modules(device) { return this.json('GET', `/devices/${id(device)}/modules?${version}`); }

  twin(device, module) { return this.json('GET', `${twinPath(device, module)}?${version}`); }

  patchTwin(device, module, patch, etag) {
    return this.json('PATCH', `${twinPath(device, module)}?${version}`, { body: patch, headers: { 'If-Match': `"${etag}"` } });
  }

  call(device, module, method) {
    return this.json('POST', `${twinPath(device, module)}/methods?${version}`, { body: method });
  }

  sendC2D(device, message) {
    return this.json('POST', `/iothub/devices/${id(device)}/messages?${version}`, { body: message });
  }

  purge(device) { return this.json('DELETE', `/devices/${id(device)}/commands?${version}`); }

  statistics() { return this.json('GET', `/statistics/devices?${version}`); }

  connected() { return this.json('GET', `/statistics/service?${version}`); }

  // events calls each with every event from now on until the signal aborts. It
  // returns when the hub ends the stream, for example because the token did.
  async events(device, signal, each) {
    const filter = device ? `&device=${id(device)}` : '';
    const response = await this.request('GET', `/iothub/events?from=now${filter}`, { signal });
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    for (let rest = ''; ;) {
      const { done, value } = await reader.read();
      if (done) return;
      const lines = (rest + value).split('\n');
      rest = lines.pop();
      for (const line of lines) if (line) each(JSON.parse(line));
    }
  }
}

const twinPath = (device, module) => `/twins/${id(device)}${module ? `/modules/${id(module)}` : ''}`;

async function refusal(response) {
  const code = response.headers.get('iothub-errorcode') || '';
  let text = '';
  try {
    const body = await response.json();
    text = body.Message || body.message || '';
  } catch { /* no JSON: the status has to do */ }
  const words = text.replace(/^ErrorCode:[^;]*;/, '') || `the hub answered ${response.status} ${response.statusText}`;
  return new HubError(response.status, code, words);
}
