// Logs in with ewelink-api as it is, and prints what it made of the answers as JSON.
'use strict';

const eWeLink = require('ewelink-api');

const client = new eWeLink(JSON.parse(process.env.PARAMETERS));

client.getCredentials().then((answer) => {
  const { at, apiKey, region } = client;
  process.stdout.write(JSON.stringify({ answer, client: { at, apiKey, region }, hosts: globalThis.connectedHosts }));
});
