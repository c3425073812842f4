"""The test bed: a directory of its own, free ports, keys, a certificate, the upstream and Redis. All of it goes when it closes."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType

from . import process
from .keys import Key, keys
from .machine import Cores

BENCH = Path(__file__).resolve().parent.parent
ROOT = BENCH.parent.parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
BUILT = TARGET / "bench"
TEMPLATES = BENCH / "peers"
WORD = re.compile(r"@([A-Z0-9_]+)@")
KEYS, TENANTS = 1000, 50
PORTS = ("H1", "H2", "TLS", "ADMIN", "UPSTREAM", "REDIS")


class Bed:
    """What every peer is measured on. `with Bed(binary) as bed:` starts the upstream and Redis, and ends them."""

    def __init__(self, sidegate: Path) -> None:
        self.cores = Cores.of_this_machine()
        self.yardstick, self._upstream = _compiled("yardstick"), _compiled("upstream")
        self.run = Path(tempfile.mkdtemp(prefix="sidegate-bench-"))
        # A copy: what is built meanwhile does not change what is measured.
        self.sidegate = Path(shutil.copy(sidegate, self.run / "sidegate"))
        self.log = self.run / "processes.log"
        self.ports = dict(zip(PORTS, _free_ports(len(PORTS)), strict=True))
        self.keys = list(keys(KEYS, TENANTS))
        self._started: list[subprocess.Popen[bytes]] = []
        self._imported = False

    def __enter__(self) -> Bed:
        # The harness itself works beside the proxy, not on its core.
        os.sched_setaffinity(0, self.cores.all - {self.cores.proxy} or self.cores.all)
        try:
            self._write_keys()
            self._write_certificate()
            command = [str(self._upstream), str(self.ports["UPSTREAM"]), str(self.run / "upstream.sock")]
            self.upstream = self._serve(command, "UPSTREAM")
            # Without Redis there are no peers that need it; that they are missing is told elsewhere.
            if shutil.which("redis-server"):
                self._start_redis()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        for started in reversed(self._started):
            process.stop(started)
        shutil.rmtree(self.run, ignore_errors=True)
        os.sched_setaffinity(0, self.cores.all)

    def render(self, template: str, **words: str) -> Path:
        """A file of tests/bench/peers/ with its @WORDS@ filled in, in the run directory."""
        known = {name: str(port) for name, port in self.ports.items()} | {"RUN": str(self.run)} | words
        target = self.run / template
        target.write_text(WORD.sub(lambda word: known[word[1]], (TEMPLATES / template).read_text()))
        return target

    def start(self, command: Iterable[str], env: dict[str, str] | None = None) -> subprocess.Popen[bytes]:
        """Starts a peer, alone on the proxy's core."""
        return process.start(list(command), self.cores.proxy, self.log, self.run, env)

    def import_keys(self, config: Path) -> None:
        """The keys are put into Sidegate's table, once."""
        if not self._imported:
            self.import_more(config, self.keys)
            self._imported = True

    def import_more(self, config: Path, more: Iterable[Key]) -> None:
        records = self.run / "keys.ndjson"
        records.write_text("".join(key.record() + "\n" for key in more))
        command = [str(self.sidegate), "--config", str(config), "keys", "import", "--create-tenants", "--on-conflict", "skip", str(records)]
        process.run(command, self.cores.rest)

    def last_words(self) -> str:
        """The end of what the processes have written, for a message."""
        return self.log.read_text(errors="replace")[-600:].strip() if self.log.exists() else ""

    def _serve(self, command: list[str], port: str) -> subprocess.Popen[bytes]:
        started = process.start(command, self.cores.rest, self.log, self.run)
        self._started.append(started)
        wait_until(lambda: _connects(self.ports[port]), started)
        return started

    def _start_redis(self) -> None:
        port = self.ports["REDIS"]
        command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--loglevel", "warning"]
        self._serve([*command, "--save", "", "--appendonly", "no"], "REDIS")
        # nginx + Lua has a layout of its own: digest to tenant, id and scopes.
        commands = [f'SET key:{key.digest} "{key.tenant} {key.id} read,write"\r\n'.encode() for key in self.keys]
        with socket.create_connection(("127.0.0.1", port)) as redis:
            redis.sendall(b"".join(commands))
            answers = b""
            while answers.count(b"\r\n") < len(commands):
                answers += redis.recv(65536)
        if answers != b"+OK\r\n" * len(commands):
            raise RuntimeError("Redis did not take the keys")

    def _write_keys(self) -> None:
        (self.run / "keys.txt").write_text("".join(key.secret + "\n" for key in self.keys))
        (self.run / "haproxy.map").write_text("".join(f"{key.secret} {key.tenant}/{key.id}\n" for key in self.keys))

    def _write_certificate(self) -> None:
        certificate, key = self.run / "tls.crt", self.run / "tls.key"
        command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
        names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
        process.run([*command, *names, "-keyout", str(key), "-out", str(certificate)], None)
        (self.run / "tls.pem").write_bytes(certificate.read_bytes() + key.read_bytes())


def wait_until(ready: Callable[[], bool], started: subprocess.Popen[bytes], seconds: float = 20, pause: float = 0.01) -> None:
    """Waits for what a process will do, while it lives."""
    end = time.monotonic() + seconds
    while not ready():
        if started.poll() is not None:
            raise RuntimeError(f"ended with {started.returncode} before it was ready")
        if time.monotonic() > end:
            raise RuntimeError(f"not ready within {seconds:.0f} s")
        time.sleep(pause)


def _connects(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _free_ports(count: int) -> list[int]:
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports: list[int] = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def _compiled(name: str) -> Path:
    """A program of tests/bench/native/, compiled where that is newer."""
    source, program = BENCH / f"native/{name}.c", BUILT / name
    if not program.exists() or program.stat().st_mtime < source.stat().st_mtime:
        BUILT.mkdir(parents=True, exist_ok=True)
        subprocess.run(["cc", "-O2", "-Wall", "-o", program, source], check=True)
    return program
