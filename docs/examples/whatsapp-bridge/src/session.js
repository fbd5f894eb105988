'use strict';
// One session: a WebSocket through its proxy, opened again when it breaks.

const { EventEmitter } = require('node:events');
const WebSocket = require('ws');
const { proxyAgent, proxyLabel } = require('./proxy');

const FIRST_DELAY_MS = 1_000;
const LONGEST_DELAY_MS = 30_000;

/** Emits `message` with what comes, and the name of each state it enters. */
class Session extends EventEmitter {
  /** Throws ProxyUrlError. `options`: url, proxyUrl, handshakeTimeoutMs, log. */
  constructor(id, options) {
    super();
    this.id = id;
    this.options = options;
    this.agent = proxyAgent(options.proxyUrl);
    this.proxy = proxyLabel(options.proxyUrl);
    this.state = 'connecting';
    this.reconnects = 0;
    this.messages = 0;
    this.delay = FIRST_DELAY_MS;
  }

  /** Resolves when the socket is open. A first attempt that fails is not tried again: whoever asked is told. */
  connect() {
    return new Promise((resolve, reject) => {
      this.#open(resolve, reject);
    });
  }

  #open(opened, failed) {
    const { url, handshakeTimeoutMs } = this.options;
    const socket = new WebSocket(url, { agent: this.agent, handshakeTimeout: handshakeTimeoutMs });
    this.socket = socket;
    let last = null;
    let wasOpen = false;
    socket.on('open', () => {
      wasOpen = true;
      this.delay = FIRST_DELAY_MS;
      this.#become('connected');
      opened?.();
    });
    socket.on('message', (data) => {
      this.messages += 1;
      this.emit('message', data);
    });
    socket.on('error', (error) => {
      last = error;
    });
    socket.on('close', (code) => {
      if (this.state === 'closed') {
        failed?.(new Error('session closed'));
      } else if (!wasOpen && failed) {
        this.#become('failed', last?.message);
        failed(last ?? new Error(`closed with ${code}`));
      } else {
        this.#become('reconnecting', last?.message ?? `closed with ${code}`);
        this.reconnects += 1;
        this.timer = setTimeout(() => this.#open(), this.delay);
        this.delay = Math.min(this.delay * 2, LONGEST_DELAY_MS);
      }
    });
  }

  send(data) {
    this.socket.send(data);
  }

  close() {
    this.#become('closed');
    clearTimeout(this.timer);
    this.socket?.terminate();
  }

  #become(state, why) {
    this.state = state;
    this.since = new Date().toISOString();
    this.emit(state);
    this.options.log(`session ${JSON.stringify(this.id)} ${state} via ${this.proxy}${why ? `: ${why}` : ''}`);
  }

  toJSON() {
    const { id, state, proxy, since, reconnects, messages } = this;
    return { sessionId: id, state, proxy, since, reconnects, messages };
  }
}

module.exports = { Session };
