"""What the Python clients share: where Sidegate is, and a runner that says what failed. It prints nothing else."""

import asyncio
import inspect
import os
import sys
import traceback

HTTP = os.environ.get("SIDEGATE_HTTP", "")
HTTPS = os.environ.get("SIDEGATE_HTTPS", "")
CA = os.environ.get("SIDEGATE_CA", "")
KEY = os.environ.get("SIDEGATE_KEY", "")
BEARER = {"Authorization": f"Bearer {KEY}"}
STRANGER = {"Authorization": "Bearer sk_live_nobody"}
REFUSED = {"success": False, "error": "Invalid API key", "code": "API_KEY_INVALID"}
LARGE = 4 << 20
# What Sidegate reads of a refused upload before it only waits: clients that do not look before they have sent all get that far.
READ_AWAY = 1 << 20
EVENTS = 5
TIMEOUT = 20


def pattern(length):
    return (bytes(range(251)) * (length // 251 + 1))[:length]


def equal(actual, expected):
    assert actual == expected, f"{actual!r} instead of {expected!r}"


def pieces(content, size=64 << 10):
    for at in range(0, len(content), size):
        yield content[at : at + size]


def run(*checks):
    """Runs every check and ends with how that went."""
    failed = 0
    for check in checks:
        try:
            result = check()
            if inspect.iscoroutine(result):
                asyncio.run(result)
        except Exception:
            failed += 1
            print(f"FAILED: {check.__name__}", file=sys.stderr)
            traceback.print_exc()
    sys.exit(1 if failed else 0)
