"""Processes of the measurement: started on a core of their own, watched through /proc, and never left behind."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None)


def _settle(core: int | None) -> Callable[[], None]:
    """Run in the child before its program: its core, its priority before strangers', and that it ends with the harness.

    The child leads a session of its own, which is what Linux groups processes by (autogroup): the priority of that group counts
    first, and raising it touches nothing else of the caller's.
    """

    def settle() -> None:
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if core is None:
            return
        os.sched_setaffinity(0, {core})
        # Not allowed, or not there: then strangers count as much as we do, and the report tells of their CPU.
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, 0, -20)
            Path("/proc/self/autogroup").write_text("-20")

    return settle


def start(command: Sequence[str], core: int | None, log: Path, cwd: Path, env: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
    """Starts a program that goes on until `stop`."""
    with log.open("ab") as output:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=cwd,
            env={**os.environ, **(env or {})},
            start_new_session=True,
            preexec_fn=_settle(core),
        )


def run(
    command: Sequence[str], core: int | None, env: Mapping[str, str] | None = None, timeout: float = 120, cwd: Path | None = None
) -> str:
    """Runs a program to its end; all that it printed."""
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=cwd,
        env={**os.environ, **(env or {})},
        timeout=timeout,
        check=False,
        start_new_session=True,
        preexec_fn=_settle(core),
    )
    if done.returncode != 0:
        raise RuntimeError(f"{command[0]} ended with {done.returncode}: {done.stdout.strip()[-400:]}")
    return done.stdout


def stop(process: subprocess.Popen[bytes]) -> None:
    """Ends a program that `start` started, and what that started in turn."""
    if process.poll() is not None:
        return
    family = tree(process.pid)
    process.terminate()
    try:
        process.wait(3)
    except subprocess.TimeoutExpired:
        for pid in family:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()


def tree(root: int) -> list[int]:
    """A process and its descendants."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except (OSError, IndexError, ValueError):
                continue
            children.setdefault(parent, []).append(int(entry.name))
    family, waiting = [], [root]
    while waiting:
        pid = waiting.pop()
        family.append(pid)
        waiting += children.get(pid, [])
    return family


def cpu_ns(pids: Sequence[int]) -> int:
    """CPU time of all threads of these processes, as the scheduler counts it: exact, not by ticks."""
    total = 0
    for pid in pids:
        for thread in Path(f"/proc/{pid}/task").glob("*/schedstat"):
            try:
                total += int(thread.read_text().split()[0])
            except OSError:
                continue  # the thread has ended
    return total


def memory_bytes(pids: Sequence[int], kind: str) -> int:
    """Memory of these processes: "Pss" (what they share is counted once) or "Rss"."""
    total = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith(kind + ":"):
                total += int(line.split()[1]) * 1024
    return total
