"""httpx, over HTTP/1.1 and HTTP/2: one connection for many, streams in both directions, refusals."""

import asyncio
import ssl

import httpx
from check import BEARER, CA, EVENTS, HTTP, HTTPS, LARGE, READ_AWAY, REFUSED, STRANGER, TIMEOUT, equal, pattern, pieces, run

# What a client may be set up with, and the version that it speaks then.
TRUST = ssl.create_default_context(cafile=CA)
SETUPS = [
    (HTTP, {}, "HTTP/1.1"),
    (HTTPS, {"verify": TRUST}, "HTTP/1.1"),
    (HTTPS, {"verify": TRUST, "http2": True}, "HTTP/2"),
    (HTTP, {"http1": False, "http2": True}, "HTTP/2"),
]


def clients(headers=BEARER):
    for base, options, version in SETUPS:
        with httpx.Client(base_url=base, headers=headers, timeout=TIMEOUT, **options) as client:
            yield client, version


def every_version_is_spoken():
    for client, version in clients():
        answer = client.get("/hello")
        equal((answer.http_version, answer.text), (version, "hello"))
        equal(client.get("/gzip").text, "packed by the API, unpacked by the client\n")
        equal(client.get("/nothing").status_code, 204)
        equal(client.head("/pattern/77").headers["content-length"], "77")
        equal(client.get("/moved", follow_redirects=True).text, "hello")
        equal(client.post("/moved-with-content", content=b"kept", follow_redirects=True).content, b"kept")
        client.get("/cookies")
        equal(dict(client.cookies), {"a": "1", "b": "2"})


def content_goes_both_ways():
    content = pattern(LARGE)
    for client, _ in clients():
        equal(client.put("/upload", content=content).json(), {"length": LARGE})
        equal(client.put("/upload", content=pieces(content)).json(), {"length": LARGE})
        with client.stream("GET", f"/pattern/{LARGE}") as answer:
            equal(b"".join(answer.iter_bytes()), content)


def events_come_one_by_one():
    for index, (client, _) in enumerate(clients()):
        seen = []
        with client.stream("GET", f"/events/httpx-{index}") as answer:
            for line in answer.iter_lines():
                if line.startswith("data: "):
                    seen.append(int(line[6:]))
                    client.post(f"/seen/httpx-{index}/{seen[-1]}")
        equal(seen, list(range(1, EVENTS + 1)))


def refusals_are_read():
    # Over HTTP/2 httpx does not look for an answer before it has sent everything.
    longest = {"HTTP/1.1": LARGE, "HTTP/2": READ_AWAY}
    for client, version in clients(STRANGER):
        length = longest[version]
        for content in (None, b"small", pattern(length), pieces(pattern(length))):
            answer = client.put("/refused", content=content)
            equal((answer.status_code, answer.json()), (401, REFUSED))
    for client, version in clients():
        answer = client.put("/early", content=pattern(longest[version]))
        equal((answer.status_code, answer.text), (413, "too much"))


async def a_hundred_at_once_share_a_connection():
    async with httpx.AsyncClient(base_url=HTTPS, headers=BEARER, verify=TRUST, http2=True, timeout=TIMEOUT) as client:
        answers = await asyncio.gather(*(client.get(f"/pattern/{length}") for length in range(1000, 1100)))
        for length, answer in enumerate(answers, start=1000):
            equal((answer.http_version, answer.content), ("HTTP/2", pattern(length)))
        streams = {answer.extensions["stream_id"] for answer in answers}
        equal(len(streams), 100)


async def a_download_that_is_left_ends_at_the_api():
    for index, (base, options, _) in enumerate(SETUPS):
        async with httpx.AsyncClient(base_url=base, headers=BEARER, timeout=TIMEOUT, **options) as client:
            async with client.stream("GET", f"/endless/httpx-{index}") as answer:
                equal(await anext(answer.aiter_bytes()), b"begun")
            equal((await client.get(f"/ended/httpx-{index}")).status_code, 200)


run(
    every_version_is_spoken,
    content_goes_both_ways,
    events_come_one_by_one,
    refusals_are_read,
    a_hundred_at_once_share_a_connection,
    a_download_that_is_left_ends_at_the_api,
)
