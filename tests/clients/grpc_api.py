"""An API of gRPC, spoken in bytes: what it is asked and by whom comes back in its answers, its streams wait for each other."""

import json
import threading
from concurrent import futures

import grpc
from serve import announce

WAIT = 20
words = {}
changed = threading.Condition()


def say(word, count):
    with changed:
        words[word] = max(count, words.get(word, 0))
        changed.notify_all()


def wait_for(word, count):
    with changed:
        return changed.wait_for(lambda: words.get(word, 0) >= count, WAIT)


def echo(request, context):
    seen = [[key, value if isinstance(value, str) else value.hex()] for key, value in context.invocation_metadata()]
    context.send_initial_metadata([("x-first", "1")])
    context.set_trailing_metadata([("x-seen-bin", json.dumps(seen).encode())])
    return request


def fail(request, context):
    context.set_trailing_metadata([("x-why", "the API's own")])
    context.abort(grpc.StatusCode.FAILED_PRECONDITION, "Zoë says no: 100 %")


def say_word(request, context):
    word, count = request.decode().split()
    say(word, int(count))
    return b""


def wait_word(request, context):
    word, count = request.decode().split()
    if not wait_for(word, int(count)):
        context.abort(grpc.StatusCode.ABORTED, f"nobody said {word} {count}")
    return b""


def gather(requests, context):
    """Says of each message that it is there: the client sends the next one then."""
    total = b""
    for count, request in enumerate(requests, start=1):
        total += request
        say("gathered", count)
    return total


def scatter(request, context):
    """Sends each message when the client has said that it has the one before."""
    for count in range(int(request)):
        yield str(count).encode()
        if not wait_for("scattered", count + 1):
            context.abort(grpc.StatusCode.ABORTED, "the message before did not arrive")


def converse(requests, context):
    for request in requests:
        yield request[::-1]


def endless(request, context):
    context.add_callback(lambda: say("left", 1))
    yield b"begun"
    wait_for("left", 1)


def serve():
    server = grpc.server(futures.ThreadPoolExecutor(16))
    unary = {"Echo": echo, "Fail": fail, "Say": say_word, "Wait": wait_word}
    methods = {name: grpc.unary_unary_rpc_method_handler(function) for name, function in unary.items()}
    methods["Gather"] = grpc.stream_unary_rpc_method_handler(gather)
    methods["Scatter"] = grpc.unary_stream_rpc_method_handler(scatter)
    methods["Converse"] = grpc.stream_stream_rpc_method_handler(converse)
    methods["Endless"] = grpc.unary_stream_rpc_method_handler(endless)
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("test.Api", methods)])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    announce(f"h2c://127.0.0.1:{port}")
    server.wait_for_termination()


serve()
