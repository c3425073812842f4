// What the Node clients share: where Sidegate is, and a runner that says what failed. It prints nothing else.
'use strict';

const fs = require('node:fs');

const { SIDEGATE_HTTP: HTTP, SIDEGATE_HTTPS: HTTPS, SIDEGATE_CA, SIDEGATE_KEY: KEY } = process.env;
const TIMEOUT = 20_000;

/** Bytes that every language makes in a line. */
const pattern = (length) => Buffer.alloc(length, Buffer.from(Array.from({ length: 251 }, (_, at) => at)));

/** Rejects where nothing comes of a promise. */
function within(promise, what) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what}: nothing came of it`)), TIMEOUT);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** Runs every check and ends with how that went. */
async function run(...checks) {
  let failed = 0;
  for (const check of checks) {
    try {
      await within(check(), check.name);
    } catch (error) {
      failed += 1;
      console.error(`FAILED: ${check.name}`, error);
    }
  }
  process.exit(failed ? 1 : 0);
}

module.exports = {
  HTTP,
  HTTPS,
  KEY,
  CA: SIDEGATE_CA && fs.readFileSync(SIDEGATE_CA),
  BEARER: { authorization: `Bearer ${KEY}` },
  STRANGER: { authorization: 'Bearer sk_live_nobody' },
  REFUSED: { success: false, error: 'Invalid API key', code: 'API_KEY_INVALID' },
  LARGE: 4 << 20,
  EVENTS: 5,
  pattern,
  run,
  within,
};
