"""How the figures are told: the promises first, then every peer, as Markdown. A figure that is not there is never made up."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

from .measure import FOREIGN_LIMIT, Failure, Sample
from .proxies import PEERS
from .targets import OURS, SCENARIOS, TARGETS, Figure, Metric, Ratio, Target

MB_PER_MIB = 1.048576


@dataclass
class Results:
    """What a run has measured. Readings are figures by (probe, name), one of each round."""

    heading: str
    samples: list[Sample] = field(default_factory=list)
    readings: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)
    absent: Mapping[str, str] = field(default_factory=dict)
    left_out: frozenset[str] = frozenset()
    interrupted: bool = False

    def values(self, target: Target) -> list[float]:
        """A target's figure, round by round."""
        if isinstance(target.source, Figure):
            return self.readings.get((target.source.probe, target.source.name), [])
        return ratios(self.samples, target.source)

    def passes(self, target: Target) -> bool | None:
        """Whether the median holds; None where there is none."""
        values = self.values(target)
        return target.holds(median(values)) if values else None

    def why_not(self, target: Target) -> str:
        """Why a target has no figure."""
        source = target.source
        where, who = (source.scenario, (source.subject, source.base)) if isinstance(source, Ratio) else (source.probe, (OURS,))
        for name in (where, *who):
            if name in self.absent:
                return f"not installed: {self.absent[name]}"
            if name in self.left_out:
                return f"left out: {name}"
        failed = any(failure.scenario == where and failure.peer in who for failure in self.failures)
        return "failed" if failed else "not measured"


def ratios(samples: Iterable[Sample], source: Ratio) -> list[float]:
    """Subject by base within each round: samples of different rounds are never compared."""
    here = {(sample.round, sample.peer): sample for sample in samples if sample.scenario == source.scenario}
    pairs = [(here[number, source.subject], here.get((number, source.base))) for number, peer in sorted(here) if peer == source.subject]
    return [_ratio(subject, base, source.metric) for subject, base in pairs if base is not None]


def _ratio(subject: Sample, base: Sample, metric: Metric) -> float:
    if metric == "cpu":
        return subject.cost / base.cost
    if metric == "throughput":
        return base.cost / subject.cost
    return (subject.p99_us or 0.0) / (base.p99_us or float("nan"))


def markdown(results: Results, targets: Sequence[Target]) -> str:
    """The whole report."""
    parts = [summary(results, targets)]
    parts += [_scenario_table(results.samples, name) for name in SCENARIOS if any(sample.scenario == name for sample in results.samples)]
    if results.failures:
        parts.append("**Failed:**\n\n" + "\n".join(f"- {failure.scenario}, {failure.peer}: {failure.why}" for failure in results.failures))
    return "\n\n".join(part for part in parts if part) + "\n"


def summary(results: Results, targets: Sequence[Target] = TARGETS) -> str:
    """The promises, with how, where and how well they were measured."""
    parts = [results.heading, targets_table(results, targets), _quality(results.samples)]
    return "\n\n".join(part for part in parts if part)


def targets_table(results: Results, targets: Sequence[Target]) -> str:
    """What was promised, what it is, and whether that holds."""
    rows = [f"| {target.what} | {target.bound} | {_measured(results, target)} | {_verdict(results.passes(target))} |" for target in targets]
    return "\n".join(["| what | must | measured [range] | pass? |", "| --- | --- | --- | --- |", *rows])


def _measured(results: Results, target: Target) -> str:
    values = results.values(target)
    if not values:
        return results.why_not(target)
    unit = f" {target.unit}" if target.unit else ""
    spread = f" [{_number(min(values))}–{_number(max(values))}]" if len(values) > 1 else ""
    return f"{_number(median(values))}{unit}{spread}"


def _verdict(passes: bool | None) -> str:
    return {True: "yes", False: "**no**", None: "–"}[passes]


def _number(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:.0f}"


def _quality(samples: Sequence[Sample]) -> str:
    """How far these figures can be believed."""
    if not samples:
        return ""
    noisy, steps = sum(sample.noisy for sample in samples), [sample.yardstick_ns / 1000 for sample in samples]
    told = f"{len(samples)} samples, {noisy} of them while others used more than {FOREIGN_LIMIT} of a core"
    judged = " **Too noisy to judge by.**" if noisy * 4 > len(samples) else ""
    return f"{told}; yardstick {min(steps):.2f}–{max(steps):.2f} µs.{judged}"


def _scenario_table(samples: Sequence[Sample], name: str) -> str:
    """Every peer in one scenario; CPU at the median speed of the yardstick, so that drift does not count."""
    here = [sample for sample in samples if sample.scenario == name]
    step = median(sample.yardstick_ns for sample in here)
    scenario = SCENARIOS[name]
    rate = "requests/s" if scenario.unit == "request" else "MiB/s"
    head = (
        f"| peer | | CPU µs per {scenario.unit} [range] | sidegate against it | {rate} | p50 µs | p99 µs | core used | foreign | rounds |"
    )
    names = dict.fromkeys(sample.peer for sample in here)
    rows = [_peer_row([sample for sample in here if sample.peer == name], here, step) for name in names]
    return "\n".join([f"#### {name}: {scenario.what}", "", head, "| --- | --- " + "| --: " * 8 + "|", *rows])


def _peer_row(own: Sequence[Sample], here: Sequence[Sample], step: float) -> str:
    peer = PEERS[own[0].peer]
    costs = [sample.cost * step / 1000 for sample in own]
    proxied = peer.command is not None
    against = ratios(here, Ratio(own[0].scenario, "cpu", peer.name)) if proxied and peer.name != OURS else []
    cells = (
        peer.name,
        peer.what,
        f"{median(costs):.2f} [{min(costs):.2f}–{max(costs):.2f}]" if proxied else "–",
        f"{median(against):.2f}" if against else "–",
        f"{median(sample.units / sample.seconds for sample in own):,.0f}",
        _latency([sample.p50_us for sample in own]),
        _latency([sample.p99_us for sample in own]),
        f"{median(sample.cpu_ns / sample.seconds / 1e9 for sample in own):.2f}" if proxied else "–",
        f"{max(sample.foreign for sample in own):.2f}",
        str(len(own)),
    )
    return f"| {' | '.join(cells)} |"


def _latency(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    return f"{median(known):.0f}" if known else "–"
