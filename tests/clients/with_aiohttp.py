"""aiohttp: many at once on few connections, uploads in pieces and after 100 Continue, streams, cancelled requests."""

import asyncio
import contextlib
import ssl

import aiohttp
from check import BEARER, CA, EVENTS, HTTP, HTTPS, LARGE, REFUSED, STRANGER, TIMEOUT, equal, pattern, pieces, run

TRUST = ssl.create_default_context(cafile=CA)


def session(base=HTTP, headers=BEARER, limit=10):
    connector = aiohttp.TCPConnector(limit=limit, ssl=TRUST)
    return aiohttp.ClientSession(base, headers=headers, connector=connector, timeout=aiohttp.ClientTimeout(TIMEOUT))


async def in_pieces(content):
    for piece in pieces(content):
        yield piece


async def many_at_once_on_few_connections():
    for base in (HTTP, HTTPS):
        async with session(base) as client:

            async def one(length):
                async with client.get(f"/pattern/{length}") as answer:
                    equal(await answer.read(), pattern(length))

            await asyncio.gather(*(one(length) for length in range(100, 300)))


async def uploads_arrive_as_they_are():
    content = pattern(LARGE)
    for base in (HTTP, HTTPS):
        async with session(base) as client:
            for data, options in [(content, {}), (in_pieces(content), {}), (content, {"expect100": True})]:
                async with client.put("/upload", data=data, **options) as answer:
                    equal(await answer.json(), {"length": LARGE})
            form = aiohttp.FormData({"a": "1"})
            form.add_field("file", pattern(5000), filename="name.bin")
            async with client.post("/echo", data=form) as answer:
                assert pattern(5000) in await answer.read()


async def answers_are_unpacked_and_followed():
    async with session(HTTPS) as client:
        for path, text in [("/gzip", "packed by the API, unpacked by the client\n"), ("/moved", "hello"), ("/chunks", "onetwothree")]:
            async with client.get(path) as answer:
                equal(await answer.text(), text)


async def events_come_one_by_one():
    async with session() as client, client.get("/events/aiohttp") as answer:
        seen = []
        async for line in answer.content:
            if line.startswith(b"data: "):
                seen.append(int(line[6:]))
                async with client.post(f"/seen/aiohttp/{seen[-1]}"):
                    pass
        equal(seen, list(range(1, EVENTS + 1)))


async def a_request_that_is_cancelled_ends_at_the_api():
    async with session() as client:
        begun = asyncio.Event()

        async def endless():
            async with client.get("/endless/aiohttp") as answer:
                equal(await answer.content.readexactly(5), b"begun")
                begun.set()
                await answer.content.readany()

        task = asyncio.create_task(endless())
        await asyncio.wait_for(begun.wait(), TIMEOUT)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        async with client.get("/ended/aiohttp") as answer:
            equal(answer.status, 200)


async def refusals_are_read():
    for base in (HTTP, HTTPS):
        async with session(base, STRANGER) as client:
            for data, options in [
                (b"small", {}),
                (pattern(LARGE), {}),
                (in_pieces(pattern(LARGE)), {}),
                (pattern(LARGE), {"expect100": True}),
            ]:
                async with client.put("/refused", data=data, **options) as answer:
                    equal((answer.status, await answer.json()), (401, REFUSED))
    async with session() as client:
        async with client.put("/early", data=pattern(LARGE)) as answer:
            equal((answer.status, await answer.text()), (413, "too much"))


run(
    many_at_once_on_few_connections,
    uploads_arrive_as_they_are,
    answers_are_unpacked_and_followed,
    events_come_one_by_one,
    a_request_that_is_cancelled_ends_at_the_api,
    refusals_are_read,
)
