'use strict';

const assert = require('node:assert/strict');
const { once } = require('node:events');
const { after, before, describe, it } = require('node:test');
const tls = require('node:tls');

const { createBridge } = require('../src/bridge');
const { proxyLabel } = require('../src/proxy');
const support = require('./support');

// Agents take what tls.connect trusts by default; this test trusts one certificate more.
function trust(cert) {
  const create = tls.createSecureContext;
  tls.createSecureContext = (options = {}) => create({ ...options, ca: options.ca ?? cert });
}

describe('the bridge', () => {
  const log = [];
  const open = [];
  let at;
  let bridge;
  let origin;
  let httpProxy;
  let socksProxy;

  before(async () => {
    const pems = support.certificate();
    trust(pems.cert);
    origin = await support.origin(pems);
    httpProxy = await support.httpProxy(origin.port);
    socksProxy = await support.socksProxy(origin.port);
    bridge = createBridge({ url: `wss://${support.NAME}/ws`, log: (line) => log.push(line), handshakeTimeoutMs: 10_000 });
    at = `http://127.0.0.1:${await support.listening(bridge)}`;
    open.push(bridge, origin.server, httpProxy.server, socksProxy.server);
  });

  after(() => {
    bridge.shutdown();
    for (const socket of origin.sockets.clients) socket.terminate();
    for (const server of open) {
      server.close();
      server.closeAllConnections?.();
    }
  });

  async function call(method, path, body) {
    const text = typeof body === 'string' ? body : JSON.stringify(body);
    const answer = await fetch(at + path, { method, body: text, signal: AbortSignal.timeout(20_000) });
    return [answer.status, await answer.json()];
  }

  async function echoes(id) {
    const session = bridge.sessions.get(id);
    const heard = once(session, 'message');
    session.send(`hello from ${id}`);
    assert.equal((await heard)[0].toString(), `hello from ${id}`);
  }

  it('wants a sessionId', async () => {
    const expected = [400, { error: 'sessionId obrigatório' }];
    assert.deepEqual(await call('POST', '/connect', {}), expected);
    assert.deepEqual(await call('POST', '/connect', ''), expected);
    assert.deepEqual(await call('POST', '/connect', { sessionId: ' ', proxyUrl: 'http://p:1' }), expected);
    assert.deepEqual(await call('POST', '/connect', { sessionId: 7 }), expected);
  });

  it('refuses what is no JSON and what is no proxy URL, without repeating it', async () => {
    assert.deepEqual(await call('POST', '/connect', '{'), [400, { error: 'JSON inválido' }]);
    for (const proxyUrl of ['ftp://u:EXAMPLE-secret@h:1', 'u:EXAMPLE-secret@h', 'http://u:EXAMPLE-secret@', 5]) {
      const [status, body] = await call('POST', '/connect', { sessionId: 'a', proxyUrl });
      assert.equal(status, 400, proxyUrl);
      assert.doesNotMatch(JSON.stringify(body), /EXAMPLE-secret/);
    }
    assert.deepEqual(await call('GET', '/nothing'), [404, { error: 'rota não encontrada' }]);
  });

  it('connects through an HTTP proxy', async () => {
    const proxyUrl = `http://${support.userInfo}@127.0.0.1:${httpProxy.port}`;
    const [status, body] = await call('POST', '/connect', { sessionId: 'chip 1', proxyUrl });
    assert.equal(status, 200, JSON.stringify(body));
    assert.equal(body.state, 'connected');
    assert.equal(body.proxy, `127.0.0.1:${httpProxy.port}`);
    assert.deepEqual(httpProxy.seen, [`${support.NAME}:443`]);
    await echoes('chip 1');
  });

  it('connects through a SOCKS5 proxy, which resolves the name', async () => {
    const proxyUrl = `socks5://${support.userInfo}@127.0.0.1:${socksProxy.port}`;
    const [status, body] = await call('POST', '/connect', { sessionId: 'chip2', proxyUrl });
    assert.equal(status, 200, JSON.stringify(body));
    assert.deepEqual(socksProxy.seen, [`${support.NAME}:443`]);
    await echoes('chip2');
  });

  it('says that a proxy refused, and keeps no session', async () => {
    for (const proxyUrl of [
      `http://nobody:EXAMPLE-wrong@127.0.0.1:${httpProxy.port}`,
      `socks5://nobody:EXAMPLE-wrong@127.0.0.1:${socksProxy.port}`,
    ]) {
      const [status, body] = await call('POST', '/connect', { sessionId: 'chip3', proxyUrl });
      assert.equal(status, 502, JSON.stringify(body));
      assert.match(body.error, /^falha na conexão/);
      assert.doesNotMatch(body.error, /EXAMPLE-wrong|nobody/);
    }
    assert.equal(bridge.sessions.has('chip3'), false);
  });

  it('opens a session again over the same proxy when its socket breaks', async () => {
    const before = httpProxy.seen.length;
    const session = bridge.sessions.get('chip 1');
    const [broken, again] = [once(session, 'reconnecting'), once(session, 'connected')];
    session.socket.terminate();
    await broken;
    await again;
    assert.equal(httpProxy.seen.length, before + 1);
    await echoes('chip 1');
  });

  it('lists sessions and closes them', async () => {
    const [status, { sessions }] = await call('GET', '/sessions');
    assert.equal(status, 200);
    assert.deepEqual(sessions.map((s) => [s.sessionId, s.state]), [['chip 1', 'connected'], ['chip2', 'connected']]);
    for (const id of ['chip%201', 'chip2']) assert.equal((await call('DELETE', `/sessions/${id}`))[0], 200);
    assert.deepEqual(await call('DELETE', '/sessions/chip2'), [404, { error: 'sessão não encontrada' }]);
    assert.deepEqual(await call('GET', '/sessions'), [200, { sessions: [] }]);
  });

  it('has logged what follows the @ and no credentials', () => {
    const all = log.join('\n');
    assert.match(all, new RegExp(`"chip 1" connected via 127\\.0\\.0\\.1:${httpProxy.port}`));
    for (const hidden of [support.USER, support.PASSWORD, encodeURIComponent(support.PASSWORD), 'EXAMPLE', 'nobody', '@']) {
      assert.ok(!all.includes(hidden), `${hidden} in ${all}`);
    }
  });
});

describe('the label of a proxy URL', () => {
  it('is what follows the last @', () => {
    assert.equal(proxyLabel('http://u:p@host.example:3128'), 'host.example:3128');
    assert.equal(proxyLabel('socks5://u:p%40x@10.0.0.1:1080/'), '10.0.0.1:1080');
    assert.equal(proxyLabel('http://host.example:3128'), 'host.example:3128');
    assert.equal(proxyLabel('not a url with p@ss'), '(invalid)');
    assert.equal(proxyLabel(undefined), 'direct');
  });
});
