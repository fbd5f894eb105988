'use strict';
// The bridge's HTTP interface:
//   POST   /connect {sessionId, proxyUrl?}   opens a session; answers when it is open
//   GET    /sessions                         all sessions
//   DELETE /sessions/{id}                    closes one

const http = require('node:http');
const { ProxyUrlError } = require('./proxy');
const { Session } = require('./session');

const MAX_BODY = 64 * 1024;

/** An answer that is not what was asked for. */
class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/**
 * A `http.Server`, not listening yet, with `sessions` (a Map) and `shutdown()`.
 * `url`: where sessions connect to; `log`: takes one line.
 */
function createBridge({ url, log = console.log, handshakeTimeoutMs = 30_000 }) {
  /** @type {Map<string, Session>} */
  const sessions = new Map();

  async function connect(request) {
    const { sessionId, proxyUrl } = await json(request);
    if (typeof sessionId !== 'string' || sessionId.trim() === '') throw new Refused(400, 'sessionId obrigatório');
    if (proxyUrl != null && typeof proxyUrl !== 'string') throw new Refused(400, 'proxyUrl inválida');
    let session;
    try {
      session = new Session(sessionId, { url, proxyUrl: proxyUrl || undefined, handshakeTimeoutMs, log });
    } catch (error) {
      throw error instanceof ProxyUrlError ? new Refused(400, error.message) : error;
    }
    // A second connect replaces the first: the chip moved to another proxy, or its owner wants a fresh socket.
    sessions.get(sessionId)?.close();
    sessions.set(sessionId, session);
    try {
      await session.connect();
    } catch (error) {
      if (sessions.get(sessionId) === session) sessions.delete(sessionId);
      throw new Refused(502, `falha na conexão: ${error.message}`);
    }
    return session;
  }

  function disconnect(id) {
    const session = sessions.get(id);
    if (!session) throw new Refused(404, 'sessão não encontrada');
    session.close();
    sessions.delete(id);
    return session;
  }

  async function answer(request) {
    const { pathname } = new URL(request.url, 'http://bridge');
    const one = /^\/sessions\/([^/]+)$/.exec(pathname);
    if (request.method === 'POST' && pathname === '/connect') return connect(request);
    if (request.method === 'GET' && pathname === '/sessions') return { sessions: [...sessions.values()] };
    if (request.method === 'DELETE' && one) return disconnect(decoded(one[1]));
    throw new Refused(404, 'rota não encontrada');
  }

  const server = http.createServer(async (request, response) => {
    let status = 200;
    let body;
    try {
      body = await answer(request);
    } catch (error) {
      if (!(error instanceof Refused)) log(`error: ${error.message}`);
      status = error instanceof Refused ? error.status : 500;
      body = { error: error instanceof Refused ? error.message : 'erro interno' };
    }
    response.writeHead(status, { 'content-type': 'application/json; charset=utf-8' });
    response.end(`${JSON.stringify(body)}\n`);
  });
  server.sessions = sessions;
  server.shutdown = () => {
    for (const session of sessions.values()) session.close();
    sessions.clear();
  };
  return server;
}

async function json(request) {
  let text = '';
  request.setEncoding('utf8');
  for await (const chunk of request) {
    text += chunk;
    if (text.length > MAX_BODY) throw new Refused(413, 'corpo grande demais');
  }
  let body;
  try {
    body = JSON.parse(text || '{}');
  } catch {
    throw new Refused(400, 'JSON inválido');
  }
  if (body === null || typeof body !== 'object') throw new Refused(400, 'JSON inválido');
  return body;
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    throw new Refused(400, 'sessionId inválido');
  }
}

module.exports = { createBridge };
