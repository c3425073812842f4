"""grpcio: calls of all four kinds, metadata, errors, deadlines, and refusals that it understands."""

import json
import threading

import grpc
from check import CA, HTTP, HTTPS, KEY, TIMEOUT, equal, pattern, run

METADATA = [("authorization", f"Bearer {KEY}")]
MESSAGES = 20


def in_the_clear():
    return grpc.insecure_channel(HTTP.removeprefix("http://"))


def channels():
    """In the clear with the key in the metadata, and by TLS with call credentials, as libraries set it up."""
    with in_the_clear() as channel:
        yield channel, METADATA
    with open(CA, "rb") as file:
        trust = grpc.ssl_channel_credentials(file.read())
    credentials = grpc.composite_channel_credentials(trust, grpc.access_token_call_credentials(KEY))
    with grpc.secure_channel(HTTPS.removeprefix("https://"), credentials) as channel:
        yield channel, []


class Stub:
    def __init__(self, channel, metadata=()):
        self.channel, self.options = channel, {"metadata": metadata, "timeout": TIMEOUT}

    def unary(self, method, request=b"", **options):
        call = self.channel.unary_unary(f"/test.Api/{method}")
        return call.with_call(request, **{**self.options, **options})

    def say(self, word, count):
        self.unary("Say", f"{word} {count}".encode())

    def wait(self, word, count):
        self.unary("Wait", f"{word} {count}".encode())


def fails_with(code, details, call):
    try:
        answer = call()
        # Of a stream.
        if not isinstance(answer, tuple):
            list(answer)
    except grpc.RpcError as error:
        equal((error.code(), error.details()), (code, details))
        return error
    raise AssertionError(f"no {code}")


def unary():
    for channel, metadata in channels():
        stub = Stub(channel, metadata)
        for content in (b"", b"hello", pattern(3 << 20)):
            answer, call = stub.unary("Echo", content, metadata=[*metadata, ("x-own", "1"), ("x-own-bin", b"\0\xff")])
            equal(answer, content)
            assert ("x-first", "1") in call.initial_metadata()
            seen = json.loads(dict(call.trailing_metadata())["x-seen-bin"])
            for line in [
                ["x-tenant-id", "acme"],
                ["x-auth-key-id", "key_main"],
                ["x-auth-credential", "api_key"],
                ["x-own", "1"],
                ["x-own-bin", "00ff"],
            ]:
                assert line in seen, (line, seen)
            assert KEY not in json.dumps(seen) and "authorization" not in dict(seen)
        packed, _ = stub.unary("Echo", pattern(100_000), compression=grpc.Compression.Gzip)
        equal(packed, pattern(100_000))


def an_error_of_the_api_is_the_clients():
    for channel, metadata in channels():
        error = fails_with(
            grpc.StatusCode.FAILED_PRECONDITION, "Zoë says no: 100 %", lambda: Stub(channel, metadata).unary("Fail")
        )
        assert ("x-why", "the API's own") in error.trailing_metadata()


def many_calls_at_once():
    for channel, metadata in channels():
        call = channel.unary_unary("/test.Api/Echo")
        running = [call.future(str(n).encode(), metadata=metadata, timeout=TIMEOUT) for n in range(200)]
        equal([answer.result() for answer in running], [str(n).encode() for n in range(200)])


def client_streaming():
    with in_the_clear() as channel:
        stub = Stub(channel, METADATA)

        def messages():
            for count in range(1, MESSAGES + 1):
                yield str(count).encode()
                # None is held back until the next one comes.
                stub.wait("gathered", count)

        gather = channel.stream_unary("/test.Api/Gather")
        equal(gather(messages(), metadata=METADATA, timeout=TIMEOUT), "".join(map(str, range(1, MESSAGES + 1))).encode())


def server_streaming():
    with in_the_clear() as channel:
        stub = Stub(channel, METADATA)
        scatter = channel.unary_stream("/test.Api/Scatter")
        seen = []
        for message in scatter(str(MESSAGES).encode(), metadata=METADATA, timeout=TIMEOUT):
            seen.append(int(message))
            stub.say("scattered", len(seen))
        equal(seen, list(range(MESSAGES)))


def bidirectional_streaming():
    for channel, metadata in channels():
        answered = threading.Semaphore(1)

        def messages():
            for count in range(MESSAGES):
                # The next question follows the answer.
                assert answered.acquire(timeout=TIMEOUT)
                yield f"message {count}".encode()

        answers = channel.stream_stream("/test.Api/Converse")(messages(), metadata=metadata, timeout=TIMEOUT)
        for count, answer in enumerate(answers):
            equal(answer[::-1].decode(), f"message {count}")
            answered.release()
        equal(count, MESSAGES - 1)


def what_the_client_leaves_ends_at_the_api():
    with in_the_clear() as channel:
        call = channel.unary_stream("/test.Api/Endless")(b"", metadata=METADATA, timeout=TIMEOUT)
        equal(next(call), b"begun")
        call.cancel()
        Stub(channel, METADATA).wait("left", 1)


def a_deadline_is_the_clients_and_the_apis():
    with in_the_clear() as channel:
        stub = Stub(channel, METADATA)
        fails_with(
            grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded", lambda: stub.unary("Wait", b"never 1", timeout=0.2)
        )
        _, call = stub.unary("Echo")
        seen = dict(json.loads(dict(call.trailing_metadata())["x-seen-bin"]))
        # The API's library takes `grpc-timeout` for itself.
        assert "grpc-timeout" not in seen


def refusals_are_understood():
    unauthenticated, denied = grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED
    with in_the_clear() as channel:
        for metadata_of_call, method, code, message in [
            ([], "/test.Api/Echo", unauthenticated, "Authentication required"),
            ([("authorization", "Bearer sk_live_nobody")], "/test.Api/Echo", unauthenticated, "Invalid API key"),
            (METADATA, "/test.Admin/Echo", denied, "API key doesn't have permission for this resource"),
            (METADATA, "/test.Unknown/Echo", grpc.StatusCode.UNIMPLEMENTED, "Not found"),
            (METADATA, "/test.Api/Unknown", grpc.StatusCode.UNIMPLEMENTED, "Method not found!"),
        ]:
            options = {"metadata": metadata_of_call, "timeout": TIMEOUT}
            for content in (b"", pattern(3 << 20)):
                fails_with(code, message, lambda: channel.unary_unary(method).with_call(content, **options))
                fails_with(code, message, lambda: channel.unary_stream(method)(content, **options))
                fails_with(code, message, lambda: channel.stream_stream(method)(iter([content] * 3), **options))
                fails_with(code, message, lambda: channel.stream_unary(method).with_call(iter([content] * 3), **options))


run(
    unary,
    an_error_of_the_api_is_the_clients,
    many_calls_at_once,
    client_streaming,
    server_streaming,
    bidirectional_streaming,
    what_the_client_leaves_ends_at_the_api,
    a_deadline_is_the_clients_and_the_apis,
    refusals_are_understood,
)
