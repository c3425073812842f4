"""`tests/bench/train`: the profile that deploy/cargo compiles by, from a binary that counts what it runs under the loads of the harness."""

from __future__ import annotations

import argparse
import base64
import gzip
import hashlib
import hmac
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from . import peers, process
from .bed import BUILT, ROOT, Bed
from .load import Asked, h2load
from .proxies import PEERS, READ, shipped, sidegate_peer
from .targets import OURS, SCENARIOS

SECONDS = 4
TOKENS = 200
UPLOAD_MIB = 16
SECRET = "a secret that is long enough for HS256"
ISSUER = f"""{READ}
[[issuers]]
name = "users"
algorithms = ["HS256"]
issuer = "https://auth.example"
audiences = ["api"]
secret_file = "@SECRET@"
"""


@dataclass(frozen=True)
class Lesson:
    """A peer under a load, with other credentials than the bed's keys where some are given, before an upstream of HTTP/2 if that is said:
    another Sidegate."""

    name: str
    peer: peers.Peer = PEERS[OURS]
    protocol: peers.Protocol = "H1"
    ask: Callable[[Bed, int, int], Asked] = SCENARIOS["h1-c64"].ask
    credentials: Callable[[Bed], Iterator[str]] | None = None
    upstream_h2: bool = False


def lessons() -> Iterator[Lesson]:
    """Every load of the harness; beside keys that are good tokens, keys that are not, no keys at all; uploads, and an upstream of HTTP/2."""
    for scenario in SCENARIOS.values():
        yield Lesson(scenario.name, protocol=scenario.protocol, ask=scenario.ask)
    for name in ("sidegate-log", "sidegate-unix", "sidegate-open"):
        yield Lesson(name, PEERS[name])
    issuing = replace(PEERS[OURS], command=lambda bed: sidegate_peer(ISSUER.replace("@SECRET@", str(_secret(bed))))(bed))
    yield Lesson("tokens", issuing, credentials=tokens)
    yield Lesson("unknown keys", credentials=lambda bed: (f"{key.secret[:-1]}x" for key in bed.keys))
    yield Lesson("uploads", ask=_upload)
    yield Lesson("uploads over HTTP/2", ask=_upload_streams)
    yield Lesson("an upstream of HTTP/2", upstream_h2=True)


def main(arguments: list[str]) -> int:
    """Runs the command; its exit code."""
    parse = argparse.ArgumentParser(
        prog="tests/bench/train",
        description="Compiles Sidegate so that it counts what it runs, puts it under the loads of tests/bench/run, and writes what it "
        "learnt to deploy/profile, which deploy/cargo compiles by. Before a release, and when rustc's LLVM or a dependency is a new one; "
        "a quarter of an hour.",
        epilog="Needs what tests/bench/run --install installs, and llvm-profdata of rustc's LLVM (Debian: llvm-22).",
    )
    parse.parse_args(arguments)
    version = _llvm()
    if (merge := _merger(version)) is None:
        parse.error(f"llvm-profdata of LLVM {version} is missing: apt-get install llvm-{version}")
    learnt, target = BUILT / "learnt", BUILT / "training"
    shutil.rmtree(learnt, ignore_errors=True)
    env = os.environ | {"SIDEGATE_TRAIN": str(learnt), "CARGO_TARGET_DIR": str(target)}
    subprocess.run(["deploy/cargo", "build", "--release", "--locked", "--bin", "sidegate"], cwd=ROOT, env=env, check=True)
    for lesson in lessons():
        print(f"tests/bench/train: {lesson.name}: {_learn(lesson, shipped(target) / 'sidegate')} answers", file=sys.stderr, flush=True)
    # With what never ran, too: that is compiled for size.
    merged = BUILT / "learnt.profdata"
    subprocess.run([merge, "merge", "--output", str(merged), str(learnt)], check=True)
    profile = ROOT / f"deploy/profile/llvm-{version}.profdata.gz"
    profile.parent.mkdir(exist_ok=True)
    profile.write_bytes(gzip.compress(merged.read_bytes(), mtime=0))
    made_of = b"".join((ROOT / name).read_bytes() for name in ("Cargo.toml", "Cargo.lock"))
    summed = subprocess.run(["cksum"], input=made_of, stdout=subprocess.PIPE, check=True).stdout
    profile.with_name("made-of").write_bytes(summed)
    print(f"{profile.relative_to(ROOT)}: {profile.stat().st_size / 1e6:.1f} MB")
    return 0


def _learn(lesson: Lesson, binary: Path) -> int:
    with ExitStack() as open_now:
        peer = lesson.peer
        if lesson.upstream_h2:
            # Another bed: it has ports of its own.
            second = open_now.enter_context(Bed(binary))
            open_now.callback(peers.start(PEERS["sidegate-open"], second).stop)
            peer = replace(peer, command=sidegate_peer(READ, url=f"h2c://127.0.0.1:{second.ports['H1']}"))
        bed = open_now.enter_context(Bed(binary))
        if lesson.credentials:
            (bed.run / "keys.txt").write_text("".join(f"{credential}\n" for credential in lesson.credentials(bed)))
        # Stopped in order: what was counted is written at the end.
        open_now.callback(peers.start(peer, bed).stop)
        return lesson.ask(bed, peer.port(bed, lesson.protocol), SECONDS).units


def _upload(bed: Bed, port: int, seconds: int) -> Asked:
    """16 MiB at a time."""
    content = bed.run / "content"
    content.write_bytes(b"x" * (UPLOAD_MIB << 20))
    began, uploads = time.monotonic(), 0
    while time.monotonic() - began < seconds:
        headers = ["-H", f"Authorization: Bearer {bed.keys[0].secret}", "-H", "Expect:"]
        printed = process.run(["curl", "-sf", "-T", str(content), *headers, f"http://127.0.0.1:{port}/v1/items/42"], bed.cores.rest)
        uploads += '"id":42' in printed
    return Asked(uploads, time.monotonic() - began, 0)


def _upload_streams(bed: Bed, port: int, seconds: int) -> Asked:
    """4 KiB at a time, many beside each other."""
    content = bed.run / "content"
    content.write_bytes(b"x" * 4096)
    return h2load(bed, port, seconds, 8, 32, content)


def tokens(bed: Bed) -> Iterator[str]:
    """JSON Web Tokens of an hour, of the tenants of the first keys."""

    def encoded(part: bytes) -> str:
        return base64.urlsafe_b64encode(part).rstrip(b"=").decode()

    now = int(time.time())
    for key in bed.keys[:TOKENS]:
        claims = {"iss": "https://auth.example", "aud": "api", "org_id": key.tenant, "sub": key.id, "scope": "read", "iat": now, "exp": now + 3600}
        signed = f"{encoded(json.dumps({'alg': 'HS256', 'typ': 'JWT'}).encode())}.{encoded(json.dumps(claims).encode())}"
        yield f"{signed}.{encoded(hmac.digest(SECRET.encode(), signed.encode(), hashlib.sha256))}"


def _secret(bed: Bed) -> Path:
    file = bed.run / "issuer.secret"
    file.write_text(SECRET)
    file.chmod(0o600)
    return file


def _llvm() -> str:
    told = subprocess.run(["rustc", "-vV"], capture_output=True, text=True, check=True).stdout
    return re.search(r"^LLVM version: (\d+)", told, re.MULTILINE)[1]


def _merger(version: str) -> str | None:
    return shutil.which(f"llvm-profdata-{version}") or shutil.which("llvm-profdata", path=f"/usr/lib/llvm-{version}/bin")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
