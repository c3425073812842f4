"""What Prometheus and Grafana are given: a live scrape and the rules by promtool, and every name and label value that dashboard and
rules ask for held to that scrape. A flood of keys must not make a series."""

import contextlib
import http.client
import json
import os
import pathlib
import re
import socket
import subprocess
import tempfile
import unittest
import zlib

import yaml

from here import DEPLOY, ROOT, binary, listening, needs, run

METRIC = re.compile(r"\b(?:sidegate|process)_[a-z_]+")


@contextlib.contextmanager
def sidecar():
    """A sidecar on an embedded store, behind it no API, and an issuer that is away. Yields its ports."""
    with tempfile.TemporaryDirectory() as directory:
        config = pathlib.Path(directory) / "proxy.toml"
        config.write_text('listen = "127.0.0.1:0"\nupstream = "http://127.0.0.1:9"\n[store]\nurl = "embedded:./data"\n'
                          '[ops]\nlisten = "127.0.0.1:0"\nsocket = ""\n[restrictions]\nguess_throttle = { failures = 1000000, per = "1s" }\n'
                          '[[issuers]]\nname = "users"\nissuer = "https://a.example/"\naudiences = ["api"]\nalgorithms = ["RS256"]\n'
                          'jwks_url = "https://127.0.0.1:9/jwks"\n'
                          '[introspection]\nurl = "https://127.0.0.1:9/introspect"\nclient_id = "sidegate"\nclient_secret_file = "secret"\n')
        (pathlib.Path(directory) / "secret").write_text("0123456789abcdef0123456789abcdef\n")
        run(binary(), "--config", config, "tenants", "create", "--id", "acme", "--name", "Acme")
        serve = subprocess.Popen([binary(), "--config", config, "serve"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        try:
            yield listening(serve)
        finally:
            serve.terminate()
            serve.communicate()


def scrape(port):
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
        connection.request("GET", "/metrics")
        return connection.getresponse().read().decode()


def series(text):
    return {line.rsplit(" ", 1)[0] for line in text.splitlines() if not line.startswith("#")}


def expressions():
    """Every PromQL expression of the rules and of the dashboard, by where it stands."""
    rules = yaml.safe_load((DEPLOY / "monitoring" / "prometheusrule.yaml").read_text())["spec"]
    found = {rule["alert"]: [rule["expr"]] for group in rules["groups"] for rule in group["rules"]}
    board = json.loads((DEPLOY / "monitoring" / "dashboard.json").read_text())
    for panel in board["panels"]:
        if panel["type"] != "row":
            found[panel["title"]] = [target["expr"] for target in panel["targets"]]
    return found


def documented_values():
    """By metric and label, the values that the page names."""
    found = {}
    for line in (DEPLOY / "README.md").read_text().splitlines():
        if line.startswith("| `sidegate_"):
            names, _, labels = line.split(" | ")[:3]
            for label, told in re.findall(r"`(\w+)` \(((?:[^()]|\([^()]*\))*)\)", labels):
                for name in METRIC.findall(names):
                    found[name, label] = set(re.findall(r"`([^`]+)`", told))
    return found


class Monitoring(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        with sidecar() as (public, ops):
            # Some are there only when there is something to tell: a worker, a change log that was heard.
            late = ("sidegate_requests_total{", "sidegate_change_log_heard_timestamp_seconds ")
            while not all(name in (text := scrape(ops)) for name in late):
                pass
            cls.text = text
            flood(cls, public, ops)

    @needs("promtool")
    def test_promtool_finds_nothing_wrong_with_a_live_scrape(self):
        self.assertEqual(run("promtool", "check", "metrics", input=self.text), "")

    @needs("promtool")
    def test_the_rules_are_good_and_fire_when_they_should(self):
        with tempfile.TemporaryDirectory() as directory:
            rules = run("sed", "1,/^spec:/d; s/^  //", DEPLOY / "monitoring" / "prometheusrule.yaml")
            (pathlib.Path(directory) / "rules.yaml").write_text(rules)
            (pathlib.Path(directory) / "tests.yaml").write_text((ROOT / "tests" / "deploy" / "alerts.yaml").read_text())
            run("promtool", "check", "rules", "--lint-fatal", "rules.yaml", cwd=directory)
            run("promtool", "test", "rules", "tests.yaml", cwd=directory)

    def test_every_alert_has_a_unit_test(self):
        tested = (ROOT / "tests" / "deploy" / "alerts.yaml").read_text()
        rules = yaml.safe_load((DEPLOY / "monitoring" / "prometheusrule.yaml").read_text())["spec"]
        self.assertFalse([rule["alert"] for group in rules["groups"] for rule in group["rules"] if rule["alert"] not in tested])

    @needs("promtool")
    def test_every_expression_of_the_dashboard_is_promql(self):
        fill = lambda expression: expression.replace("$__rate_interval", "5m").replace("$namespace", ".*").replace("$pod", ".*")
        rules = [{"record": f"panel:{index}", "expr": fill(expression)}
                 for index, expression in enumerate(expression for several in expressions().values() for expression in several)]
        with tempfile.TemporaryDirectory() as directory:
            (pathlib.Path(directory) / "panels.yaml").write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
            run("promtool", "check", "rules", "--lint", "none", "panels.yaml", cwd=directory)

    def test_dashboard_and_rules_ask_for_what_there_is(self):
        there = {line.split()[2] for line in self.text.splitlines() if line.startswith("# TYPE ")}
        # What happens to nobody here the page names, metric by metric: `lost`, `replayed`.
        values = documented_values()
        for name in series(self.text):
            metric = name.split("{")[0]
            for label, value in re.findall(r'(\w+)="([^"]*)"', name):
                values.setdefault((metric, label), set()).add(value)
        for where, several in expressions().items():
            for expression in several:
                asked = {re.sub("_(bucket|sum|count)$", "", name) for name in METRIC.findall(re.sub(r"\{[^}]*\}", "", expression))}
                self.assertTrue(asked, f"{where} asks for nothing")
                self.assertFalse(asked - there, where)
                for metric, selected in re.findall(r"(\w+)\{([^}]*)\}", expression):
                    for label, operator, value in re.findall(r'(\w+)(=~|!=|=)"([^"$]*)"', selected):
                        for one in value.split("|"):
                            pattern = one if operator == "=~" else re.escape(one)
                            known = values.get((metric, label), set())
                            self.assertTrue([there for there in known if re.fullmatch(pattern, there)], f"{where}: no {label} of {metric} is {one}")

    def test_keys_and_paths_make_no_series(self):
        self.assertEqual(series(self.text), self.after_the_flood)
        print(f"\n  {len(series(self.text))} series before and after {FLOOD:,} distinct keys")


# Behind SIDEGATE_DRILL=full a million; all that they do which fewer do not is to fill the caches, which are bounded.
FLOOD = 1_000_000 if os.environ.get("SIDEGATE_DRILL") == "full" else 50_000
BATCH = 500


def flood(cls, public, ops):
    """Requests, each of a key and a path of its own, pipelined."""
    statuses = set()
    with socket.create_connection(("127.0.0.1", public), timeout=60) as connection, connection.makefile("rb") as answers:
        for first in range(0, FLOOD, BATCH):
            connection.sendall(b"".join(request(number) for number in range(first, first + BATCH)))
            for _ in range(BATCH):
                statuses.add(answers.readline().split()[1])
                length = 0
                while (line := answers.readline()) != b"\r\n":
                    name, _, value = line.partition(b":")
                    length = int(value) if name == b"content-length" else length
                answers.read(length)
    assert statuses == {b"401"}, statuses
    text = scrape(ops)
    cls.after_the_flood = series(text)
    looked_up = re.search(r"^sidegate_key_lookups_total (\d+)$", text, re.MULTILINE)
    assert int(looked_up[1]) >= FLOOD, "the keys were not looked up: the flood shows nothing"


def request(number):
    unsigned = f"sk_live_{number:032d}"
    return f"GET /v1/{number} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {unsigned}{crc32_base62(unsigned)}\r\n\r\n".encode()


def crc32_base62(text):
    """The checksum of a key: six digits over what precedes."""
    digits, rest = "", zlib.crc32(text.encode())
    for _ in range(6):
        rest, digit = divmod(rest, 62)
        digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"[digit] + digits
    return digits


if __name__ == "__main__":
    unittest.main()
