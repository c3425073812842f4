"""The machine under the measurement: which it is, how fast it is right now, and who else uses it."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Cores:
    """The proxy stands alone on one core; load generator, upstream and Redis share another."""

    all: frozenset[int]

    @classmethod
    def of_this_machine(cls) -> Cores:
        return cls(frozenset(os.sched_getaffinity(0)))

    @property
    def proxy(self) -> int:
        return max(self.all)

    @property
    def rest(self) -> int:
        return min(self.all)


@dataclass(frozen=True)
class Busy:
    """Ticks that the whole machine has worked, and that its host has taken from it."""

    worked: int
    stolen: int

    @classmethod
    def now(cls) -> Busy:
        user, nice, system, _idle, _wait, irq, softirq, steal = map(int, Path("/proc/stat").read_text().split(maxsplit=9)[1:9])
        return cls(user + nice + system + irq + softirq, steal)


def wait_until_quiet(limit_seconds: float = 4.0) -> None:
    """Returns when nobody else works here (at most 12 % of one core), or when that takes too long."""
    end = time.monotonic() + limit_seconds
    while time.monotonic() < end:
        before = Busy.now()
        time.sleep(0.25)
        if Busy.now().worked - before.worked <= 0.03 * TICKS_PER_SECOND:
            return


def describe() -> str:
    """Processor, cores and kernel, for the report."""
    names = [line.split(":", 1)[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return f"{names[0] if names else platform.machine()}, {len(os.sched_getaffinity(0))} cores, Linux {platform.release()}"


def commit(root: Path) -> str:
    """The commit that is measured, and whether the tree differs from it."""

    def git(*arguments: str) -> str:
        return subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=False).stdout.strip()

    return (git("rev-parse", "--short", "HEAD") or "unknown") + (" with changes" if git("status", "--porcelain", "-uno") else "")
