"""What is measured, and what it must be: the figures that Sidegate promises. A row is one of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

from .bed import Bed
from .load import Asked, download, h2load, wrk
from .peers import Protocol

OURS = "sidegate"
Metric = Literal["cpu", "p99", "throughput"]


@dataclass(frozen=True)
class Scenario:
    """A way of asking, and whom it is shown for beside those that rows compare."""

    name: str
    what: str
    protocol: Protocol
    tool: str
    ask: Callable[[Bed, int, int], Asked]
    shown: tuple[str, ...] = ()
    unit: Literal["request", "MiB"] = "request"


@dataclass(frozen=True)
class Ratio:
    """A subject against a base, both measured in the same scenario and round."""

    scenario: str
    metric: Metric
    base: str
    subject: str = OURS


@dataclass(frozen=True)
class Figure:
    """A figure of Sidegate alone, by the probe that measures it."""

    probe: str
    name: str


@dataclass(frozen=True)
class Target:
    """A row of the table: `must` bounds the median, from above but for throughput."""

    name: str
    what: str
    must: float
    source: Ratio | Figure
    unit: str = ""
    at_least: bool = False

    def holds(self, median: float) -> bool:
        return median >= self.must if self.at_least else median <= self.must

    @property
    def bound(self) -> str:
        return f"{'≥' if self.at_least else '≤'} {self.must:g}{' ' + self.unit if self.unit else ''}"


SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        Scenario("h1-c64", "HTTP/1.1, 64 connections", "H1", "wrk", partial(wrk, connections=64), ("haproxy", "haproxy-map", "direct")),
        Scenario("h1-c1", "HTTP/1.1, one connection", "H1", "wrk", partial(wrk, connections=1), ("direct",)),
        Scenario("h2-8x32", "HTTP/2, 8 connections of 32 streams", "H2", "h2load", partial(h2load, connections=8, streams=32)),
        Scenario("tls-c64", "TLS, HTTP/1.1, 64 connections", "TLS", "wrk", partial(wrk, connections=64, tls=True)),
        Scenario("h1-16k", "HTTP/1.1, 64 connections, answers of 16 KiB", "H1", "wrk", partial(wrk, connections=64, path="/v1/blob16k")),
        Scenario("download", "downloads of 100 MiB", "H1", "curl", download, unit="MiB"),
    )
}

CPU = "CPU per authenticated request, HTTP/1.1, 64 connections, against"
TARGETS = (
    Target("h1-nginx", f"{CPU} nginx's plain proxy_pass", 1.05, Ratio("h1-c64", "cpu", "nginx")),
    Target("h1-nginx-lua", f"{CPU} nginx + Lua + Redis keys", 0.85, Ratio("h1-c64", "cpu", "nginx-lua")),
    Target("h1-envoy", f"{CPU} Envoy with api_key_auth", 0.35, Ratio("h1-c64", "cpu", "envoy")),
    Target("h1-pingora", f"{CPU} pingora-proxy with a key map", 0.50, Ratio("h1-c64", "cpu", "pingora")),
    Target("h2-nginx", "HTTP/2, 8 × 32 streams, against nginx", 0.72, Ratio("h2-8x32", "cpu", "nginx")),
    Target("h2-haproxy", "HTTP/2, 8 × 32 streams, against HAProxy", 1.05, Ratio("h2-8x32", "cpu", "haproxy")),
    Target("h2-envoy", "HTTP/2, 8 × 32 streams, against Envoy with api_key_auth", 0.24, Ratio("h2-8x32", "cpu", "envoy")),
    Target("tls-nginx", "TLS, HTTP/1.1 keep-alive, against nginx", 0.90, Ratio("tls-c64", "cpu", "nginx")),
    Target("16k-nginx", "answers of 16 KiB, against nginx", 1.0, Ratio("h1-16k", "cpu", "nginx")),
    Target("stream-nginx", "streaming, MB per CPU second, against nginx", 1.5, Ratio("download", "throughput", "nginx"), at_least=True),
    Target("unix-own", "upstream on a Unix socket, against its own TCP", 0.85, Ratio("h1-c64", "cpu", OURS, "sidegate-unix")),
    Target("p99-c1", "p99, one connection, against nginx", 1.1, Ratio("h1-c1", "p99", "nginx")),
    Target("p99-c64", "p99 at saturation, against nginx", 1.1, Ratio("h1-c64", "p99", "nginx")),
    Target("decision", "decision on a cached key", 500, Figure("decision", "ns"), "ns"),
    Target("decision-allocations", "allocations of a decision, at worst of 1,000", 2, Figure("allocations", "worst")),
    Target("open-own", 'authenticated, against the same binary with auth = "none"', 1.20, Ratio("h1-c64", "cpu", "sidegate-open")),
    Target("log-own", "with its access log, against the same without; metrics in both", 1.05, Ratio("h1-c64", "cpu", OURS, "sidegate-log")),
    Target("syscalls", "system calls per request, HTTP/1.1, warm", 4.2, Figure("syscalls", "per request")),
    Target("pss-idle", "memory (PSS), idle", 14, Figure("memory", "idle MiB"), "MiB"),
    Target("pss-connection", "memory (PSS) per idle keep-alive connection", 16, Figure("memory", "connection KiB"), "KiB"),
    Target("pss-key", "memory (PSS) per cached key, index included", 900, Figure("cached keys", "key bytes"), "B"),
    Target("rss-transfers", "memory (RSS) after 4 transfers of 100 MiB", 48, Figure("transfers", "MiB"), "MiB"),
    Target("start", "start to first answer", 40, Figure("start", "ms"), "ms"),
    Target("size", "binary, stripped", 20, Figure("size", "MB"), "MB"),
)
