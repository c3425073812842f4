"""`python3 -m harness`, as tests/bench/run calls it."""

import sys

from .cli import main

sys.exit(main(sys.argv[1:]))
