// Preloaded before a client: whatever host it connects to, the connection goes to REDIRECT_TO. The host that it named stays the one
// in the TLS handshake and in the request.
'use strict';

const tls = require('node:tls');

const [host, port] = process.env.REDIRECT_TO.split(':');
const connect = tls.connect;

globalThis.connectedHosts = [];

// axios would ask the environment's proxy to connect.
process.env.no_proxy = '*';

tls.connect = (options, ...rest) => {
  globalThis.connectedHosts.push(`${options.host}:${options.port}`);
  const servername = options.servername || options.host;
  return connect({ ...options, host, port, servername, path: undefined }, ...rest);
};
