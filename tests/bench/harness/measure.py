"""How a sample is taken: CPU per request of the proxy process, in interleaved rounds, beside a yardstick and whoever else works here."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

from . import peers, process
from .bed import Bed
from .load import Asked
from .machine import TICKS_PER_SECOND, Busy, wait_until_quiet
from .peers import Peer, Running
from .proxies import PEERS
from .targets import SCENARIOS, Ratio, Scenario, Target

FOREIGN_LIMIT = 0.25
ATTEMPTS = 2
YARDSTICK_STEPS = "12000"


@dataclass(frozen=True)
class Sample:
    """One peer in one scenario of one round. CPU and yardstick are of the proxy's core."""

    round: int
    scenario: str
    peer: str
    units: int
    seconds: float
    cpu_ns: int
    upstream_ns: int
    p50_us: float | None
    p99_us: float | None
    yardstick_ns: float
    foreign: float
    stolen: float

    @property
    def cost(self) -> float:
        """CPU per unit in steps of the yardstick: what the machine's drift leaves alone."""
        return self.cpu_ns / self.units / self.yardstick_ns

    @property
    def noisy(self) -> bool:
        return max(self.foreign, self.stolen) > FOREIGN_LIMIT


@dataclass(frozen=True)
class Failure:
    """What could not be measured, and why."""

    scenario: str
    peer: str
    why: str


Tell = Callable[[str], None]


def plan(targets: Iterable[Target], wanted: Collection[str], absent: Collection[str]) -> dict[str, list[str]]:
    """By scenario, the peers that are here and wanted: those that the rows compare, then those that are shown."""
    planned: dict[str, list[str]] = {}
    for target in targets:
        if isinstance(target.source, Ratio) and target.source.scenario not in absent:
            planned.setdefault(target.source.scenario, []).extend((target.source.subject, target.source.base))
    for scenario, names in planned.items():
        every = dict.fromkeys([*names, *SCENARIOS[scenario].shown])
        planned[scenario] = [name for name in every if name in wanted and name not in absent]
    return planned


def rotated(names: Sequence[str], turn: int) -> list[str]:
    """Who comes first changes from round to round, so that no peer always follows the same one."""
    at = turn % len(names) if names else 0
    return [*names[at:], *names[:at]]


class Rounds:
    """Takes the samples of a plan, round by round."""

    def __init__(self, bed: Bed, seconds: int, tell: Tell) -> None:
        self.bed, self.seconds, self.tell = bed, seconds, tell
        self.samples: list[Sample] = []
        self.failures: list[Failure] = []
        self._verified: set[str] = set()

    def take(self, planned: dict[str, list[str]], number: int) -> None:
        """One round: each scenario with each of its peers, a fresh process each time."""
        for scenario, names in planned.items():
            for name in rotated(names, number):
                try:
                    sample = self._sample(SCENARIOS[scenario], PEERS[name], number)
                except Exception as problem:  # what one peer does wrong does not keep the others from being measured
                    self.failures.append(Failure(scenario, name, str(problem)))
                    self.tell(f"{scenario:8} {name:14} failed: {problem}")
                    continue
                self.samples.append(sample)
                self.tell(_line(sample))

    def _sample(self, scenario: Scenario, peer: Peer, number: int) -> Sample:
        running = peers.start(peer, self.bed)
        try:
            if peer.name not in self._verified:
                peers.verify(peer, self.bed)
                self._verified.add(peer.name)
            port = peer.port(self.bed, scenario.protocol)
            scenario.ask(self.bed, port, 1)  # warms caches, pools and tables
            for _ in range(ATTEMPTS):
                sample = self._attempt(scenario, running, port, number)
                if not sample.noisy:
                    break
            return sample
        finally:
            running.stop()

    def _attempt(self, scenario: Scenario, running: Running, port: int, number: int) -> Sample:
        bed, proxy, upstream = self.bed, running.pids, [self.bed.upstream.pid]
        wait_until_quiet()
        yardstick = _yardstick(bed)
        began, busy, children = time.monotonic(), Busy.now(), _children_seconds()
        proxy_ns, upstream_ns = process.cpu_ns(proxy), process.cpu_ns(upstream)
        asked = scenario.ask(bed, port, self.seconds)
        proxy_ns, upstream_ns = process.cpu_ns(proxy) - proxy_ns, process.cpu_ns(upstream) - upstream_ns
        now, wall, generator = Busy.now(), time.monotonic() - began, _children_seconds() - children
        ours = (proxy_ns + upstream_ns) / 1e9 + generator
        foreign = max(0.0, (now.worked - busy.worked) / TICKS_PER_SECOND - ours) / wall
        _refuse_nonsense(asked, upstream_ns)
        return Sample(
            round=number,
            scenario=scenario.name,
            peer=running.peer.name,
            units=asked.units,
            seconds=asked.seconds,
            cpu_ns=proxy_ns,
            upstream_ns=upstream_ns,
            p50_us=asked.p50_us,
            p99_us=asked.p99_us,
            yardstick_ns=(yardstick + _yardstick(bed)) / 2,
            foreign=foreign,
            stolen=(now.stolen - busy.stolen) / TICKS_PER_SECOND / wall,
        )


def _refuse_nonsense(asked: Asked, upstream_ns: int) -> None:
    if asked.units == 0 or asked.errors > 0:
        raise RuntimeError(f"{asked.units} answers, {asked.errors} errors")
    if upstream_ns == 0:
        raise RuntimeError("the upstream saw no request: the proxy answered by itself")


def _yardstick(bed: Bed) -> float:
    return float(process.run([str(bed.yardstick), YARDSTICK_STEPS], bed.cores.proxy))


def _children_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _line(sample: Sample) -> str:
    each = f"{sample.cpu_ns / sample.units / 1000:8.2f} µs CPU each, {sample.units / sample.seconds:9.0f}/s"
    return f"{sample.scenario:8} {sample.peer:14} {each}, foreign {sample.foreign:.2f}{' (noisy)' if sample.noisy else ''}"
