"""The harness itself, without a measurement: `python3 -m unittest discover -s tests/bench`. tests/it/bench.rs runs it."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import hashlib
import hmac
import io
import json
import re
import subprocess
import types
import unittest

from harness import cli, measure, report
from harness.bed import BENCH, PORTS, ROOT, TEMPLATES, WORD
from harness.envoy import configuration
from harness.keys import keys
from harness.load import read_h2load, read_wrk
from harness.measure import Failure, Sample
from harness.probes import PROBES, read_allocations, read_estimates, read_perf, read_strace
from harness.proxies import PEERS, read_version
from harness.report import Results
from harness.targets import SCENARIOS, TARGETS, Figure, Ratio
from harness.train import SECRET, tokens, lessons

BY_NAME = {target.name: target for target in TARGETS}
SAMPLE = Sample(0, "h1-c64", "sidegate", 1000, 1.0, 10_000_000, 5_000_000, 900.0, 1500.0, 2000.0, 0.0, 0.0)


def sample(peer: str, number: int = 0, **changes: object) -> Sample:
    return dataclasses.replace(SAMPLE, peer=peer, round=number, **changes)


class Plans(unittest.TestCase):
    def test_every_row_names_a_scenario_or_a_probe_and_peers_that_there_are(self) -> None:
        self.assertEqual(len(BY_NAME), len(TARGETS), "two rows have one name")
        for target in TARGETS:
            if isinstance(target.source, Figure):
                self.assertIn(target.source.probe, PROBES)
            else:
                self.assertIn(target.source.scenario, SCENARIOS)
                self.assertLessEqual({target.source.subject, target.source.base}, set(PEERS))
        for scenario in SCENARIOS.values():
            self.assertLessEqual(set(scenario.shown), set(PEERS))

    def test_a_plan_has_both_sides_of_its_rows_once_and_nobody_who_is_not_here(self) -> None:
        rows = [BY_NAME[name] for name in ("h1-nginx", "h1-envoy", "p99-c64", "h2-nginx", "start")]
        planned = measure.plan(rows, set(PEERS), {"envoy", "h2-8x32"})
        self.assertEqual(planned, {"h1-c64": ["sidegate", "nginx", "haproxy", "haproxy-map", "direct"]})
        self.assertEqual(measure.plan(rows[:1], {"sidegate"}, ()), {"h1-c64": ["sidegate"]})

    def test_every_round_begins_with_another_peer(self) -> None:
        turns = [measure.rotated(["a", "b", "c"], number) for number in range(4)]
        self.assertEqual(turns, [["a", "b", "c"], ["b", "c", "a"], ["c", "a", "b"], ["a", "b", "c"]])
        self.assertEqual(measure.rotated([], 3), [])


class Lessons(unittest.TestCase):
    def test_every_load_is_one_and_each_has_a_name_of_its_own(self) -> None:
        names = [lesson.name for lesson in lessons()]
        self.assertEqual(len(names), len(set(names)))
        self.assertLessEqual(set(SCENARIOS), set(names))

    def test_tokens_are_signed_and_of_the_beds_tenants(self) -> None:
        bed = types.SimpleNamespace(keys=list(keys(3, 2)))
        for token, key in zip(tokens(bed), bed.keys, strict=True):
            signed, _, signature = token.rpartition(".")
            padded = [base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)) for part in (signed.split(".")[1], signature)]
            self.assertEqual(json.loads(padded[0])["org_id"], key.tenant)
            self.assertEqual(padded[1], hmac.digest(SECRET.encode(), signed.encode(), hashlib.sha256))


class Reports(unittest.TestCase):
    def test_only_samples_of_one_round_are_compared_and_the_yardstick_takes_the_drift_out(self) -> None:
        samples = [
            sample("sidegate", 0, cpu_ns=8_000_000),
            sample("nginx", 0, cpu_ns=10_000_000),
            sample("sidegate", 1, cpu_ns=18_000_000, yardstick_ns=4000.0),
            sample("nginx", 1, cpu_ns=10_000_000),
            sample("sidegate", 2, cpu_ns=1),
        ]
        self.assertEqual(report.ratios(samples, Ratio("h1-c64", "cpu", "nginx")), [0.8, 0.9])
        self.assertEqual(report.ratios(samples, Ratio("h1-c1", "cpu", "nginx")), [])

    def test_throughput_is_better_when_it_costs_less(self) -> None:
        samples = [sample("sidegate", scenario="download", cpu_ns=5_000_000), sample("nginx", scenario="download", cpu_ns=10_000_000)]
        results = Results("", samples)
        self.assertEqual(results.values(BY_NAME["stream-nginx"]), [2.0])
        self.assertTrue(results.passes(BY_NAME["stream-nginx"]))
        results.samples = [sample("sidegate", scenario="download"), sample("nginx", scenario="download")]
        self.assertFalse(results.passes(BY_NAME["stream-nginx"]))

    def test_a_row_is_judged_by_its_median_and_shows_its_range(self) -> None:
        pairs = [(9_000_000, 0), (10_000_000, 1), (20_000_000, 2)]
        samples = [sample("sidegate", number, cpu_ns=ns) for ns, number in pairs] + [sample("nginx", number) for _, number in pairs]
        row = report.targets_table(Results("", samples), [BY_NAME["h1-nginx"]]).splitlines()[-1]
        self.assertEqual(row.split(" | ")[1:], ["≤ 1.05", "1.00 [0.90–2.00]", "yes |"])

    def test_a_peer_that_is_not_here_has_no_figure(self) -> None:
        results = Results(
            "",
            absent={"envoy": "envoy", "h2-8x32": "h2load"},
            left_out=frozenset({"nginx-lua"}),
            failures=[Failure("h1-c64", "nginx", "x")],
        )
        told = {name: report.targets_table(results, [BY_NAME[name]]).splitlines()[-1].split(" | ")[2:] for name in BY_NAME}
        self.assertEqual(told["h1-envoy"], ["not installed: envoy", "– |"])
        self.assertEqual(told["h2-nginx"], ["not installed: h2load", "– |"])
        self.assertEqual(told["h1-nginx-lua"], ["left out: nginx-lua", "– |"])
        self.assertEqual(told["h1-nginx"], ["failed", "– |"])
        self.assertEqual(told["start"], ["not measured", "– |"])

    def test_a_report_has_a_table_for_each_scenario_and_says_what_failed(self) -> None:
        samples = [sample("sidegate"), sample("nginx", foreign=0.9), sample("direct", cpu_ns=0)]
        results = Results("today", samples, {("start", "ms"): [20.0, 30.0]}, [Failure("h1-c64", "haproxy", "ended with 1")])
        text = report.markdown(results, TARGETS)
        self.assertIn("| start to first answer | ≤ 40 ms | 25.0 ms [20.0–30.0] | yes |", text)
        self.assertIn("| nginx | plain proxy_pass | 10.00 [10.00–10.00] | 1.00 | 1,000 | 900 | 1500 | 0.01 | 0.90 | 1 |", text)
        self.assertIn("3 samples, 1 of them while others used", text)
        self.assertIn("Too noisy", text)
        self.assertIn("- h1-c64, haproxy: ended with 1", text)
        widths = {line.count("|") for line in text.split("#### h1-c64")[1].splitlines() if line.startswith("|")}
        self.assertEqual(len(widths), 1, "the lines of a table differ in their cells")

    def test_the_readmes_table_has_every_row_and_its_bound(self) -> None:
        block = (ROOT / "README.md").read_text().partition(cli.README_BEGIN)[2].partition(cli.README_END)[0]
        rows = [tuple(line.strip("| ").split(" | ")[:2]) for line in block.splitlines() if line.startswith("| ")]
        self.assertEqual(rows[2:], [(target.what, target.bound) for target in TARGETS], "tests/bench/run --readme writes it")

    def test_the_readme_is_changed_between_its_marks_only(self) -> None:
        readme = f"a\n{cli.README_BEGIN}old\n{cli.README_END}b\n"
        self.assertEqual(cli.in_readme(readme, "new\n"), f"a\n{cli.README_BEGIN}new\n{cli.README_END}b\n")
        with self.assertRaises(SystemExit):
            cli.in_readme("without marks", "new\n")


class Readers(unittest.TestCase):
    def test_wrk(self) -> None:
        line = 'FIGURES {"requests":86044,"duration_us":2003855,"p50_us":1044.0,"p99_us":23264.0,"errors":3}'
        asked = read_wrk(f"Running 2s test\n  1 threads\n{line}\n")
        self.assertEqual((asked.units, asked.seconds, asked.errors, asked.p99_us), (86044, 2.003855, 3, 23264.0))
        self.assertRaises(RuntimeError, read_wrk, "unable to connect")

    def test_h2load(self) -> None:
        printed = "requests: 15210 total, 15466 started, 15210 done, 15200 succeeded, 6 failed, 4 errored, 0 timeout\n"
        asked = read_h2load(printed, 1)
        self.assertEqual((asked.units, asked.errors), (15200, 10))
        self.assertRaises(RuntimeError, read_h2load, "", 1)

    def test_perf_and_strace(self) -> None:
        self.assertEqual(read_perf("163744,,raw_syscalls:sys_enter,2011223344,100.00,,\n"), 163744)
        rule = "------ ----------- ----------- --------- --------- ----------------\n"
        for sums in (
            "100.00    1.182424         133      8886        25 total\n",
            "100.00    1.182424         133      8886           total\n",
            "100.00    1.182424                  8886        25 total\n",
        ):
            self.assertEqual(read_strace(f"% time ...\n{rule}  0.00 ...\n{rule}{sums}"), 8886)
        self.assertRaises(RuntimeError, read_perf, "<not counted>,,raw_syscalls:sys_enter,0,100.00,,\n")
        self.assertRaises(RuntimeError, read_strace, "")

    def test_the_decision(self) -> None:
        self.assertEqual(read_estimates('{"mean":{"point_estimate":9.0},"median":{"point_estimate":312.5}}'), 312.5)
        self.assertEqual(read_allocations("running 1 test\nallocations: at worst 1, in 3 of 1000 decisions\n"), 1)
        self.assertRaises(RuntimeError, read_allocations, "running 0 tests")

    def test_versions(self) -> None:
        for printed, version in (
            ("nginx version: nginx/1.22.1", "1.22.1"),
            ("HAProxy version 2.6.12-1+deb12u4 2026/10/17", "2.6.12"),
            ("/opt/python3.11/envoy  version: 9e5580933739775e8bce696a57a2e1bc99368f23/1.40.0/Clean/RELEASE", "1.40.0"),
            ("nothing", "?"),
        ):
            self.assertEqual(read_version(printed), version)


class Files(unittest.TestCase):
    def test_templates_use_the_words_that_they_are_filled_with(self) -> None:
        known = {*PORTS, "RUN", "RULE", "URL", "LOG", "LUA_MODULES"}
        for template in TEMPLATES.iterdir():
            self.assertLessEqual(set(WORD.findall(template.read_text())), known, template.name)

    def test_the_programs_in_c_compile(self) -> None:
        for source in (BENCH / "native").glob("*.c"):
            command = ["cc", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", str(source)]
            self.assertEqual(subprocess.run(command, check=False).returncode, 0)

    def test_keys_are_distinct_and_as_long_as_real_ones(self) -> None:
        many = list(keys(100, 10))
        self.assertEqual(len({key.secret for key in many}), 100)
        self.assertEqual({len(key.secret) for key in many}, {46})
        self.assertEqual(len({key.tenant for key in many}), 10)
        self.assertNotIn(many[7].secret, many[7].record())

    def test_envoys_configuration_knows_every_key(self) -> None:
        text = str(configuration(dict.fromkeys(PORTS, 1), ROOT, list(keys(3, 2))))
        self.assertEqual(len(re.findall(r"'key': 'sk_live_bench", text)), 2 * 3, "in the cleartext and the TLS listener")


class Commands(unittest.TestCase):
    def test_the_list_names_all_rows_and_peers(self) -> None:
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            self.assertEqual(cli.main(["--list"]), 0)
        for name in (*BY_NAME, *PEERS):
            self.assertIn(f"  {name} ", printed.getvalue())

    def test_what_is_not_called_so_is_a_mistake_of_usage(self) -> None:
        for arguments in (["--rows", "nonsense"], ["--peers", "apache"], ["--readme", "--rows", "start"], ["--rounds", "0"]):
            with contextlib.redirect_stderr(io.StringIO()), self.assertRaises(SystemExit) as ended:
                cli.main(arguments)
            self.assertEqual(ended.exception.code, 2)
