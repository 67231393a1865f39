// Walks through a page with a headless browser that runs no scripts, as a person with a phone would: opens URL, then fills each of FORMS
// in and sends it. Prints what each page says as JSON, and leaves a picture of each in PICTURES.
'use strict';

const { chromium } = require('playwright-core');

const { URL: url, LANGUAGE: locale, PICTURES: pictures, NAME: name } = process.env;
const forms = JSON.parse(process.env.FORMS);

(async () => {
  const flags = ['--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking', '--disable-component-update',
    '--disable-sync', '--disable-quic'];
  const browser = await chromium.launch({ executablePath: process.env.CHROMIUM, args: flags });
  const context = await browser.newContext({ javaScriptEnabled: false, viewport: { width: 390, height: 844 }, locale });
  const page = await context.newPage();
  const requests = [];
  const problems = [];
  page.on('request', (request) => requests.push(request.url()));
  page.on('requestfailed', (request) => problems.push(`${request.url()} ${request.failure().errorText}`));
  page.on('console', (message) => problems.push(message.text()));
  const pages = [];
  const look = async () => {
    const problem = page.locator('[role=alert]');
    pages.push({
      language: await page.locator('html').getAttribute('lang'),
      title: await page.title(),
      text: await page.locator('main > p').last().innerText(),
      problem: (await problem.count()) ? await problem.innerText() : null,
      width: await page.locator('main').evaluate((main) => main.scrollWidth),
      background: await page.locator('main').evaluate((main) => getComputedStyle(main).backgroundColor),
    });
    await page.screenshot({ path: `${pictures}/${name}-${pages.length}.png` });
  };
  await page.goto(url);
  await look();
  for (const form of forms) {
    for (const [field, value] of Object.entries(form)) {
      // What the browser itself would refuse must be refused by the server as well.
      await page.locator(`#${field}`).evaluate((input) => ['minlength', 'maxlength', 'required'].forEach((rule) => input.removeAttribute(rule)));
      await page.fill(`#${field}`, value);
    }
    await page.click('button');
    await look();
  }
  process.stdout.write(JSON.stringify({ pages, requests, problems }));
  await browser.close();
})();
