"""Programs that watch a process while it is under load (perf, strace): attached before the first request, told to end after the last."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from . import process
from .bed import Bed, wait_until

Loaded = TypeVar("Loaded")


def while_watched(bed: Bed, command: Sequence[str], pids: Sequence[int], load: Callable[[], Loaded]) -> tuple[str, Loaded]:
    """What a watcher of these processes says of the time that the load takes, and what the load returns."""
    said = bed.run / "watcher.log"
    said.unlink(missing_ok=True)
    watcher = process.start([*command, "-p", ",".join(map(str, pids))], bed.cores.rest, said, bed.run)
    try:
        wait_until(lambda: _attached(watcher.pid, pids), watcher)
        time.sleep(0.2)  # to the other threads too; nothing is asked in between
        loaded = load()
        watcher.send_signal(signal.SIGINT)
        watcher.wait(20)
    finally:
        process.stop(watcher)
    return said.read_text(errors="replace"), loaded


def _attached(watcher: int, pids: Sequence[int]) -> bool:
    """perf holds files of its events, strace is named as the tracer of what it watches."""
    try:
        held = [os.readlink(file) for file in Path(f"/proc/{watcher}/fd").iterdir()]
    except OSError:
        return False
    tracer = f"TracerPid:\t{watcher}\n"
    return any("[perf_event]" in name for name in held) or tracer in Path(f"/proc/{pids[0]}/status").read_text()
