"""The figures that are no comparison: Sidegate's memory, system calls, start, size, and its decision alone."""

from __future__ import annotations

import json
import re
import resource
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from . import peers, process
from .bed import ROOT, TARGET, Bed
from .keys import Key, keys
from .load import download, wrk
from .peers import Running
from .proxies import PEERS, without
from .targets import OURS
from .watch import while_watched

IDLE_CONNECTIONS = 1000
CACHED_KEYS = 50_000
# So few keys a tenant that the default of [keys] max_per_tenant lets them in.
CACHED_TENANTS = 500
SYSCALL_SECONDS = 2
PERF = ["perf", "stat", "-x,", "-e", "raw_syscalls:sys_enter"]
STRACE = ["strace", "-c", "-f"]
DECIDE = ("cargo", "bench", "--locked", "--bench", "decide")
ALLOCATIONS = ("cargo", "test", "--locked", "--test", "allocations")
MIB = 1 << 20


@dataclass(frozen=True)
class Probe:
    """Measures figures by name: in every round, or once where a round more would say the same."""

    measure: Callable[[Bed], dict[str, float]]
    every_round: bool = True
    missing: Callable[[], str | None] = lambda: None
    # The command of cargo that it needs, which compiles before anything is measured.
    compiled: tuple[str, ...] = ()


@contextmanager
def _sidegate(bed: Bed, pause: float = 0.01) -> Iterator[Running]:
    running = peers.start(PEERS[OURS], bed, pause)
    try:
        yield running
    finally:
        running.stop()


def _request(key: Key) -> bytes:
    return f"GET /v1/items/42 HTTP/1.1\r\nHost: api.example.com\r\nAuthorization: Bearer {key.secret}\r\n\r\n".encode()


def _asked(client: socket.socket, key: Key) -> None:
    """One request and its whole answer, which is small."""
    client.sendall(_request(key))
    answer = b""
    while not answer.endswith(b'"}'):
        got = client.recv(4096)
        if not got:
            break
        answer += got
    if not answer.startswith(b"HTTP/1.1 200 "):
        raise RuntimeError(f"asked with a good key: {answer[:60]!r}")


def memory(bed: Bed) -> dict[str, float]:
    """PSS after the first answer, and what a thousand connections add that have each had theirs and now wait."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 2 * IDLE_CONNECTIONS)), hard))
    clients: list[socket.socket] = []
    with _sidegate(bed) as running:
        idle = process.memory_bytes(running.pids, "Pss")
        try:
            for _ in range(IDLE_CONNECTIONS):
                clients.append(socket.create_connection(("127.0.0.1", bed.ports["H1"])))
                _asked(clients[-1], bed.keys[0])
            time.sleep(0.5)
            connected = process.memory_bytes(running.pids, "Pss")
        finally:
            for client in clients:
                client.close()
    return {"idle MiB": idle / MIB, "connection KiB": (connected - idle) / IDLE_CONNECTIONS / 1024}


def cached_keys(bed: Bed) -> dict[str, float]:
    """What fifty thousand keys, of five hundred tenants, add to PSS when each was asked with once."""
    many = list(keys(CACHED_KEYS, CACHED_TENANTS, first=len(bed.keys)))
    with _sidegate(bed) as running:
        bed.import_more(bed.run / "sidegate.toml", many)
        with socket.create_connection(("127.0.0.1", bed.ports["H1"])) as client:
            for key in bed.keys:
                _asked(client, key)
            before = process.memory_bytes(running.pids, "Pss")
            for key in many:
                _asked(client, key)
            time.sleep(0.5)
            after = process.memory_bytes(running.pids, "Pss")
    return {"key bytes": (after - before) / CACHED_KEYS}


def transfers(bed: Bed) -> dict[str, float]:
    """RSS after four downloads of 100 MiB."""
    with _sidegate(bed) as running:
        download(bed, bed.ports["H1"], 0)
        return {"MiB": process.memory_bytes(running.pids, "Rss") / MIB}


def start(bed: Bed) -> dict[str, float]:
    """From the call that starts the process to the first answer that came through it."""
    with _sidegate(bed, pause=0.0005) as running:
        return {"ms": running.start_ms}


def syscalls(bed: Bed) -> dict[str, float]:
    """System calls of all threads per request: counted by perf where it may, else by strace, which slows what it counts."""
    command, read = (PERF, read_perf) if _perf_may() else (STRACE, read_strace)
    with _sidegate(bed) as running:
        port = bed.ports["H1"]
        wrk(bed, port, 1, 64)
        said, asked = while_watched(bed, command, running.pids, lambda: wrk(bed, port, SYSCALL_SECONDS, 64))
    return {"per request": read(said) / asked.units}


def _perf_may() -> bool:
    return shutil.which("perf") is not None and subprocess.run([*PERF, "true"], capture_output=True, check=False).returncode == 0


def read_perf(said: str) -> int:
    found = re.search(r"^(\d+),.*raw_syscalls:sys_enter", said, re.MULTILINE)
    if not found:
        raise RuntimeError(f"perf: {said[-200:]}")
    return int(found[1])


def read_strace(said: str) -> int:
    """The calls in the line of sums. Its cells may be empty, so they are found by the rule that stands above it."""
    found = re.search(r"^([- ]+)\n(.*total)$", said, re.MULTILINE)
    if not found:
        raise RuntimeError(f"strace: {said[-200:]}")
    _share, _seconds, _each, calls, *_rest = (found[2][cell.start() : cell.end()] for cell in re.finditer("-+", found[1]))
    return int(calls)


def size(bed: Bed) -> dict[str, float]:
    return {"MB": bed.sidegate.stat().st_size / 1e6}


def decision(bed: Bed) -> dict[str, float]:
    """Criterion's bench `decide`: the gate alone, in a loop."""
    process.run([*DECIDE, "--", "--noplot"], bed.cores.proxy, cwd=ROOT)
    return {"ns": read_estimates((TARGET / "criterion/decide, cached key/new/estimates.json").read_text())}


def read_estimates(text: str) -> float:
    """The median of criterion's samples, in nanoseconds."""
    return float(json.loads(text)["median"]["point_estimate"])


def allocations(bed: Bed) -> dict[str, float]:
    """The test that counts them says so when it is asked to print. Unoptimised code allocates no less."""
    return {"worst": read_allocations(process.run([*ALLOCATIONS, "--", "--nocapture"], bed.cores.proxy, cwd=ROOT))}


def read_allocations(printed: str) -> float:
    found = re.search(r"allocations: at worst (\d+)", printed)
    if not found:
        raise RuntimeError(f"the test says nothing of allocations: {printed[-200:]}")
    return float(found[1])


def _without_watcher() -> str | None:
    return without("wrk")() or (None if shutil.which("perf") or shutil.which("strace") else "perf or strace")


PROBES = {
    "memory": Probe(memory),
    "cached keys": Probe(cached_keys),
    "transfers": Probe(transfers, missing=without("curl")),
    "start": Probe(start),
    "syscalls": Probe(syscalls, missing=_without_watcher),
    "size": Probe(size, every_round=False),
    "decision": Probe(decision, every_round=False, missing=without("cargo"), compiled=DECIDE),
    "allocations": Probe(allocations, every_round=False, missing=without("cargo"), compiled=ALLOCATIONS),
}
