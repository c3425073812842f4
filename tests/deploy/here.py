"""Where things are, how a test says that a tool is missing, and the static binary that all of them share."""

import contextlib
import functools
import http.client
import json
import pathlib
import re
import shutil
import subprocess
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
MADE = ROOT / "target" / "deploy"
PATIENCE = 60


def until(question):
    """Asks again until the answer is true; what cannot be connected to yet has not answered."""
    began = time.monotonic()
    while time.monotonic() - began < PATIENCE:
        with contextlib.suppress(OSError, http.client.HTTPException):
            if question():
                return
    raise AssertionError(f"not within {PATIENCE} s")


def needs(*tools):
    """Skips, by name, a test whose tools this machine lacks."""
    missing = [tool for tool in tools if shutil.which(tool) is None]
    return unittest.skipIf(missing, f"NOT CHECKED: {', '.join(missing)} cannot be had on this machine")


def needs_kubectl():
    """The same of a kubectl that knows Kustomize's components: Debian 12 has 1.20, which does not."""
    minor = None
    if shutil.which("kubectl"):
        told = json.loads(run("kubectl", "version", "--client", "--output", "json"))
        minor = int(re.match(r"\d+", told["clientVersion"]["minor"])[0])
    found = "none" if minor is None else f"1.{minor}"
    return unittest.skipIf((minor or 0) < 24, f"NOT CHECKED: kubectl 1.24 or newer cannot be had on this machine ({found})")


def run(*command, **options):
    """Runs a command to its end; what it printed. Fails with that if it fails."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False, **options)
    if done.returncode != 0:
        raise AssertionError(f"{command} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def listening(serve):
    """The two ports of a `sidegate serve`, public and ops, whatever else it says before."""
    said = (line for line in serve.stderr if line.startswith("listening on "))
    return [int(next(said).rsplit(":", 1)[1]) for _ in range(2)]


@functools.cache
def binary():
    """What the image holds, made by `deploy/build`: its binary."""
    MADE.mkdir(parents=True, exist_ok=True)
    run("nice", "-n", "19", DEPLOY / "build", MADE / "image" / "out", cwd=ROOT)
    return MADE / "image" / "out" / "sidegate"
