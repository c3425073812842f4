"""`tests/bench/run`: what is asked for, what is here, the rounds, the report."""

from __future__ import annotations

import argparse
import datetime
import fnmatch
import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from types import FrameType

from . import machine, report
from .bed import BUILT, ROOT, TARGET, Bed
from .install import install
from .measure import Failure, Rounds, plan
from .probes import PROBES
from .proxies import PEERS, sidegate_binary, without
from .report import Results
from .targets import OURS, SCENARIOS, TARGETS, Figure, Target

README_BEGIN, README_END = "<!-- speed: begin -->\n", "<!-- speed: end -->\n"
TOOLS = ("cc", "openssl", "redis-server")
SAMPLES = BUILT / "samples.jsonl"


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parse = argparse.ArgumentParser(
        prog="tests/bench/run",
        description="Measures Sidegate beside the proxies that are installed here; writes what it promises and what it is, as Markdown.",
        epilog="SIDEGATE_BIN names the binary to measure; without it what deploy/cargo compiles, as it is shipped. A run of six rounds takes "
        "about half an hour and wants the machine for itself. Exit: 0 every figure that was measured holds, 1 one does not, 2 usage.",
    )
    parse.add_argument("--quick", action="store_true", help="two rounds of one second: to see that it works, not to judge by")
    parse.add_argument("--rounds", type=_at_least_one, metavar="N", help="rounds; a row is judged by the median (default 6)")
    parse.add_argument("--peers", metavar="LIST", help="peers by name, with commas; *, ? as in file names (default: all that are here)")
    parse.add_argument("--rows", metavar="LIST", help="rows by name, such as 'h1-*,start' (default: all)")
    parse.add_argument("--out", type=Path, metavar="FILE", help="where the report goes (default: stdout)")
    parse.add_argument("--readme", action="store_true", help="put the table of all rows into README.md too")
    parse.add_argument(
        "--install", action="store_true", help="first install what is missing (apt-get, pip; pingora only if --peers names it)"
    )
    parse.add_argument("--list", action="store_true", help="list rows and peers, and what is missing; measure nothing")
    return parse


def main(arguments: list[str]) -> int:
    """Runs the command; its exit code."""
    parse = parser()
    options = parse.parse_args(arguments)
    if options.readme and options.rows:
        parse.error("--readme wants all rows")
    targets = [target for target in TARGETS if target.name in _chosen(parse, options.rows, [target.name for target in TARGETS])]
    wanted = _chosen(parse, options.peers, list(PEERS)) | {OURS}
    if options.install:
        named = (options.peers or "").split(",")
        install(frozenset(wanted if "pingora" in named else wanted - {"pingora"}))
    if options.list:
        print(listing(targets))
        return 0
    rounds, seconds = (options.rounds or 2, 1) if options.quick else (options.rounds or 6, 2)
    _require(TOOLS)
    _build(targets)
    results = measure(targets, wanted, rounds, seconds)
    text = report.markdown(results, targets)
    if options.out:
        options.out.write_text(text)
    else:
        print(text)
    if options.readme and not results.interrupted:
        readme = ROOT / "README.md"
        readme.write_text(in_readme(readme.read_text(), report.summary(results) + "\n"))
    return 1 if any(results.passes(target) is False for target in targets) else 0


def measure(targets: list[Target], wanted: frozenset[str], rounds: int, seconds: int) -> Results:
    """All rounds. What was measured before an interruption is told all the same."""
    results = Results(_heading(rounds, seconds), absent=_absent(), left_out=frozenset(PEERS) - wanted)
    planned = plan(targets, wanted, results.absent)
    signal.signal(signal.SIGTERM, _interrupt)
    with Bed(sidegate_binary()) as bed:
        taken = Rounds(bed, seconds, _tell)
        results.samples, results.failures = taken.samples, taken.failures
        try:
            for number in range(rounds):
                _tell(f"round {number + 1} of {rounds}")
                taken.take(planned, number)
                _probe(bed, results, [name for name in _probes(targets) if number == 0 or PROBES[name].every_round])
        except KeyboardInterrupt:
            results.interrupted = True
            results.heading += " **Interrupted before the end.**"
    BUILT.mkdir(parents=True, exist_ok=True)
    SAMPLES.write_text("".join(json.dumps(asdict(sample)) + "\n" for sample in results.samples))
    return results


def _probe(bed: Bed, results: Results, names: list[str]) -> None:
    for name in names:
        if name in results.absent:
            continue
        machine.wait_until_quiet()
        try:
            for figure, value in PROBES[name].measure(bed).items():
                results.readings.setdefault((name, figure), []).append(value)
                _tell(f"{name}: {figure} {value:.2f}")
        except Exception as problem:  # what one probe meets does not keep the others from being measured
            results.failures.append(Failure(name, OURS, str(problem)))
            _tell(f"{name} failed: {problem}")


def _absent() -> dict[str, str]:
    """What is missing here, by the peer, scenario or probe that it is missing for."""
    needs = {name: peer.software.missing for name, peer in PEERS.items()}
    needs |= {name: without(scenario.tool) for name, scenario in SCENARIOS.items()}
    needs |= {name: probe.missing for name, probe in PROBES.items()}
    return {name: missing for name, need in needs.items() if (missing := need())}


def listing(targets: list[Target]) -> str:
    """Rows with their bounds, and peers with what they lack."""
    rows = [f"  {target.name:22} {target.bound:10} {target.what}" for target in targets]
    peers = [f"  {name:22} {_state(name):28} {peer.what}" for name, peer in PEERS.items()]
    return "\n".join(["rows", *rows, "peers", *peers])


def _state(name: str) -> str:
    missing = PEERS[name].software.missing()
    return f"not installed: {missing}" if missing else "here"


def in_readme(readme: str, block: str) -> str:
    """The README with this between its two marks."""
    before, _, rest = readme.partition(README_BEGIN)
    _, mark, after = rest.partition(README_END)
    if not mark:
        raise SystemExit(f"README.md has no {README_BEGIN.strip()} and {README_END.strip()}")
    return before + README_BEGIN + block + README_END + after


def _heading(rounds: int, seconds: int) -> str:
    today = datetime.datetime.now(datetime.timezone.utc).date()
    here = [peer.software for peer in PEERS.values() if peer.command and peer.software.missing() is None]
    versions = {software.name: software.version() for software in here}
    listed = ", ".join(f"{name} {version}" for name, version in versions.items())
    took = f"{rounds} round{'s' if rounds > 1 else ''} of {seconds} s"
    return f"{today}, {machine.describe()}; commit {machine.commit(ROOT)}; {listed}; {took}, one worker each."


def _at_least_one(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError("a whole number, at least 1")
    return int(text)


def _chosen(parse: argparse.ArgumentParser, patterns: str | None, known: list[str]) -> frozenset[str]:
    if patterns is None:
        return frozenset(known)
    chosen: set[str] = set()
    for pattern in patterns.split(","):
        matched = fnmatch.filter(known, pattern)
        if not matched:
            parse.error(f"nothing is called {pattern}; there are {', '.join(known)}")
        chosen.update(matched)
    return frozenset(chosen)


def _require(tools: tuple[str, ...]) -> None:
    missing = [tool for tool in tools if shutil.which(tool) is None]
    if missing:
        raise SystemExit(f"tests/bench/run: {', '.join(missing)} missing; --install installs them")
    if not Path("/proc/self/schedstat").exists():
        raise SystemExit("tests/bench/run: this kernel does not count CPU time by the scheduler (/proc/PID/schedstat)")


def _build(targets: list[Target]) -> None:
    """Compiles what will be measured."""
    for probe in _probes(targets):
        if PROBES[probe].compiled and PROBES[probe].missing() is None:
            subprocess.run([*PROBES[probe].compiled, "--no-run"], cwd=ROOT, check=True)
    if "SIDEGATE_BIN" not in os.environ:
        env = os.environ | {"CARGO_TARGET_DIR": str(TARGET / "static")}
        subprocess.run(["deploy/cargo", "build", "--release", "--locked", "--bin", "sidegate"], cwd=ROOT, env=env, check=True)


def _probes(targets: list[Target]) -> list[str]:
    return list(dict.fromkeys(target.source.probe for target in targets if isinstance(target.source, Figure)))


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
