'use strict';
// A wss origin, an HTTP proxy and a SOCKS5 proxy on loopback. The proxies alone know the name chat.test.

const { execFileSync } = require('node:child_process');
const fs = require('node:fs');
const http = require('node:http');
const https = require('node:https');
const net = require('node:net');
const os = require('node:os');
const path = require('node:path');
const { WebSocketServer } = require('ws');

const NAME = 'chat.test';
const USER = 'demo-line-chip1-country-br';
const PASSWORD = 'EXAMPLE:p@ss';

/** A certificate for chat.test that signs itself. */
function certificate() {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'bridge-'));
  const [cert, key] = [path.join(dir, 'cert.pem'), path.join(dir, 'key.pem')];
  const subject = ['-subj', `/CN=${NAME}`, '-addext', `subjectAltName=DNS:${NAME}`];
  const made = ['-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2'];
  execFileSync('openssl', ['req', ...made, ...subject, '-keyout', key, '-out', cert], { stdio: 'pipe' });
  const pems = { cert: fs.readFileSync(cert), key: fs.readFileSync(key) };
  fs.rmSync(dir, { recursive: true });
  return pems;
}

async function listening(server) {
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  return server.address().port;
}

/** Sends every message back. */
async function origin(pems) {
  const server = https.createServer(pems);
  const sockets = new WebSocketServer({ server });
  sockets.on('connection', (socket) => socket.on('message', (data) => socket.send(data)));
  return { server, sockets, port: await listening(server) };
}

function joined(a, b) {
  a.on('error', () => b.destroy()).on('close', () => b.destroy());
  b.on('error', () => a.destroy()).on('close', () => a.destroy());
  a.pipe(b).pipe(a);
}

/** Takes CONNECT to chat.test:443 from USER. */
async function httpProxy(port) {
  const seen = [];
  const server = http.createServer();
  const wanted = `Basic ${Buffer.from(`${USER}:${PASSWORD}`).toString('base64')}`;
  server.on('connect', (request, client) => {
    seen.push(request.url);
    if (request.headers['proxy-authorization'] !== wanted || request.url !== `${NAME}:443`) {
      client.end('HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\nConnection: close\r\n\r\n');
      return;
    }
    const target = net.connect(port, '127.0.0.1', () => {
      client.write('HTTP/1.1 200 Connection established\r\n\r\n');
      joined(client, target);
    });
  });
  return { server, seen, port: await listening(server) };
}

/** Takes SOCKS5 CONNECT to the name chat.test, port 443, from USER. */
async function socksProxy(port) {
  const seen = [];
  const server = net.createServer(async (client) => {
    client.on('error', () => {});
    let buffer = Buffer.alloc(0);
    const take = async (n) => {
      while (buffer.length < n) {
        const more = client.read();
        if (more) buffer = Buffer.concat([buffer, more]);
        else await new Promise((resolve) => client.once('readable', resolve));
      }
      const piece = buffer.subarray(0, n);
      buffer = buffer.subarray(n);
      return piece;
    };
    const [, methods] = await take(2);
    if (!(await take(methods)).includes(2)) return client.end(Buffer.from([5, 255]));
    client.write(Buffer.from([5, 2]));
    await take(1);
    const user = (await take((await take(1))[0])).toString();
    const password = (await take((await take(1))[0])).toString();
    const good = user === USER && password === PASSWORD;
    client.write(Buffer.from([1, good ? 0 : 1]));
    if (!good) return client.end();
    const [, , , kind] = await take(4);
    if (kind !== 3) return client.end(Buffer.from([5, 8, 0, 1, 0, 0, 0, 0, 0, 0]));
    const name = (await take((await take(1))[0])).toString();
    const to = (await take(2)).readUInt16BE();
    seen.push(`${name}:${to}`);
    const target = net.connect(port, '127.0.0.1', () => {
      client.write(Buffer.from([5, 0, 0, 1, 127, 0, 0, 1, 0, 0]));
      joined(client, target);
    });
  });
  return { server, seen, port: await listening(server) };
}

/** USER's credentials as they stand in a URL. */
const userInfo = `${USER}:${encodeURIComponent(PASSWORD)}`;

module.exports = { NAME, PASSWORD, USER, certificate, httpProxy, listening, origin, socksProxy, userInfo };
