"""Real gateways with the snippets of deploy/gateways, in front of an API, asking a real Sidegate: what is let through and how, each
refusal with its status, headers and body, and what clients cannot talk them into."""

import contextlib
import http.client
import http.server
import itertools
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import tempfile
import threading
import unittest

import yaml

from here import DEPLOY, binary, needs, run, until

GATEWAYS = DEPLOY / "gateways"
ROUTES = """
[[routes]]
name = "open"
match = "GET /open"
auth = "none"
[[routes]]
name = "orders"
match = "* /v1/orders/**"
[[routes]]
name = "writes"
match = "POST /v1/writes"
scopes = ["write:orders"]
[[routes]]
name = "office"
match = "GET /v1/office"
ip_allowlist = ["203.0.113.0/24"]
[[routes]]
name = "slow"
match = "GET /v1/slow"
rate_limits = ["rare"]
[rate_limits.rare]
by = ["key"]
requests = 1
per = "1h"
"""


def spellings(name, joints):
    """A name with any of these characters at each of its joints."""
    parts = name.split("-")
    return {"".join(part + joint for part, joint in zip(parts, (*chosen, ""))) for chosen in itertools.product(joints, repeat=len(parts) - 1)}


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Api:
    """What stands behind: records every request, answers 200, or 500 for /v1/orders/broken."""

    def __init__(self):
        api = self
        self.seen = []

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                api.seen.append((self.command, self.path, {name.lower(): value for name, value in self.headers.items()}, body))
                answer = b"the API's answer"
                self.send_response(500 if self.path == "/v1/orders/broken" else 200)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            do_POST = do_DELETE = do_GET

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_port
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()


class Sidegate:
    """`sidegate serve` with deploy/gateways/proxy.toml, on a Redis that can be stopped."""

    def __init__(self, directory):
        self.directory = directory
        self.redis = None
        self.start_redis()
        text = (GATEWAYS / "proxy.toml").read_text()
        self.port, self.ops = free_port(), free_port()
        (directory / "password").write_text("change-me\n")
        text = text.replace("127.0.0.1:8081", f"127.0.0.1:{self.port}")
        text = text.replace("redis://redis.redis.svc.cluster.local.:6379/0", f"redis+unix://{directory}/redis.sock")
        text = text.replace("/run/secrets/sidegate/redis-password", str(directory / "password"))
        self.config = directory / "proxy.toml"
        self.config.write_text(f'{text}\n[ops]\nlisten = "127.0.0.1:{self.ops}"\nsocket = ""\n[cache]\nnegative_ttl = "0s"\n{ROUTES}')
        self.cli("check")
        self.cli("tenants", "create", "--id", "acme", "--name", "Acme")
        create = ["keys", "create", "--tenant", "acme", "--quiet", "--name"]
        self.key = self.cli(*create, "good", "--scope", "read:orders").strip()
        self.unused = self.cli(*create, "unused").strip()
        self.revoked = self.cli(*create, "revoked").strip()
        self.cli("keys", "revoke", "--stdin", input=self.revoked + "\n")
        self.serve = subprocess.Popen([binary(), "--config", self.config, "serve"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until(lambda: request(self.ops, "GET", "/readyz")[0] == 200)

    def cli(self, *arguments, **options):
        return run(binary(), "--config", self.config, *arguments, **options)

    def start_redis(self):
        command = ["redis-server", "--port", "0", "--unixsocket", self.directory / "redis.sock", "--dir", self.directory,
                   "--aclfile", DEPLOY / "redis" / "users.acl", "--save", "", "--daemonize", "no"]
        self.redis = subprocess.Popen([str(word) for word in command], stdout=subprocess.PIPE, text=True)
        next(line for line in self.redis.stdout if "eady to accept connections" in line)

    def stop_redis(self):
        self.redis.kill()
        self.redis.wait()
        self.redis.stdout.close()

    def stop(self):
        for process in (getattr(self, "serve", None), self.redis):
            if process is not None and process.poll() is None:
                process.kill()
                process.wait()
        self.redis.stdout.close()


def request(port, method, path, headers=None, body=None):
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
        connection.putrequest(method, path, skip_accept_encoding=True)
        for name, value in (headers or {}).items():
            connection.putheader(name, value)
        if body is not None:
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()


class Relay:
    """Between a gateway and Sidegate. Of a request with `X-Test: late` the credential arrives only when it is asked about again: what
    was refused would be let through then, as by a limit that has filled up in between."""

    def __init__(self, sidegate):
        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                told = {name: value for name, value in self.headers.items() if name not in ("Host", "Connection")}
                if "X-Test" in told and "X-Original-Refused" not in told:
                    told.pop("Authorization")
                try:
                    status, headers, body = request(sidegate.port, "GET", self.path, told)
                except OSError:
                    self.close_connection = True
                    return
                self.send_response_only(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_port
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()


class Gateway:
    """The tests; a class for each gateway says how that is started."""

    KEEPS_5XX = True
    # Names with dots; those with underscores are dropped everywhere.
    DROPS_DOTS = True

    @classmethod
    def setUpClass(cls):
        cls.ends = contextlib.ExitStack()
        cls.addClassCleanup(cls.ends.close)
        cls.directory = pathlib.Path(cls.ends.enter_context(tempfile.TemporaryDirectory(prefix="sidegate-gateway-")))
        cls.api = Api()
        cls.ends.callback(cls.api.stop)
        cls.sidegate = Sidegate(cls.directory)
        cls.ends.callback(cls.sidegate.stop)
        cls.port = free_port()
        cls.process = subprocess.Popen([str(word) for word in cls.command()], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=cls.directory)
        cls.ends.callback(cls.process.wait)
        cls.ends.callback(cls.process.terminate)
        until(lambda: request(cls.port, "GET", "/open")[0] == 200)

    @classmethod
    def written(cls, snippet, name, around="{}"):
        """The shipped snippet with the ports of this test, as a file."""
        text = (GATEWAYS / snippet).read_text()
        ours = {"8080": cls.port, "8081": cls.sidegate.port, "3000": cls.api.port}
        ours["8081"] = getattr(cls, "relay", cls.sidegate).port
        text = re.sub(r"\b(8080|8081|3000)\b", lambda theirs: str(ours[theirs[0]]), text)
        path = cls.directory / name
        before, after = around.split("{}", 1)
        path.write_text(before + text + after)
        return path

    def setUp(self):
        self.api.seen.clear()
        self.bearer = {"Authorization": f"Bearer {self.sidegate.key}"}

    def ask(self, method, path, headers=None, body=None):
        return request(self.port, method, path, headers, body)

    def test_what_is_let_through_arrives_as_it_was_with_the_identity(self):
        status, _, body = self.ask("POST", "/v1/orders/7%20a?b=%2F&c", {**self.bearer, "Content-Type": "text/plain"}, b"the order")
        self.assertEqual((status, body), (200, b"the API's answer"))
        ((method, path, headers, sent),) = self.api.seen
        self.assertEqual((method, path, sent), ("POST", "/v1/orders/7%20a?b=%2F&c", b"the order"))
        self.assertEqual((headers["x-tenant-id"], headers["x-auth-scopes"], headers["x-auth-environment"]), ("acme", "read:orders", "live"))
        self.assertEqual((headers["x-auth-credential"], headers["content-type"]), ("api_key", "text/plain"))
        self.assertTrue(headers["x-auth-key-id"].startswith("key_"))
        self.assertGreaterEqual(len(headers["x-request-id"]), 8)

    def test_the_api_never_sees_a_key(self):
        for name, value in (("Authorization", f"Bearer {self.sidegate.key}"), ("X-API-Key", self.sidegate.key)):
            self.assertEqual(self.ask("GET", "/v1/orders", {name: value})[0], 200)
        self.assertFalse([seen for seen in self.api.seen if self.sidegate.key in str(seen)])
        self.assertEqual(len(self.api.seen), 2)

    def test_an_answer_of_the_apis_own_is_passed_on_whatever_it_is(self):
        status, _, body = self.ask("GET", "/v1/orders/broken", self.bearer)
        self.assertEqual((status, body), (500, b"the API's answer"))
        self.assertEqual(len(self.api.seen), 1)

    def is_refused(self, answer, status, code):
        self.assertEqual((answer[0], json.loads(answer[2])["code"]), (status, code))
        self.assertTrue(answer[1]["content-type"].startswith("application/json"))
        self.assertFalse(self.api.seen)
        return answer[1]

    def test_refusals_keep_status_headers_and_body(self):
        headers = self.is_refused(self.ask("GET", "/v1/orders"), 401, "AUTH_REQUIRED")
        self.assertTrue(headers["www-authenticate"].startswith("Bearer"))
        self.assertIn("x-request-id", headers)
        self.is_refused(self.ask("POST", "/v1/orders", {}, b"body"), 401, "AUTH_REQUIRED")
        self.is_refused(self.ask("GET", "/v1/orders", {"Authorization": "Bearer nonsense"}), 401, "API_KEY_INVALID")
        self.is_refused(self.ask("GET", "/v1/orders", {"X-API-Key": self.sidegate.revoked}), 401, "API_KEY_INVALID")
        self.is_refused(self.ask("GET", "/v1/orders", {**self.bearer, "X-API-Key": "sk_live_other"}), 400, "CREDENTIAL_CONFLICT")
        self.is_refused(self.ask("POST", "/v1/writes", self.bearer, b""), 403, "INSUFFICIENT_SCOPE")
        self.is_refused(self.ask("GET", "/v1/nowhere", self.bearer), 404, "ROUTE_NOT_FOUND")
        self.is_refused(self.ask("GET", "/v1//orders", self.bearer), 400, "REQUEST_INVALID")
        self.is_refused(self.ask("GET", "/v1/office", self.bearer), 403, "IP_NOT_ALLOWED")

    def test_a_limit_is_told_with_when_to_come_again(self):
        self.assertEqual(self.ask("GET", "/v1/slow", self.bearer)[0], 200)
        self.api.seen.clear()
        headers = self.is_refused(self.ask("GET", "/v1/slow", self.bearer), 429, "RATE_LIMITED")
        self.assertGreater(int(headers["retry-after"]), 0)

    def test_a_client_cannot_say_who_it_is(self):
        strange = {"X-Tenant-Id": "other", "X-Auth-Subject": "other", "X-Auth-Scopes": "*", "X-Auth-Credential": "jwt"}
        joints = "-_." if self.DROPS_DOTS else "-_"
        for name in ("X-Tenant-Id", "X-Auth-Subject", "X-Auth-Key-Id"):
            strange.update(dict.fromkeys(spellings(name, joints), "other"))
        for path, headers in (("/v1/orders", {**self.bearer, **strange}), ("/open", strange)):
            self.assertEqual(self.ask("GET", path, headers)[0], 200)
        for _, path, headers, _ in self.api.seen:
            self.assertEqual(headers.get("x-tenant-id", ""), "acme" if path == "/v1/orders" else "")
            self.assertFalse(headers.get("x-auth-subject"))
            self.assertFalse([name for name in headers if "_" in name])
            self.assertNotIn("other", headers.values())
            self.assertEqual(headers.get("x-auth-credential"), "api_key" if path == "/v1/orders" else "none")

    def test_a_client_cannot_say_what_it_asks_for(self):
        lies = {"X-Original-URI": "/open", "X-Original-URL": "/open", "X-Original-Method": "GET", "X-Forwarded-Uri": "/open",
                "X-Forwarded-Method": "GET", "X-Rewrite-URL": "/open", "X-HTTP-Method-Override": "GET", "X-Envoy-Original-Path": "/open"}
        for name, value in lies.items():
            with self.subTest(name):
                self.is_refused(self.ask("GET", "/v1/orders", {name: value}), 401, "AUTH_REQUIRED")
                self.is_refused(self.ask("POST", "/v1/writes", {**self.bearer, name: value}, b""), 403, "INSUFFICIENT_SCOPE")
        self.is_refused(self.ask("GET", "/v1/orders", lies), 401, "AUTH_REQUIRED")

    def test_a_client_cannot_say_where_it_is(self):
        for name in ("X-Forwarded-For", "Forwarded", "X-Real-IP"):
            with self.subTest(name):
                value = "for=203.0.113.9" if name == "Forwarded" else "203.0.113.9"
                self.is_refused(self.ask("GET", "/v1/office", {**self.bearer, name: value}), 403, "IP_NOT_ALLOWED")

    def test_z_nobody_is_let_through_while_it_cannot_be_asked(self):
        # The last one: it takes the key table away, then Sidegate itself.
        self.sidegate.stop_redis()
        answer = self.ask("GET", "/v1/orders", {"X-API-Key": self.sidegate.unused})
        self.assertEqual((answer[0], self.api.seen), (503, []))
        if self.KEEPS_5XX:
            headers = self.is_refused(answer, 503, "UNAVAILABLE")
            self.assertGreater(int(headers["retry-after"]), 0)
        self.sidegate.serve.kill()
        self.sidegate.serve.wait()
        for path in ("/v1/orders", "/open"):
            self.assertGreaterEqual(self.ask("GET", path, self.bearer)[0], 500)
        self.assertFalse(self.api.seen)


@needs("nginx", "redis-server")
class Nginx(Gateway, unittest.TestCase):
    @classmethod
    def command(cls):
        temporary = "".join(f"{kind}_temp_path {cls.directory}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        around = f"daemon off; pid {cls.directory}/nginx.pid; worker_processes 1; events {{ use epoll; }}\nhttp {{ access_log off; {temporary}\n{{}}\n}}"
        if os.geteuid() == 0:
            cls.directory.chmod(0o755)
        cls.relay = Relay(cls.sidegate)
        cls.ends.callback(cls.relay.stop)
        return ["nginx", "-e", cls.directory / "error.log", "-p", cls.directory, "-c", cls.written("nginx.conf", "nginx.conf", around)]


    def test_what_would_be_let_through_when_it_is_asked_about_again_is_not(self):
        for late in ({"X-Test": "late"}, {"X-Test": "late", "X-Original-Refused": ""}):
            headers = self.is_refused(self.ask("GET", "/v1/orders", {**self.bearer, **late}), 503, "UNAVAILABLE")
            self.assertIn("retry-after", headers)
            self.assertFalse([name for name in headers if name.startswith(("x-tenant", "x-auth"))])


@needs("caddy", "redis-server")
class Caddy(Gateway, unittest.TestCase):
    @classmethod
    def command(cls):
        config = cls.written("Caddyfile", "Caddyfile", "{\n\tadmin off\n\tauto_https off\n\tstorage file_system " + str(cls.directory) + "\n}\n{}")
        return ["caddy", "run", "--config", config, "--adapter", "caddyfile"]


@needs("envoy", "redis-server")
class Envoy(Gateway, unittest.TestCase):
    # To Envoy such an answer is no decision: it answers status_on_error itself.
    KEEPS_5XX = False
    DROPS_DOTS = False

    @classmethod
    def command(cls):
        return [shutil.which("envoy"), "--disable-hot-restart", "--concurrency", "1", "--log-level", "off", "-c", cls.written("envoy.yaml", "envoy.yaml")]


class Traefik(unittest.TestCase):
    def test_every_spelling_with_underscores_is_dropped(self):
        parts = yaml.safe_load((GATEWAYS / "traefik.yaml").read_text())["http"]["middlewares"]
        dropped = set(parts["strangers"]["headers"]["customRequestHeaders"])
        for name in set(parts["sidegate"]["forwardAuth"]["authResponseHeaders"]) - {"X-Request-Id"}:
            self.assertFalse(spellings(name, "-_") - {name} - dropped)

    def test_traefik(self):
        self.skipTest("NOT CHECKED: no package of Traefik; its snippet is read, not run")


if __name__ == "__main__":
    unittest.main()
