"""requests (urllib3): sessions, pools, uploads of every form, redirects, cookies, streams."""

import gzip
import io
from concurrent.futures import ThreadPoolExecutor

import requests
from check import BEARER, CA, EVENTS, HTTP, HTTPS, KEY, LARGE, READ_AWAY, REFUSED, STRANGER, TIMEOUT, equal, pattern, pieces, run


class Session(requests.Session):
    """With a deadline for every request."""

    def __init__(self, headers=BEARER):
        super().__init__()
        self.headers.update(headers)
        self.verify = CA

    def request(self, method, url, **options):
        return super().request(method, url, timeout=TIMEOUT, **options)

    def connections(self):
        pools = [adapter.poolmanager.pools for adapter in self.adapters.values()]
        return sum(pool[key].num_connections for pool in pools for key in pool.keys())


def a_session_keeps_its_connection():
    for base in (HTTP, HTTPS):
        with Session() as session:
            for path, status, text in [
                ("/hello", 200, "hello"),
                ("/nothing", 204, ""),
                ("/absent", 404, '{"error":"the API\'s own"}'),
                ("/chunks", 200, "onetwothree"),
                ("/gzip", 200, "packed by the API, unpacked by the client\n"),
                ("/hello?q=%20a%2Fb&q=2", 200, "hello"),
            ] * 4:
                answer = session.get(base + path)
                equal((answer.status_code, answer.text), (status, text))
            head = session.head(base + "/pattern/12345")
            equal((head.headers["content-length"], head.content), ("12345", b""))
            etag = session.get(base + "/cached").headers["etag"]
            equal(session.get(base + "/cached", headers={"If-None-Match": etag}).status_code, 304)
            equal(session.options(base + "/hello").text, "hello")
            equal(session.connections(), 1)


def threads_share_a_pool():
    with Session() as session:
        session.mount(HTTP, requests.adapters.HTTPAdapter(pool_maxsize=8, pool_block=True))
        with ThreadPoolExecutor(8) as threads:
            lengths = range(1000, 1200)
            answers = threads.map(lambda length: session.get(f"{HTTP}/pattern/{length}").content, lengths)
            for length, content in zip(lengths, answers):
                equal(content, pattern(length))
        assert session.connections() <= 8


def keys_may_come_in_either_header():
    equal(requests.get(HTTP + "/hello", headers={"X-API-Key": KEY}, timeout=TIMEOUT).text, "hello")


def uploads_arrive_as_they_are():
    content = pattern(LARGE)
    with Session() as session:
        for data in (content, io.BytesIO(content), pieces(content)):
            equal(session.put(HTTPS + "/upload", data=data).json(), {"length": LARGE})
        equal(session.post(HTTP + "/echo", json={"name": "Zoë"}).json(), {"name": "Zoë"})
        form = session.post(HTTP + "/echo", data={"a": "1 2"}, files={"file": ("name.bin", pattern(5000))})
        assert b'name="a"\r\n\r\n1 2' in form.content and pattern(5000) in form.content
        packed = gzip.compress(content)
        echoed = session.post(HTTP + "/echo", data=packed, headers={"Content-Encoding": "gzip", "Content-Type": "text/plain"})
        equal(gzip.decompress(echoed.content), content)
        equal(session.post(HTTP + "/upload", data=b"").json(), {"length": 0})


def redirects_lead_back_here():
    for base in (HTTP, HTTPS):
        with Session() as session:
            answer = session.get(base + "/moved")
            equal((answer.text, answer.url, len(answer.history)), ("hello", base + "/hello", 1))
            equal(session.post(base + "/moved-with-content", data=b"kept").content, b"kept")


def cookies_are_kept_apart():
    with Session() as session:
        session.get(HTTP + "/cookies")
        equal(session.cookies.get_dict(), {"a": "1", "b": "2"})
        session.get(HTTP + "/hello?with-cookies")


def events_come_one_by_one():
    with Session() as session, session.get(HTTP + "/events/requests", stream=True) as answer:
        equal(answer.headers["content-type"], "text/event-stream")
        seen = []
        for line in answer.iter_lines(chunk_size=1):
            if line.startswith(b"data: "):
                seen.append(int(line[6:]))
                # The next one is sent when this is said.
                requests.post(f"{HTTP}/seen/requests/{seen[-1]}", headers=BEARER, timeout=TIMEOUT)
        equal(seen, list(range(1, EVENTS + 1)))


def a_download_that_is_left_ends_at_the_api():
    with Session() as session:
        answer = session.get(HTTP + "/endless/requests", stream=True)
        equal(next(answer.iter_content(5)), b"begun")
        answer.close()
        equal(session.get(HTTP + "/ended/requests").status_code, 200)


def refusals_are_read():
    with Session(STRANGER) as session:
        for _ in range(3):
            answer = session.get(HTTP + "/refused")
            equal((answer.status_code, answer.json()), (401, REFUSED))
            equal(answer.headers["www-authenticate"], 'Bearer realm="api", error="invalid_token"')
            equal(session.post(HTTP + "/refused", json={"a": 1}).status_code, 401)
        equal(session.connections(), 1)
        for base, length in ((HTTP, LARGE), (HTTPS, READ_AWAY)):
            for data in (pattern(length), pieces(pattern(length))):
                answer = session.put(base + "/refused", data=data)
                equal((answer.status_code, answer.json()), (401, REFUSED))
    with Session() as session:
        equal(session.get(HTTP + "/refused/scope/x").json()["code"], "INSUFFICIENT_SCOPE")
        equal(session.get(HTTP + "/refused//x").json()["code"], "REQUEST_INVALID")


def an_early_answer_is_read():
    with Session() as session:
        answer = session.put(HTTP + "/early", data=pattern(LARGE))
        equal((answer.status_code, answer.text), (413, "too much"))


run(
    a_session_keeps_its_connection,
    threads_share_a_pool,
    keys_may_come_in_either_header,
    uploads_arrive_as_they_are,
    redirects_lead_back_here,
    cookies_are_kept_apart,
    events_come_one_by_one,
    a_download_that_is_left_ends_at_the_api,
    refusals_are_read,
    an_early_answer_is_read,
)
