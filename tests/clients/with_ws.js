// ws (Node): messages of every kind and size, both ends of a connection, refused handshakes.
'use strict';

const assert = require('node:assert/strict');
const { once } = require('node:events');
const { WebSocket } = require('ws');
const { BEARER, CA, HTTP, HTTPS, KEY, REFUSED, STRANGER, pattern, run } = require('./check.js');

const PLACES = [HTTP, HTTPS].map((base) => base.replace('http', 'ws'));
const open = (place, headers, options = {}) => new WebSocket(`${place}/chat`, 'chat', { headers, ca: CA, ...options });

/** An open one, and what it was opened with, which the API tells first. */
async function opened(place, options) {
  const socket = open(place, BEARER, options);
  const [told] = await once(socket, 'message');
  return [socket, JSON.parse(told)];
}

async function messages_go_both_ways() {
  for (const place of PLACES) {
    for (const perMessageDeflate of [true, false]) {
      const [socket, seen] = await opened(place, { perMessageDeflate });
      assert.equal(socket.protocol, 'chat');
      assert.equal(socket.extensions !== '', perMessageDeflate, 'extensions are agreed upon between the ends');
      const lines = seen.map(([name, value]) => `${name.toLowerCase()}: ${value}`);
      assert.ok(lines.includes('x-tenant-id: acme') && lines.includes('x-auth-key-id: key_main'), lines);
      assert.ok(!JSON.stringify(seen).includes(KEY));
      for (const message of ['text', 'Zoë', '', 'y'.repeat(100_000), pattern(3 << 20), Buffer.from([0, 255])]) {
        socket.send(message);
        const [data, isBinary] = await once(socket, 'message');
        assert.ok(isBinary === Buffer.isBuffer(message) && data.equals(Buffer.from(message)));
      }
      socket.ping('are you there');
      assert.equal(String((await once(socket, 'pong'))[0]), 'are you there');
      socket.terminate();
    }
  }
}

async function either_end_may_leave_and_says_why() {
  for (const place of PLACES) {
    const [left] = await opened(place);
    left.send('leave');
    const [code, reason] = await once(left, 'close');
    assert.deepEqual([code, String(reason)], [4001, 'as you said']);
    const [leaving] = await opened(place);
    leaving.close(4002, 'I must go');
    assert.equal((await once(leaving, 'close'))[0], 4002);
  }
}

async function many_at_once() {
  const one = async (number) => {
    const [socket] = await opened(PLACES[number % 2]);
    socket.send(String(number));
    assert.equal(String((await once(socket, 'message'))[0]), String(number));
    socket.terminate();
  };
  await Promise.all(Array.from({ length: 100 }, (_, number) => one(number)));
}

async function a_refused_handshake_is_an_answer() {
  for (const place of PLACES) {
    const socket = open(place, STRANGER);
    const [request, answer] = await once(socket, 'unexpected-response');
    const pieces = await answer.toArray();
    assert.deepEqual([answer.statusCode, JSON.parse(Buffer.concat(pieces))], [401, REFUSED]);
    request.destroy();
  }
}

run(messages_go_both_ways, either_end_may_leave_and_says_why, many_at_once, a_refused_handshake_is_an_answer);
