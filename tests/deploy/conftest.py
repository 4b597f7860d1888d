"""Fixtures: the images built by podman from the repository's own files, and the compose deployment on free ports.

Needs what `scripts/setup.sh --deploy` installs. Where that cannot be had, LATHE_SKIP_DEPLOY=1 skips these tests; without it a missing
engine is a failure, not a skip.
"""

import json
import os
import pathlib
import resource
import shutil
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(os.environ.get("LATHE_BIN", ROOT / "build" / "release" / "bin"))


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def poll(what, probe, seconds=120):
    """Calls probe until it returns something true; returns that. An exception counts as not yet."""
    deadline = time.monotonic() + seconds
    last = None
    while time.monotonic() < deadline:
        try:
            last = probe()
            if last:
                return last
        except Exception as error:  # noqa: BLE001: the last one is shown
            last = error
        time.sleep(0.3)
    raise AssertionError(f"{what} did not come about within {seconds} s; last: {last!r}")


def within(kind, wanted):
    """A resource limit of a container: as wanted, or the most that we may give."""
    most = resource.getrlimit(kind)[1]
    return wanted if most == resource.RLIM_INFINITY else min(wanted, most)


class Engine:
    """podman with settings of its own, so that the machine's are neither needed nor changed."""

    def __init__(self, folder):
        # podman's own defaults may lie above ours, which only a privileged user can grant.
        limits = ", ".join(f'"{name}={within(kind, soft)}:{within(kind, hard)}"' for name, kind, soft, hard in
                           (("nofile", resource.RLIMIT_NOFILE, 1024, 4096), ("nproc", resource.RLIMIT_NPROC, 1024, 8192)))
        settings = folder / "containers.conf"
        settings.write_text(f"[containers]\ndefault_ulimits = [{limits}]\n[engine]\nruntime = \"runc\"\n"
                            "[network]\nnetwork_backend = \"netavark\"\n")
        self.env = {**os.environ, "CONTAINERS_CONF": str(settings)}

    def run(self, *command, check=True, timeout=300, cwd=None, env=None):
        run = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=timeout, cwd=cwd,
                             env={**self.env, **(env or {})})
        if check and run.returncode:
            raise AssertionError(f"{' '.join(map(str, command))}: exit {run.returncode}\n"
                                 f"{run.stdout[-3000:]}\n{run.stderr[-3000:]}")
        return run

    def podman(self, *arguments, **options):
        return self.run("podman", *arguments, **options)


@pytest.fixture(scope="session")
def engine(tmp_path_factory):
    if os.environ.get("LATHE_SKIP_DEPLOY") == "1":
        pytest.skip("LATHE_SKIP_DEPLOY=1")
    for program in ("podman", "podman-compose"):
        assert shutil.which(program), f"{program} is missing: run scripts/setup.sh --deploy, or set LATHE_SKIP_DEPLOY=1"
    return Engine(tmp_path_factory.mktemp("engine"))


@pytest.fixture(scope="session")
def images(engine):
    """Both images, built as a user would, but for a compiler cache that the host lends."""
    cache = subprocess.run(["ccache", "--get-config", "cache_dir"], capture_output=True, text=True, check=True).stdout.strip()
    pathlib.Path(cache).mkdir(parents=True, exist_ok=True)
    flags = ["--isolation=chroot", "--network=host"]
    # The compiler cache tells builds with warnings as errors from others: be of the same kind as the one before.
    werror = "ON" if os.environ.get("CI") == "true" else "OFF"
    engine.podman("build", *flags, "--build-arg", f"LATHE_WERROR={werror}", "-v", f"{cache}:/var/cache/ccache", "--target", "lathe", "-t", "localhost/lathe", ROOT, timeout=2100)
    engine.podman("build", *flags, "-t", "localhost/lathe-prometheus", ROOT / "deploy" / "prometheus", timeout=600)


class Deployment:
    """deploy/compose.yaml as it stands, under a project name and ports of its own."""

    def __init__(self, engine, folder):
        self.engine = engine
        self.folder = folder / "deploy"
        shutil.copytree(ROOT / "deploy", self.folder, ignore=shutil.ignore_patterns("secrets"))
        self.project = f"lathe{os.getpid()}"
        self.port, self.prometheus_port = free_port(), free_port()
        self.env = {"LATHE_PORT": str(self.port), "LATHE_PROMETHEUS_PORT": str(self.prometheus_port)}
        self.token = self.folder / "secrets" / "token"

    def compose(self, *arguments, **options):
        return self.engine.run("podman-compose", "-p", self.project, *arguments, cwd=self.folder, env=self.env, **options)

    def up(self):
        self.engine.run(self.folder / "make-secrets.sh")
        self.compose("up", "-d", "--no-build", timeout=300)
        poll("the server", lambda: self.lathe("--connect-timeout", "1", "workers", check=False).returncode == 0)
        poll("two workers", lambda: len(self.workers()) == 2)

    def down(self):
        self.compose("down", "-v", "-t", "40", check=False)

    def containers(self, service):
        """Names of a service's running containers."""
        listed = self.engine.podman("ps", "--filter", f"label=com.docker.compose.project={self.project}", "--format", "json").stdout
        return sorted(c["Names"][0] for c in json.loads(listed or "[]")
                      if c["Labels"]["com.docker.compose.service"] == service)

    def lathe(self, *arguments, check=True, token=None):
        return self.engine.run(BIN / "lathe", "--server", f"127.0.0.1:{self.port}", "--token-file", token or self.token,
                               *arguments, check=check)

    def workers(self):
        return json.loads(self.lathe("--json", "workers").stdout)["workers"]

    def prometheus(self, path, **parameters):
        """The data of an answer of the deployment's Prometheus."""
        url = f"http://127.0.0.1:{self.prometheus_port}/api/v1/{path}?" + urllib.parse.urlencode(parameters)
        with urllib.request.urlopen(url, timeout=10) as answer:
            return json.load(answer)["data"]

    def query(self, expression):
        """An instant query: [(labels, value)]."""
        return [(series["metric"], float(series["value"][1])) for series in self.prometheus("query", query=expression)["result"]]

    def rules(self):
        return [rule for group in self.prometheus("rules")["groups"] for rule in group["rules"]]

    def logs(self, name):
        run = self.engine.podman("logs", name)
        return run.stdout + run.stderr


@pytest.fixture(scope="module")
def deployment(engine, images, tmp_path_factory):
    one = Deployment(engine, tmp_path_factory.mktemp("compose"))
    try:
        one.up()
        yield one
    finally:
        one.down()


@pytest.fixture(scope="session")
def digits_model(tmp_path_factory):
    """A trained digits classifier (examples/train_digits.py)."""
    path = tmp_path_factory.mktemp("digits") / "digits.onnx"
    subprocess.run([sys.executable, ROOT / "examples" / "train_digits.py", "--output", path], check=True, capture_output=True)
    return path
