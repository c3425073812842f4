"""websockets (Python): messages of every kind and size, both ends of a connection, refused handshakes."""

import asyncio
import json
import ssl

from check import BEARER, CA, HTTP, HTTPS, KEY, REFUSED, STRANGER, TIMEOUT, equal, pattern, run
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosedError, InvalidStatus

TRUST = ssl.create_default_context(cafile=CA)
PLACES = [(HTTP.replace("http", "ws", 1), {}), (HTTPS.replace("http", "ws", 1), {"ssl": TRUST})]


def opened(place, options, headers=BEARER, **more):
    return connect(place, additional_headers=headers, open_timeout=TIMEOUT, max_size=None, proxy=None, **options, **more)


async def messages_go_both_ways():
    for place, options in PLACES:
        for compression in ("deflate", None):
            async with opened(place + "/chat?room=1", options, subprotocols=["chat"], compression=compression) as socket:
                equal(socket.subprotocol, "chat")
                seen = json.loads(await socket.recv())
                assert ["x-tenant-id", "acme"] in seen and ["x-auth-key-id", "key_main"] in seen, seen
                assert KEY not in json.dumps(seen)
                for message in ("text", "Zoë", b"\0\xff", "", pattern(3 << 20), "y" * 100_000):
                    await socket.send(message)
                    equal(await socket.recv(), message)
                # A message in pieces, and one after the other without waiting.
                await socket.send(["one ", "two"])
                equal(await socket.recv(), "one two")
                for number in range(100):
                    await socket.send(str(number))
                equal([await socket.recv() for _ in range(100)], [str(number) for number in range(100)])
                await asyncio.wait_for(await socket.ping(), TIMEOUT)


async def either_end_may_leave_and_says_why():
    for place, options in PLACES:
        async with opened(place + "/chat", options) as socket:
            await socket.recv()
            await socket.send("leave")
            try:
                await socket.recv()
                raise AssertionError("it was to end")
            except ConnectionClosedError as error:
                equal((error.rcvd.code, error.rcvd.reason), (4001, "as you said"))
        async with opened(place + "/chat", options) as socket:
            await socket.close(4002, "I must go")
            equal((socket.close_code, socket.close_reason), (4002, "I must go"))


async def many_at_once():
    async def one(number):
        place, options = PLACES[number % 2]
        async with opened(place + "/chat", options) as socket:
            await socket.recv()
            await socket.send(str(number))
            equal(await socket.recv(), str(number))

    await asyncio.gather(*(one(number) for number in range(100)))


async def a_refused_handshake_is_an_answer():
    for place, options in PLACES:
        try:
            async with opened(place + "/chat", options, STRANGER):
                raise AssertionError("it was to be refused")
        except InvalidStatus as error:
            equal((error.response.status_code, json.loads(error.response.body)), (401, REFUSED))


run(
    messages_go_both_ways,
    either_end_may_leave_and_says_why,
    many_at_once,
    a_refused_handshake_is_an_answer,
)
