"""What Kubernetes makes of a pod, without it: one network namespace with an address of its own, containers in it by podman and
runc, and a redis-server outside, where the rest of the cluster is. Everything that is started here is ended here, by its id."""

import contextlib
import http.client
import json
import os
import pathlib
import shlex
import shutil
import subprocess
import tempfile

import yaml

from here import DEPLOY, MADE, ROOT, binary, run

STORAGE = ["--root", MADE / "storage", "--runroot", MADE / "storage-run", "--storage-driver", "vfs"]
PODMAN = ["podman", *STORAGE, "--runtime", "runc", "--cgroup-manager", "cgroupfs", "--events-backend", "file"]
LIMITS = ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1000:1000"]
# The restricted pod security standard, and the read-only root of deploy/sidecar: podman would put writable file systems of its own at
# /tmp, /run and elsewhere, where Kubernetes has none.
RESTRICTED = ["--read-only", "--read-only-tmpfs=false", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--user", "65532:65532"]
TOOLS = ["buildah", "podman", "runc", "ip", "redis-server"]


def may():
    """Why there can be no pod here; None if there can."""
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        return f"NOT CHECKED: {', '.join(missing)} cannot be had on this machine"
    if os.geteuid() != 0:
        return "NOT CHECKED: network namespaces need root"
    return None


def build(name, *arguments):
    run("buildah", *STORAGE, "build", "--isolation", "chroot", "--tag", name, *arguments, cwd=ROOT)


def build_sidegate():
    """The image, by the words of deploy/README.md, but for where things are kept."""
    block = (DEPLOY / "README.md").read_text().split("<!-- test: image -->\n```sh\n")[1].split("```")[0]
    compile, image = [shlex.split(line, comments=True) for line in block.splitlines()]
    assert (compile[:1], image[:2]) == (["deploy/build"], ["podman", "build"]), block
    binary()
    made = {"target/image/out": MADE / "image" / "out", "build=target/image": f"build={MADE / 'image'}"}
    assert set(made) <= {*compile, *image}, block
    revision = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()
    *words, context = [made.get(word, word) for word in image[2:]]
    run("buildah", *STORAGE, "build", "--isolation", "chroot", *words, "--build-arg", f"REVISION={revision}", context, cwd=ROOT)


def build_api():
    """An image with this machine's Python and nothing else, for there is no registry to ask."""
    python = pathlib.Path(shutil.which("python3", path="/usr/bin") or shutil.which("python3")).resolve()
    library = pathlib.Path(run(python, "-c", "import os; print(os.path.dirname(os.__file__))").strip())
    with tempfile.TemporaryDirectory(dir=MADE) as directory:
        root = pathlib.Path(directory) / "root"
        needed = [word for word in run("ldd", python).split() if word.startswith("/")]
        for module in (library / "lib-dynload").glob("*.so"):
            needed += [word for word in run("ldd", module).split() if word.startswith("/")]
        for path in [str(python), *needed]:
            target = root / path.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
        shutil.copytree(library, root / str(library).lstrip("/"), ignore=shutil.ignore_patterns("test", "dist-packages", "site-packages", "__pycache__"))
        shutil.copy(pathlib.Path(__file__).with_name("api.py"), root / "api.py")
        containerfile = pathlib.Path(directory) / "Containerfile"
        containerfile.write_text(f'FROM scratch\nCOPY root/ /\nENTRYPOINT ["{python}", "-S", "/api.py"]\n')
        build("sidegate-test-api", "--file", containerfile, directory)


class Pod:
    """One network namespace and what runs in it."""

    def __init__(self):
        self.ends = contextlib.ExitStack()
        try:
            self._make()
        except BaseException:
            self.ends.close()
            raise

    def _make(self):
        name, third = f"sidegate-{os.getpid()}", os.getpid() % 250
        self.namespace, self.outside, self.address = name, f"198.18.{third}.1", f"198.18.{third}.2"
        self.dir = pathlib.Path(self.ends.enter_context(tempfile.TemporaryDirectory(prefix="sidegate-pod-")))
        self.dir.chmod(0o755)
        run("ip", "netns", "add", name)
        self.ends.callback(run, "ip", "netns", "del", name)
        link = f"sg{os.getpid() % 100000}"
        run("ip", "link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", name)
        run("ip", "address", "add", f"{self.outside}/30", "dev", link)
        run("ip", "link", "set", link, "up")
        for command in (["address", "add", f"{self.address}/30", "dev", "eth0"], ["link", "set", "eth0", "up"], ["link", "set", "lo", "up"]):
            run("ip", "-n", name, *command)
        self.config = self.dir / "config"
        self.secrets = self.dir / "secrets"
        self.config.mkdir()
        self.secrets.mkdir()
        self.configure("")
        (self.secrets / "redis-password").write_text("change-me\n")
        (self.secrets / "pepper").write_text("0123456789abcdef0123456789abcdef\n")

    def configure(self, more):
        (self.config / "proxy.toml").write_text(
            'upstream = "http://127.0.0.1:3000"\n[store]\n'
            f'url = "redis://{self.outside}:6379/0"\nusername = "sidegate"\n'
            'password_file = "/run/secrets/sidegate/redis-password"\npepper_file = "/run/secrets/sidegate/pepper"\n'
            f'[ops.probes]\napp = "/healthz"\n{more}'
        )

    def start_redis(self):
        """With the users that are shipped."""
        command = ["redis-server", "--bind", self.outside, "--port", "6379", "--dir", self.dir, "--aclfile", DEPLOY / "redis" / "users.acl",
                   "--maxmemory-policy", "noeviction", "--save", "", "--daemonize", "no"]
        server = subprocess.Popen([str(word) for word in command], stdout=subprocess.PIPE, text=True)
        self.ends.callback(server.wait)
        self.ends.callback(server.stdout.close)
        self.ends.callback(server.terminate)
        for line in server.stdout:
            if "eady to accept connections" in line:
                return
        raise AssertionError("redis-server ended")

    def start(self, name, image, *arguments):
        """A container of the pod; its process id."""
        full = f"{self.namespace}-{name}"
        run(*PODMAN, "run", "--detach", "--name", full, "--network", f"ns:/run/netns/{self.namespace}", *LIMITS, *arguments, f"localhost/{image}")
        self.ends.callback(run, *PODMAN, "rm", "--force", full)
        return int(run(*PODMAN, "inspect", full, "--format", "{{.State.Pid}}"))

    def start_sidecar(self):
        """With what deploy/sidecar/deployment.yaml mounts, and nothing else."""
        spec = yaml.safe_load((DEPLOY / "sidecar" / "deployment.yaml").read_text())["spec"]["template"]["spec"]
        kinds = {volume["name"]: set(volume) - {"name"} for volume in spec["volumes"]}
        arguments = []
        for mount in spec["initContainers"][0]["volumeMounts"]:
            if kinds[mount["name"]] == {"emptyDir"}:
                arguments += ["--tmpfs", f"{mount['mountPath']}:rw,mode=1777,size=64m"]
            else:
                directory = self.config if kinds[mount["name"]] == {"configMap"} else self.secrets
                arguments += ["--volume", f"{directory}:{mount['mountPath']}:ro"]
        return self.start("sidegate", "sidegate", *RESTRICTED, *arguments)

    def start_api(self):
        self.start("api", "sidegate-test-api", *RESTRICTED)

    def remove(self, name):
        run(*PODMAN, "rm", "--force", f"{self.namespace}-{name}")

    def exec(self, *command):
        """`kubectl exec -c sidegate`."""
        return run(*PODMAN, "exec", f"{self.namespace}-sidegate", *command)

    def exec_with(self, text, *command):
        """`kubectl exec -i -c sidegate`: code, stdout and stderr."""
        words = [str(word) for word in [*PODMAN, "exec", "--interactive", f"{self.namespace}-sidegate", *command]]
        done = subprocess.run(words, input=text, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout, done.stderr

    def exec_in_background(self, *command):
        return subprocess.Popen([str(word) for word in [*PODMAN, "exec", f"{self.namespace}-sidegate", *command]], stdout=subprocess.PIPE, text=True)

    def terminate(self):
        run(*PODMAN, "kill", "--signal", "TERM", f"{self.namespace}-sidegate")

    def wait(self):
        """Waits for the sidecar's end; its exit code."""
        return int(run(*PODMAN, "wait", f"{self.namespace}-sidegate"))

    def logs(self):
        done = subprocess.run([str(word) for word in [*PODMAN, "logs", f"{self.namespace}-sidegate"]], capture_output=True, text=True, check=True)
        return done.stdout.splitlines(), done.stderr.splitlines()

    def get(self, port, path, headers=None):
        """One request on a connection of its own, from outside the pod: status and body."""
        with contextlib.closing(http.client.HTTPConnection(self.address, port, timeout=30)) as connection:
            connection.request("GET", path, headers=headers or {})
            answer = connection.getresponse()
            return answer.status, answer.read().decode()

    def inside(self, path):
        """Asks the API from within the pod, around the sidecar."""
        script = f"import urllib.request; print(urllib.request.urlopen('http://127.0.0.1:3000{path}').read().decode())"
        return json.loads(run("ip", "netns", "exec", self.namespace, "python3", "-c", script))
