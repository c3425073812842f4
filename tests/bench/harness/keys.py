"""The keys of measurements: the same ones every time, for whoever needs them in whatever form."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Key:
    """A key without checksum, as long as one that Sidegate makes: 46 characters."""

    number: int
    tenants: int

    @property
    def secret(self) -> str:
        return f"sk_live_bench{self.number:033}"

    @property
    def id(self) -> str:
        return f"key_bench{self.number:09}"

    @property
    def tenant(self) -> str:
        """Neighbours belong to different tenants."""
        return f"tenant-{self.number * 2654435761 % 2**32 % self.tenants:06}"

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.secret.encode()).hexdigest()

    def record(self) -> str:
        """A line for `sidegate keys import`."""
        return json.dumps(
            {
                "id": self.id,
                "tenant": self.tenant,
                "name": "bench",
                "prefix": "sk_live_",
                "scopes": ["read", "write"],
                "digest": f"sha256:{self.digest}",
            },
            separators=(",", ":"),
        )


def keys(count: int, tenants: int, first: int = 0) -> Iterator[Key]:
    """So many keys, numbered from `first`."""
    return (Key(number, tenants) for number in range(first, first + count))
