// Node's own fetch (undici): a pool, uploads that stream, answers that stream, aborts, refusals.
'use strict';

const assert = require('node:assert/strict');
const { BEARER, EVENTS, HTTP, HTTPS, KEY, LARGE, REFUSED, STRANGER, pattern, run } = require('./check.js');

const BASES = [HTTP, HTTPS];
const call = (url, options = {}) => fetch(url, { ...options, headers: { ...BEARER, ...options.headers } });

/** A stream of content, whose length fetch does not know. */
function inPieces(content, size = 64 << 10) {
  let at = 0;
  return new ReadableStream({
    pull(controller) {
      if (at >= content.length) return controller.close();
      controller.enqueue(new Uint8Array(content.subarray(at, (at += size))));
    },
  });
}

async function answers_are_whole() {
  for (const base of BASES) {
    for (const [path, status, text] of [
      ['/hello', 200, 'hello'],
      ['/nothing', 204, ''],
      ['/absent', 404, '{"error":"the API\'s own"}'],
      ['/chunks', 200, 'onetwothree'],
      ['/gzip', 200, 'packed by the API, unpacked by the client\n'],
      ['/moved', 200, 'hello'],
    ]) {
      const answer = await call(base + path);
      assert.deepEqual([answer.status, await answer.text()], [status, text], path);
    }
    const large = await call(`${base}/pattern/${LARGE}`);
    assert.ok(pattern(LARGE).equals(Buffer.from(await large.arrayBuffer())));
    const cookies = await call(`${base}/cookies`);
    assert.deepEqual(cookies.headers.getSetCookie(), ['a=1; Path=/', 'b=2; Path=/; HttpOnly']);
    assert.equal((await call(`${base}/pattern/77`, { method: 'HEAD' })).headers.get('content-length'), '77');
    assert.equal((await call(`${base}/cached`, { headers: { 'if-none-match': '"v1"' } })).status, 304);
  }
  const other = await fetch(`${HTTP}/hello`, { headers: { 'x-api-key': KEY } });
  assert.equal(await other.text(), 'hello');
}

async function many_at_once() {
  const lengths = Array.from({ length: 200 }, (_, at) => at + 1000);
  const answers = await Promise.all(lengths.map(async (length) => (await call(`${HTTP}/pattern/${length}`)).arrayBuffer()));
  answers.forEach((content, at) => assert.ok(pattern(lengths[at]).equals(Buffer.from(content))));
}

async function uploads_arrive_as_they_are() {
  const content = pattern(LARGE);
  for (const base of BASES) {
    for (const body of [content, inPieces(content)]) {
      const answer = await call(`${base}/upload`, { method: 'PUT', body, duplex: 'half' });
      assert.deepEqual(await answer.json(), { length: LARGE });
    }
    const form = new FormData();
    form.append('file', new Blob([pattern(5000)]), 'name.bin');
    const echoed = await call(`${base}/echo`, { method: 'POST', body: form });
    const file = (await echoed.formData()).get('file');
    assert.ok(pattern(5000).equals(Buffer.from(await file.arrayBuffer())));
    const kept = await call(`${base}/moved-with-content`, { method: 'POST', body: 'kept' });
    assert.equal(await kept.text(), 'kept');
  }
}

async function events_come_one_by_one() {
  for (const [index, base] of BASES.entries()) {
    const answer = await call(`${base}/events/fetch-${index}`);
    const seen = [];
    let text = '';
    for await (const piece of answer.body.pipeThrough(new TextDecoderStream())) {
      text += piece;
      const events = text.split('\n\n');
      text = events.pop();
      for (const event of events) {
        seen.push(Number(/^data: (\d+)$/m.exec(event)[1]));
        await call(`${base}/seen/fetch-${index}/${seen.at(-1)}`, { method: 'POST' });
      }
    }
    assert.deepEqual(seen, Array.from({ length: EVENTS }, (_, at) => at + 1));
  }
}

async function an_aborted_request_ends_at_the_api() {
  const abort = new AbortController();
  const answer = await call(`${HTTP}/endless/fetch`, { signal: abort.signal });
  const reader = answer.body.getReader();
  assert.equal(Buffer.from((await reader.read()).value).toString(), 'begun');
  abort.abort();
  await assert.rejects(reader.read(), { name: 'AbortError' });
  assert.equal((await call(`${HTTP}/ended/fetch`)).status, 200);
}

async function refusals_are_read() {
  for (const base of BASES) {
    for (const body of [undefined, 'small', pattern(LARGE), inPieces(pattern(LARGE))]) {
      const method = body ? 'PUT' : 'GET';
      const answer = await fetch(`${base}/refused`, { method, body, duplex: 'half', headers: STRANGER });
      assert.deepEqual([answer.status, await answer.json()], [401, REFUSED]);
      assert.equal(answer.headers.get('www-authenticate'), 'Bearer realm="api", error="invalid_token"');
    }
    const early = await call(`${base}/early`, { method: 'PUT', body: pattern(LARGE) });
    assert.deepEqual([early.status, await early.text()], [413, 'too much']);
  }
}

run(
  answers_are_whole,
  many_at_once,
  uploads_arrive_as_they_are,
  events_come_one_by_one,
  an_aborted_request_ends_at_the_api,
  refusals_are_read,
);
