#!/usr/bin/env python3
"""Writes keys as `sidegate keys import` reads them, for measurements: so many digests, of so many tenants.

    python3 tests/bench/keys.py 1000000 1000 > keys.ndjson
    /usr/bin/time -v sidegate keys import keys.ndjson --create-tenants --store redis+unix:///run/redis.sock

The key with number N is sk_live_bench plus N in nine digits. Their kind needs checksum = "optional", and more than 1,000 keys a
tenant need [keys] max_per_tenant.
"""

import hashlib
import sys


def main() -> None:
    keys, tenants = int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1000
    for number in range(keys):
        digest = hashlib.sha256(b"sk_live_bench%09d" % number).hexdigest()
        tenant = number * 2654435761 % 2**32 % tenants
        print(
            f'{{"id":"key_bench{number:09}","tenant":"tenant-{tenant:06}","name":"bench","prefix":"sk_live_",'
            f'"scopes":["read:users","write:users"],"digest":"sha256:{digest}"}}'
        )


main()
