'use strict';
// What a proxy URL means: an agent to connect through, and the part of it that may be logged.

const { HttpsProxyAgent } = require('https-proxy-agent');
const { SocksProxyAgent } = require('socks-proxy-agent');

/** A proxy URL that cannot be used. Its message never repeats the URL. */
class ProxyUrlError extends Error {}

/**
 * What follows the `@`: host and port, never credentials. Whatever cannot be parsed is not shown.
 * @param {string | undefined} proxyUrl
 */
function proxyLabel(proxyUrl) {
  if (!proxyUrl) return 'direct';
  try {
    return new URL(proxyUrl).host;
  } catch {
    return '(invalid)';
  }
}

/**
 * The agent for a proxy URL; none for no URL. CONNECT for http:// and https:// proxies, SOCKS5 for
 * socks5:// and socks5h://. The proxy resolves the name of the target in each case.
 * @param {string | undefined} proxyUrl
 */
function proxyAgent(proxyUrl) {
  if (!proxyUrl) return undefined;
  let url;
  try {
    url = new URL(proxyUrl);
  } catch {
    throw new ProxyUrlError('proxyUrl inválida');
  }
  if (!url.hostname) throw new ProxyUrlError('proxyUrl inválida');
  switch (url.protocol) {
    case 'http:':
    case 'https:':
      return new HttpsProxyAgent(url);
    case 'socks5:':
    case 'socks5h:':
      // To this agent "socks5" means names resolved here, which would tell the local resolver
      // whom each session talks to.
      return new SocksProxyAgent(proxyUrl.replace(/^socks5h?:/i, 'socks5h:'));
    default:
      throw new ProxyUrlError('proxyUrl: use http://, https:// ou socks5://');
  }
}

module.exports = { ProxyUrlError, proxyAgent, proxyLabel };
