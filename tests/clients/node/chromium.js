'use strict';
// Chromium without a window, steered over the DevTools protocol: the proxy asks for credentials (407), a page loads
// over HTTP and over CONNECT with TLS, and a WebSocket echoes inside of it.
// HTTP_LINE is a proxy URL with credentials, BROWSER the program. Prints "ok NAME" for each case.
// (Chromium takes no credentials for SOCKS5.)

const assert = require('node:assert/strict');
const { spawn } = require('node:child_process');
const { once } = require('node:events');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const WebSocket = require('ws');

const { BROWSER, COUNTRY } = process.env;
const line = new URL(process.env.HTTP_LINE);

/** The DevTools protocol over one WebSocket: commands with answers, events to listeners. */
class DevTools {
  constructor(socket) {
    this.socket = socket;
    this.next = 1;
    this.waiting = new Map();
    this.listeners = [];
    socket.on('message', (data) => {
      const message = JSON.parse(data);
      const waiting = this.waiting.get(message.id);
      if (waiting) {
        this.waiting.delete(message.id);
        if (message.error) waiting.reject(new Error(message.error.message));
        else waiting.resolve(message.result);
      } else {
        for (const listener of this.listeners) listener(message);
      }
    });
  }

  send(method, params = {}, sessionId = undefined) {
    const id = this.next++;
    this.socket.send(JSON.stringify({ id, method, params, sessionId }));
    return new Promise((resolve, reject) => this.waiting.set(id, { resolve, reject }));
  }
}

async function start(profile) {
  const flags = [
    '--headless=new', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--no-first-run',
    '--disable-background-networking', '--disable-component-update', '--disable-sync', '--disable-extensions',
    '--ignore-certificate-errors', '--remote-debugging-port=0', `--user-data-dir=${profile}`,
    // Whatever the browser does on its own goes to the proxy, which knows no such name; nothing is resolved here.
    `--proxy-server=http://${line.host}`, '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1', 'about:blank',
  ];
  const browser = spawn(BROWSER, flags, { stdio: ['ignore', 'ignore', 'pipe'], detached: true });
  let said = '';
  browser.stderr.setEncoding('utf8');
  const url = await new Promise((resolve, reject) => {
    browser.stderr.on('data', (text) => {
      said += text;
      const found = /DevTools listening on (ws:\S+)/.exec(said);
      if (found) resolve(found[1]);
    });
    browser.once('error', reject);
    browser.once('exit', (code) => reject(new Error(`the browser ended with ${code}: ${said}`)));
  });
  return { browser, url };
}

async function main(profile) {
  const { browser, url } = await start(profile);
  try {
    const socket = new WebSocket(url, { perMessageDeflate: false });
    await once(socket, 'open');
    const tools = new DevTools(socket);
    const { targetId } = await tools.send('Target.createTarget', { url: 'about:blank' });
    const { sessionId } = await tools.send('Target.attachToTarget', { targetId, flatten: true });
    const send = (method, params) => tools.send(method, params, sessionId);
    let asked = 0;
    tools.listeners.push(({ method, params, sessionId: from }) => {
      if (from !== sessionId) return;
      if (method === 'Fetch.requestPaused') {
        send('Fetch.continueRequest', { requestId: params.requestId }).catch(() => {});
      } else if (method === 'Fetch.authRequired') {
        asked += 1;
        const [username, password] = [line.username, line.password].map(decodeURIComponent);
        const authChallengeResponse = asked > 3
          ? { response: 'CancelAuth' }
          : { response: 'ProvideCredentials', username, password };
        send('Fetch.continueWithAuth', { requestId: params.requestId, authChallengeResponse }).catch(() => {});
      }
    });
    await send('Fetch.enable', { handleAuthRequests: true });
    await send('Page.enable');

    const open = async (to) => {
      const loaded = new Promise((resolve) => {
        tools.listeners.push((m) => m.sessionId === sessionId && m.method === 'Page.loadEventFired' && resolve());
      });
      const { errorText } = await send('Page.navigate', { url: to });
      assert.equal(errorText, undefined, to);
      await loaded;
    };
    const run = async (expression) => {
      const { result, exceptionDetails } = await send('Runtime.evaluate', {
        expression, awaitPromise: true, returnByValue: true,
      });
      assert.equal(exceptionDetails, undefined, JSON.stringify(exceptionDetails));
      return result.value;
    };

    for (const [name, scheme] of [['chromium http', 'http'], ['chromium connect', 'https']]) {
      await open(`${scheme}://origin.test/ip`);
      assert.equal(JSON.parse(await run('document.body.innerText')).country, COUNTRY, name);
      assert.equal(await run("fetch('/bytes/300000').then((r) => r.arrayBuffer()).then((b) => b.byteLength)"), 300_000);
      assert.equal(await run("fetch('/echo', { method: 'POST', body: 'x'.repeat(70000) }).then((r) => r.text()).then((t) => t.length)"), 70_000);
      console.log(`ok ${name}`);
    }
    assert.ok(asked > 0, 'the proxy asked for credentials');
    const echoed = await run(`new Promise((resolve, reject) => {
      const socket = new WebSocket('wss://origin.test/ws');
      socket.onopen = () => socket.send('hello');
      socket.onmessage = (m) => resolve(m.data);
      socket.onerror = () => reject(new Error('the WebSocket failed'));
    })`);
    assert.equal(echoed, 'hello');
    console.log('ok chromium wss');
  } finally {
    // With all the processes it has started.
    const gone = once(browser, 'exit');
    process.kill(-browser.pid, 'SIGKILL');
    await gone;
  }
}

const profile = fs.mkdtempSync(path.join(os.tmpdir(), 'chromium-'));
main(profile)
  .then(() => 0, (error) => {
    console.error(error);
    return 1;
  })
  .then((code) => {
    try {
      fs.rmSync(profile, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 });
    } catch (error) {
      console.error(`the profile stays: ${error.message}`);
    }
    process.exit(code);
  });
