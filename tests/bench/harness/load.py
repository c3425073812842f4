"""Who asks: wrk, h2load and curl, on the core that the proxy does not have, for a bounded time."""

from __future__ import annotations

import json
import re
import time
from dataclasses import dataclass
from pathlib import Path

from . import process
from .bed import BENCH, Bed

TRANSFER_MIB = 100


@dataclass(frozen=True)
class Asked:
    """What the load generator saw. A unit is a request, or a MiB of a transfer."""

    units: int
    seconds: float
    errors: int
    p50_us: float | None = None
    p99_us: float | None = None


def wrk(bed: Bed, port: int, seconds: int, connections: int, path: str = "/v1/items/42", tls: bool = False) -> Asked:
    """HTTP/1.1 on kept connections, a request at a time on each, going through all the keys."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s", "-s", str(BENCH / "peers/wrk.lua")]
    url = f"http{'s' if tls else ''}://127.0.0.1:{port}"
    printed = process.run([*command, url], bed.cores.rest, {"KEYS": str(bed.run / "keys.txt"), "TARGET": path})
    return read_wrk(printed)


def read_wrk(printed: str) -> Asked:
    """The line that wrk.lua adds to wrk's own."""
    found = re.search(r"^FIGURES (\{.*\})$", printed, re.MULTILINE)
    if not found:
        raise RuntimeError(f"wrk: {printed[-400:]}")
    figures = json.loads(found[1])
    return Asked(figures["requests"], figures["duration_us"] / 1e6, figures["errors"], figures["p50_us"], figures["p99_us"])


def h2load(bed: Bed, port: int, seconds: int, connections: int, streams: int, content: Path | None = None) -> Asked:
    """HTTP/2 with prior knowledge, so many streams at a time on each connection; POST of a file's content, if there is one."""
    headers = ["user-agent: bench/1.0", "accept: application/json", f"authorization: Bearer {bed.keys[0].secret}"]
    command = ["h2load", "-t1", f"-c{connections}", f"-m{streams}", "-D", str(seconds)]
    for header in headers:
        command += ["-H", header]
    if content:
        command += ["-d", str(content)]
    return read_h2load(process.run([*command, f"http://127.0.0.1:{port}/v1/items/42"], bed.cores.rest), seconds)


def read_h2load(printed: str, seconds: int) -> Asked:
    """h2load's summary. What the end of the time cut off counts neither as done nor as failed."""
    found = re.search(r"(\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", printed)
    if not found:
        raise RuntimeError(f"h2load: {printed[-400:]}")
    succeeded, *errors = map(int, found.groups())
    return Asked(succeeded, float(seconds), sum(errors))


def download(bed: Bed, port: int, seconds: int) -> Asked:
    """100 MiB one after the other, at least four of them."""
    command = ["curl", "-s", "-m", "60", "-o", "/dev/null", "-w", "%{http_code} %{size_download}"]
    command += ["-H", f"Authorization: Bearer {bed.keys[0].secret}", f"http://127.0.0.1:{port}/v1/big/{TRANSFER_MIB}"]
    began, transfers = time.monotonic(), 0
    while transfers < 4 or time.monotonic() - began < seconds:
        status, size = process.run(command, bed.cores.rest).split()
        if status != "200" or int(size) != TRANSFER_MIB << 20:
            raise RuntimeError(f"a transfer of {TRANSFER_MIB} MiB ended with {status} after {size} bytes")
        transfers += 1
    return Asked(transfers * TRANSFER_MIB, time.monotonic() - began, 0)
