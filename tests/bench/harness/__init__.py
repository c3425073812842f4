"""The side-by-side measurement behind `tests/bench/run`: what it costs to put Sidegate before an API, beside other proxies.

targets.py says what is measured and what it must be; peers.py who is measured; load.py who asks; measure.py how a sample is taken;
probes.py the figures that are no comparison; report.py how it is told. bed.py is the ground they stand on.
"""
