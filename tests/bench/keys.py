#!/usr/bin/env python3
"""Writes keys as `sidegate keys import` reads them, for measurements: so many digests, of so many tenants.

    python3 tests/bench/keys.py 1000000 1000 > keys.ndjson
    /usr/bin/time -v sidegate keys import keys.ndjson --create-tenants --store redis+unix:///run/redis.sock

The key with number N is sk_live_bench plus N in 33 digits. Their kind needs checksum = "optional", and more than 1,000 keys a
tenant need [keys] max_per_tenant.
"""

import sys

from harness.keys import keys


def main() -> None:
    count, tenants = int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1000
    for key in keys(count, tenants):
        print(key.record())


main()
