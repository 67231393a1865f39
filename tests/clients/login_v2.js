// Logs in with ewelink-api-next as it is, then takes the STEPS (of refresh, region and logout, separated by commas) in their order, and
// prints what it made of the answers as JSON.
'use strict';

const eWeLink = require('ewelink-api-next').default;

const { appId, appSecret, region, account, password, areaCode } = JSON.parse(process.env.PARAMETERS);
const client = new eWeLink.WebAPI({ appId, appSecret, region });

const steps = {
  refresh: () => client.user.refreshToken({}),
  region: () => client.user.getRegion({ areaCode }),
  logout: () => client.user.logout(),
};

// The client rejects what is not HTTP 2xx.
const settle = (call) => call.catch(({ message, response }) => ({ thrown: message, status: response?.status, body: response?.data }));

(async () => {
  const answer = await settle(client.user.login({ account, password, areaCode }));
  const { at, rt, userApiKey } = client;
  const printed = { answer, client: { at, rt, userApiKey } };
  for (const step of (process.env.STEPS || '').split(',').filter(Boolean)) {
    printed[step] = await settle(steps[step]());
  }
  process.stdout.write(JSON.stringify({ ...printed, hosts: globalThis.connectedHosts }));
})();
