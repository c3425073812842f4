"""What a peer is: how it is started, when it is ready, and that it does what its figures claim."""

from __future__ import annotations

import http.client
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from . import process
from .bed import Bed, wait_until

Protocol = Literal["H1", "H2", "TLS"]


@dataclass(frozen=True)
class Software:
    """A program that peers are made of: what is missing of it here (None: it is installed), and its version."""

    name: str
    missing: Callable[[], str | None]
    version: Callable[[], str]


@dataclass(frozen=True)
class Peer:
    """A proxy with one worker, or none: `direct` is the upstream itself, and has no command."""

    name: str
    what: str
    software: Software
    command: Callable[[Bed], list[str]] | None
    authenticates: bool = False
    # HTTP/2 with prior knowledge is told from HTTP/1.1 by its first bytes, so it needs no port of its own.
    one_port: bool = False

    def port(self, bed: Bed, protocol: Protocol) -> int:
        """Where it is asked in this protocol."""
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
    told = all(line in seen for line in (f"x-tenant-id: {key.tenant}\r\n", f"x-key-id: {key.id}\r\n", "x-scopes: read", "x-auth-method: "))
    if not told or "forged" in seen or key.secret in seen:
        raise RuntimeError(f"{peer.name} does not tell the upstream who calls, or tells it too much")
    if ask("sk_live_wrong")[0] != 401:
        raise RuntimeError(f"{peer.name} lets a wrong key in")
