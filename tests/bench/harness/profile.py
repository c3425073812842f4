"""`tests/bench/profile`: where a peer's CPU goes in a scenario, by perf."""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from pathlib import Path

from . import peers
from .bed import ROOT, TARGET, Bed
from .proxies import PEERS, SIDEGATE, shipped, sidegate_binary
from .targets import SCENARIOS
from .watch import while_watched

SYMBOLS = TARGET / "profile"


def main(arguments: list[str]) -> int:
    """Prints where the CPU goes, by library and by function."""
    parse = argparse.ArgumentParser(
        prog="tests/bench/profile",
        description="Samples a peer under load with perf: its CPU by library and by function.",
        epilog="Sidegate is built with its symbols for that, into target/profile; SIDEGATE_BIN names another binary.",
    )
    parse.add_argument("peer", choices=[name for name, peer in PEERS.items() if peer.command])
    parse.add_argument("scenario", choices=SCENARIOS, nargs="?", default="h1-c64")
    parse.add_argument("--seconds", type=int, default=4)
    options = parse.parse_args(arguments)
    peer, scenario = PEERS[options.peer], SCENARIOS[options.scenario]
    if missing := peer.software.missing():
        parse.error(f"{peer.name} is not installed: {missing}")
    with Bed(_with_symbols() if peer.software is SIDEGATE else sidegate_binary()) as bed:
        running = peers.start(peer, bed)
        try:
            port = peer.port(bed, scenario.protocol)
            scenario.ask(bed, port, 1)
            data = bed.run / "perf.data"
            record = ["perf", "record", "-q", "-e", "cpu-clock", "-F", "2999", "-o", str(data)]
            while_watched(bed, record, running.pids, lambda: scenario.ask(bed, port, options.seconds))
        finally:
            running.stop()
        for order in ("dso", "dso,symbol"):
            report = ["perf", "report", "-i", str(data), "--stdio", "--sort", order, "--percent-limit", "0.7"]
            printed = subprocess.run(report, capture_output=True, text=True, check=False).stdout
            lines = [line for line in printed.splitlines() if line.strip() and not line.startswith("#")]
            print("\n".join(re.sub(r"( +-)* *$", "", line[:150]) for line in lines), end="\n\n")
    return 0


def _with_symbols() -> Path:
    if "SIDEGATE_BIN" in os.environ:
        return sidegate_binary()
    env = os.environ | {"CARGO_TARGET_DIR": str(SYMBOLS), "SIDEGATE_SYMBOLS": "yes"}
    subprocess.run(["deploy/cargo", "build", "--release", "--locked", "--bin", "sidegate"], cwd=ROOT, env=env, check=True)
    return shipped(SYMBOLS) / "sidegate"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
