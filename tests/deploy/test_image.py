"""The image in a pod: what reaches the API, what the process may, how it starts without its neighbours and leaves without a failed
request. Prints what it weighs."""

import http.client
import json
import os
import pathlib
import statistics
import subprocess
import tempfile
import threading
import time
import unittest

import pod as pods
from here import ROOT, binary, listening, run, until

CALLERS = 8
# After the sidecar is unready the callers go on like clients that have not heard of it.
AFTERWARDS = 25
# How a kept connection looks that was closed before the request came: RemoteDisconnected is a ConnectionResetError.
CLOSED = (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError)


class Callers:
    """Clients with connections of their own, kept alive, that ask until they are told to end. A GET whose kept connection was
    closed before its status line is sent once more, as every client does; anything else that fails is a failure."""

    def __init__(self, address, key):
        self.address, self.headers = address, {"Authorization": f"Bearer {key}"}
        self.answers, self.failures, self.unready = [], [], threading.Event()
        self.threads = [threading.Thread(target=self._call) for _ in range(CALLERS)]
        for thread in self.threads:
            thread.start()

    def _call(self):
        connection, left = None, AFTERWARDS
        while left:
            left -= self.unready.is_set()
            kept, answered = connection is not None, False
            try:
                connection = connection or http.client.HTTPConnection(self.address, 8080, timeout=30)
                connection.request("GET", "/v1/orders", headers=self.headers)
                answer = connection.getresponse()
                answered = True
                answer.read()
                self.answers.append(answer.status)
                if answer.will_close:
                    connection.close()
                    connection = None
            except (OSError, http.client.HTTPException) as failure:
                if connection is not None:
                    connection.close()
                connection = None
                if not (kept and isinstance(failure, CLOSED) and not answered):
                    self.failures.append(repr(failure))

    def end(self):
        self.unready.set()
        for thread in self.threads:
            thread.join()


@unittest.skipIf(pods.may(), pods.may())
class Image(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        pods.build_sidegate()
        pods.build_api()

    def pod(self):
        pod = pods.Pod()
        self.addCleanup(pod.ends.close)
        return pod

    def running(self):
        """A pod as it should be, and a key that works."""
        pod = self.pod()
        pod.start_redis()
        pod.process = pod.start_sidecar()
        pod.start_api()
        until(lambda: pod.get(9901, "/readyz")[0] == 200)
        until(lambda: pod.get(9901, "/probe/app")[0] == 200)
        pod.exec("/sidegate", "tenants", "create", "--id", "acme", "--name", "Acme")
        key = pod.exec("/sidegate", "keys", "create", "--tenant", "acme", "--name", "ci", "--quiet").strip()
        return pod, key

    def test_it_is_compiled_by_a_profile_of_this_compiler(self):
        told = subprocess.run([ROOT / "deploy/cargo", "--version"], capture_output=True, text=True, check=True)
        self.assertEqual((told.stdout.split()[0], told.stderr), ("cargo", ""))

    def test_the_image_holds_a_static_binary_and_no_shell(self):
        described = json.loads(run("buildah", *pods.STORAGE, "inspect", "--type", "image", "localhost/sidegate"))
        config = described["OCIv1"]["config"]
        self.assertEqual((config["User"], config["Entrypoint"], config["Cmd"]), ("65532:65532", ["/sidegate"], ["serve"]))
        labels = config["Labels"]
        self.assertEqual(labels["org.opencontainers.image.licenses"], "Apache-2.0")
        self.assertTrue({"title", "description", "version", "revision"} <= {name.rsplit(".", 1)[1] for name in labels})
        container = run("buildah", *pods.STORAGE, "from", "localhost/sidegate").strip()
        self.addCleanup(run, "buildah", *pods.STORAGE, "rm", container)
        mounted = pathlib.Path(run("buildah", *pods.STORAGE, "mount", container).strip())
        self.addCleanup(run, "buildah", *pods.STORAGE, "umount", container)
        files = sorted(str(path.relative_to(mounted)) for path in mounted.rglob("*") if path.is_file())
        self.assertEqual(files, ["etc/ssl/certs/ca-certificates.crt", "sbom.cdx.json", "sidegate"])
        self.assertNotIn("INTERP", run("readelf", "--program-headers", mounted / "sidegate"))
        content = (mounted / "sidegate").read_bytes()
        for place in (str(ROOT), os.path.expanduser("~/.cargo")):
            self.assertFalse(place.encode() in content, place)
        bom = json.loads((mounted / "sbom.cdx.json").read_text())
        parts = {part["name"] for part in bom["components"]}
        self.assertTrue({"hyper", "tokio", "rustls", "aws-lc-sys"} <= parts)
        self.assertFalse({"proptest", "criterion"} & parts)
        self.assertFalse([part["name"] for part in bom["components"] if not part.get("licenses") or not part.get("hashes")])
        size = sum((mounted / name).stat().st_size for name in files)
        print(f"\n  binary {len(content) / 1e6:.1f} MB; files of the image {size / 1e6:.1f} MB; {len(parts)} packages in the SBOM")
        self.assertLessEqual(len(content), 20_000_000)

    def test_the_api_is_reached_through_the_sidecar_alone(self):
        pod, key = self.running()
        with self.assertRaises(ConnectionRefusedError):
            pod.get(3000, "/v1/orders")
        status, body = pod.get(8080, "/v1/orders", {"Authorization": f"Bearer {key}", "X-Tenant-Id": "other"})
        self.assertEqual((status, json.loads(body)["headers"]["x-tenant-id"]), (200, "acme"))
        self.assertNotIn(key, body)
        status, body = pod.get(8080, "/v1/orders")
        self.assertEqual((status, json.loads(body)["code"]), (401, "AUTH_REQUIRED"))
        lines, noise = pod.logs()
        self.assertEqual(len([line for line in lines if "request_id" in json.loads(line)]), 2)
        self.assertNotIn(key, "\n".join(lines + noise))

    def test_the_process_may_nothing(self):
        pod, _ = self.running()
        proc = pathlib.Path("/proc") / str(pod.process)
        status = dict(line.split(":\t", 1) for line in (proc / "status").read_text().splitlines() if ":\t" in line)
        self.assertEqual({status[f"Cap{kind}"].strip("0") for kind in ("Inh", "Prm", "Eff", "Bnd", "Amb")}, {""})
        self.assertEqual((status["Uid"].split(), status["NoNewPrivs"], status["Seccomp"]), (["65532"] * 4, "1", "2"))
        root = [line.split() for line in (proc / "mountinfo").read_text().splitlines() if line.split()[4] == "/"]
        self.assertTrue(all("ro" in fields[5].split(",") for fields in root))
        with self.assertRaises(AssertionError):
            pod.exec("/bin/sh", "-c", "true")
        self.assertIn("ready", pod.exec("/sidegate", "healthcheck"))

    def test_keys_are_imported_where_nothing_but_the_mounts_is_writable(self):
        pod, _ = self.running()
        good = {"tenant": "globex", "name": "older", "key": "sk_live_an_older_key_of_globex"}
        lines = "".join(json.dumps(line) + "\n" for line in (good, {**good, "name": "twin", "kind": "nonsense"}))
        pod.configure('[[key_kinds]]\nname = "secret"\nprefixes = { live = "sk_live_", test = "sk_test_" }\nchecksum = "optional"\n')
        code, told, noise = pod.exec_with(lines, "/sidegate", "keys", "import", "-", "--create-tenants", "--quiet", "--rejects", "-")
        self.assertEqual((code, json.loads(told)["entry"]["name"]), (1, "twin"), noise)
        self.assertIn("older", pod.exec("/sidegate", "keys", "list", "--tenant", "globex"))

    def test_it_starts_before_its_neighbours(self):
        pod = self.pod()
        pod.start_sidecar()
        until(lambda: pod.get(9901, "/livez")[0] == 200)
        self.assertEqual(pod.get(9901, "/readyz")[0], 503)
        pod.start_redis()
        until(lambda: pod.get(9901, "/readyz")[0] == 200)
        # The API is not there: alive and ready all the same, and the API's own probe says so.
        self.assertEqual((pod.get(9901, "/livez")[0], pod.get(9901, "/probe/app")[0]), (200, 502))
        pod.start_api()
        until(lambda: pod.get(9901, "/probe/app")[0] == 200)

    def leaves(self, prestop):
        pod, key = self.running()
        callers, held = Callers(pod.address, key), []
        holding = threading.Thread(target=lambda: held.append(pod.get(8080, "/v1/held", callers.headers)[0]))
        holding.start()
        until(lambda: pod.inside("/count")["held"] == 1)
        waiting = pod.exec_in_background("/sidegate", "drain", "--wait") if prestop else None
        if not prestop:
            pod.terminate()
        until(lambda: pod.get(9901, "/readyz")[0] == 503)
        callers.end()
        self.assertEqual((callers.failures, set(callers.answers)), ([], {200}))
        self.assertFalse(held)
        pod.inside("/release")
        holding.join()
        self.assertEqual(held, [200])
        if prestop:
            self.assertIn("draining", waiting.communicate()[0])
            self.assertEqual(waiting.returncode, 0)
            pod.terminate()
        self.assertEqual(pod.wait(), 0)
        print(f"\n  {len(callers.answers)} requests around {'preStop' if prestop else 'SIGTERM'}, none failed")

    def test_prestop_and_the_signal_after_it_fail_no_request(self):
        self.leaves(prestop=True)

    def test_sigterm_alone_fails_no_request(self):
        self.leaves(prestop=False)

    def test_a_changed_configmap_is_taken_up(self):
        pod, key = self.running()
        pod.configure('[[routes]]\nname = "open"\nmatch = "GET /v1/orders"\nauth = "none"\n')
        until(lambda: pod.get(8080, "/v1/orders")[0] == 200)
        self.assertEqual(pod.get(8080, "/v1/other", {"Authorization": f"Bearer {key}"})[0], 404)

    def test_how_long_it_takes_to_start_and_what_it_holds(self):
        with tempfile.TemporaryDirectory() as directory:
            config = pathlib.Path(directory) / "proxy.toml"
            config.write_text('listen = "127.0.0.1:0"\n[store]\nurl = "embedded:./data"\n[ops]\nlisten = "127.0.0.1:0"\nsocket = ""\n')
            took, held = [], []
            run(binary(), "--config", config, "tenants", "create", "--id", "acme", "--name", "Acme")
            for _ in range(9):
                began = time.monotonic()
                serve = subprocess.Popen([binary(), "--config", config, "serve"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
                ports = listening(serve)
                connection = http.client.HTTPConnection("127.0.0.1", ports[1], timeout=30)
                status = 503
                while status != 200:
                    connection.request("GET", "/readyz")
                    answer = connection.getresponse()
                    answer.read()
                    status = answer.status
                connection.close()
                took.append(time.monotonic() - began)
                rollup = pathlib.Path(f"/proc/{serve.pid}/smaps_rollup").read_text()
                held.append({name: int(rollup.split(f"{name}:")[1].split()[0]) / 1024 for name in ("Rss", "Pss")})
                serve.terminate()
                serve.communicate()
        median = lambda name: statistics.median(sample[name] for sample in held)
        print(f"\n  start to ready {statistics.median(took) * 1000:.0f} ms (median of {len(took)}, beside whatever else runs); "
              f"idle RSS {median('Rss'):.1f} MiB, PSS {median('Pss'):.1f} MiB")


if __name__ == "__main__":
    unittest.main()
