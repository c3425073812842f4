"""The API of the tests: on 127.0.0.1 alone, knowing nothing of keys. It answers what it was told, and holds `/v1/held` until
`/release` is asked; `/count` says how many it holds. Runs in a container of its own, with nothing but Python's library."""

import http.server
import json
import signal
import sys
import threading

released, changed, held = threading.Event(), threading.Condition(), 0


class Api(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        global held
        if self.path == "/v1/held":
            with changed:
                held += 1
            released.wait()
            with changed:
                held -= 1
        elif self.path == "/release":
            released.set()
        elif self.path == "/hold":
            released.clear()
        body = json.dumps({"path": self.path, "headers": dict(self.headers), "held": held}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 512
    daemon_threads = True


signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
Server(("127.0.0.1", 3000), Api).serve_forever()
