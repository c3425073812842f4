// Node's client of HTTP/2: many streams, trailers in both directions, uploads, refusals, streams that are reset.
'use strict';

const assert = require('node:assert/strict');
const http2 = require('node:http2');
const { once } = require('node:events');
const { BEARER, CA, HTTP, HTTPS, LARGE, REFUSED, STRANGER, pattern, run } = require('./check.js');

/** Each check once in the clear and once by TLS. */
function overBoth(check) {
  const checked = async () => {
    for (const base of [HTTP, HTTPS]) {
      const session = http2.connect(base, { ca: CA });
      await check(session, base);
      session.close();
    }
  };
  return Object.defineProperty(checked, 'name', { value: check.name });
}

async function exchange(session, headers, content, trailers) {
  const stream = session.request({ ...BEARER, ...headers }, { endStream: content === undefined, waitForTrailers: !!trailers });
  const answer = { trailers: {} };
  stream.on('response', (head) => Object.assign(answer, { head, status: head[':status'] }));
  stream.on('trailers', (fields) => Object.assign(answer.trailers, fields));
  stream.on('wantTrailers', () => stream.sendTrailers(trailers));
  if (content !== undefined) stream.end(content);
  const pieces = [];
  stream.on('data', (piece) => pieces.push(piece));
  // Not `finish`: a refused upload is never finished, its answer is.
  await once(stream, 'end');
  return { ...answer, content: Buffer.concat(pieces) };
}

async function many_streams_share_a_connection(session) {
  const lengths = Array.from({ length: 100 }, (_, at) => at * 100);
  const answers = await Promise.all(lengths.map((length) => exchange(session, { ':path': `/pattern/${length}` })));
  answers.forEach(({ status, content }, at) => assert.ok(status === 200 && content.equals(pattern(lengths[at]))));
}

async function content_and_trailers_go_both_ways(session) {
  // What is not announced is not sent on: an upstream of HTTP/1.1 would not know what to do with it.
  const put = { ':method': 'PUT', ':path': '/upload', trailer: 'x-checksum' };
  const { content } = await exchange(session, put, pattern(LARGE), { 'x-checksum': '7' });
  assert.deepEqual(JSON.parse(content), { length: LARGE });
  const chunks = await exchange(session, { ':path': '/chunks', te: 'trailers' });
  assert.deepEqual([chunks.content.toString(), chunks.trailers['x-checksum']], ['onetwothree', '123']);
  const large = await exchange(session, { ':path': `/pattern/${LARGE}` });
  assert.ok(large.content.equals(pattern(LARGE)));
}

async function a_stream_that_is_reset_ends_at_the_api(session, base) {
  const name = new URL(base).port;
  const stream = session.request({ ...BEARER, ':path': `/endless/${name}` });
  await once(stream, 'data');
  stream.close(http2.constants.NGHTTP2_CANCEL);
  assert.equal((await exchange(session, { ':path': `/ended/${name}` })).status, 200);
}

async function refusals_are_read(session) {
  // More than it may send at once; what is left of it counts for a while against the 10 MB that Node grants a session.
  const large = pattern(2 << 20);
  for (const content of [undefined, 'small', large]) {
    const { status, content: body } = await exchange(session, { ...STRANGER, ':method': 'PUT', ':path': '/refused' }, content);
    assert.deepEqual([status, JSON.parse(body)], [401, REFUSED]);
  }
  const early = await exchange(session, { ':method': 'PUT', ':path': '/early' }, large);
  assert.deepEqual([early.status, early.content.toString()], [413, 'too much']);
  const after = await exchange(session, { ':path': '/hello' });
  assert.deepEqual([after.status, after.content.toString()], [200, 'hello']);
}

run(
  overBoth(many_streams_share_a_connection),
  overBoth(content_and_trailers_go_both_ways),
  overBoth(a_stream_that_is_reset_ends_at_the_api),
  overBoth(refusals_are_read),
);
