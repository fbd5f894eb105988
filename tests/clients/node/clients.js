'use strict';
// undici, https-proxy-agent, socks-proxy-agent, node's own http and ws through the proxy.
// HTTP_LINE and SOCKS_LINE are proxy URLs with credentials, CA the origin's authority, COUNTRY the one to come
// out in. Prints "ok NAME" for each case.

const assert = require('node:assert/strict');
const { once } = require('node:events');
const fs = require('node:fs');
const http = require('node:http');
const https = require('node:https');
const { HttpsProxyAgent } = require('https-proxy-agent');
const { SocksProxyAgent } = require('socks-proxy-agent');
const undici = require('undici');
const WebSocket = require('ws');

const { HTTP_LINE, SOCKS_LINE, COUNTRY } = process.env;
const ca = fs.readFileSync(process.env.CA);
const SIZE = 300_000;
const PATTERN = Buffer.alloc(SIZE, Uint8Array.from({ length: 251 }, (_, n) => n));
const UPLOAD = Buffer.alloc(128_000, Uint8Array.from({ length: 256 }, (_, n) => n));

/** `ask(method, path, body)` gives [status, Buffer]. */
async function check(name, ask) {
  const [status, ip] = await ask('GET', '/ip');
  assert.equal(status, 200, `${name}: ${status} ${ip}`);
  assert.equal(JSON.parse(ip).country, COUNTRY, name);
  assert.deepEqual(await ask('GET', `/bytes/${SIZE}`), [200, PATTERN], name);
  assert.deepEqual(await ask('POST', '/echo', UPLOAD), [200, UPLOAD], name);
  console.log(`ok ${name}`);
}

function withUndici(origin) {
  const dispatcher = new undici.ProxyAgent({ uri: HTTP_LINE, requestTls: { ca } });
  return async (method, path, body) => {
    const answer = await undici.request(origin + path, { dispatcher, method, body });
    return [answer.statusCode, Buffer.from(await answer.body.arrayBuffer())];
  };
}

async function read(request, body) {
  request.end(body);
  const [answer] = await once(request, 'response');
  const pieces = [];
  for await (const piece of answer) pieces.push(piece);
  return [answer.statusCode, Buffer.concat(pieces)];
}

function withAgent(origin, agent) {
  const module = origin.startsWith('https:') ? https : http;
  return (method, path, body) => read(module.request(origin + path, { method, agent, ca }), body);
}

/** What node's http does when told to ask a proxy: absolute-form, kept alive. */
function absoluteForm() {
  const proxy = new URL(HTTP_LINE);
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
  const auth = Buffer.from(`${decodeURIComponent(proxy.username)}:${decodeURIComponent(proxy.password)}`);
  const headers = { host: 'origin.test', 'proxy-authorization': `Basic ${auth.toString('base64')}` };
  return (method, path, body) => {
    const to = { host: proxy.hostname, port: proxy.port, path: `http://origin.test${path}`, method, headers, agent };
    return read(http.request(to), body);
  };
}

async function webSocket(name, url, agent) {
  const socket = new WebSocket(url, { agent, ca, handshakeTimeout: 30_000 });
  await once(socket, 'open');
  for (const message of [Buffer.from('hello'), UPLOAD]) {
    const heard = once(socket, 'message');
    socket.send(message);
    assert.deepEqual((await heard)[0], message, name);
  }
  const pong = once(socket, 'pong');
  socket.ping();
  await pong;
  const closed = once(socket, 'close');
  socket.close(1000);
  assert.equal((await closed)[0], 1000, name);
  console.log(`ok ${name}`);
}

async function main() {
  await check('http absolute-form', absoluteForm());
  await check('undici http', withUndici('http://origin.test'));
  await check('undici https', withUndici('https://origin.test'));
  await check('https-proxy-agent', withAgent('https://origin.test', new HttpsProxyAgent(HTTP_LINE)));
  await check('socks-proxy-agent http', withAgent('http://origin.test', new SocksProxyAgent(SOCKS_LINE)));
  await check('socks-proxy-agent https', withAgent('https://origin.test', new SocksProxyAgent(SOCKS_LINE)));
  await webSocket('ws connect', 'ws://origin.test/ws', new HttpsProxyAgent(HTTP_LINE));
  await webSocket('wss connect', 'wss://origin.test/ws', new HttpsProxyAgent(HTTP_LINE));
  await webSocket('wss socks5h', 'wss://origin.test/ws', new SocksProxyAgent(SOCKS_LINE));
}

main().then(
  () => process.exit(0),
  (error) => {
    console.error(error);
    process.exit(1);
  },
);
