"""Fixtures: a real lathed with real workers on free ports, the real `lathe` command, real grpcurl.

LATHE_BIN names the folder of the binaries (ctest sets it; default: build/release/bin).
"""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(os.environ.get("LATHE_BIN", ROOT / "build" / "release" / "bin"))
GRPCURL = pathlib.Path(sys.executable).parent / "grpcurl"
sys.path.insert(0, str(ROOT / "examples"))


class Server:
    """A lathed process with a data folder; restartable."""

    def __init__(self, folder, workers=1, flags=(), prefix=(), client_flags=(), binaries=BIN):
        """`prefix` stands before the command (setpriv ...), `client_flags` before every lathe subcommand."""
        self.folder = pathlib.Path(folder)
        self.data = self.folder / "data"
        self.ports_file = self.folder / "ports.json"
        self.log_file = self.folder / "lathed.log"
        self.workers = workers
        self.flags = list(flags)
        self.prefix = list(prefix)
        self.client_flags = list(client_flags)
        self.binaries = binaries
        self.process = None
        self.address = None
        self.metrics_address = None

    def start(self, listen="127.0.0.1:0"):
        self.ports_file.unlink(missing_ok=True)
        with open(self.log_file, "ab") as log:
            self.process = subprocess.Popen(
                [*self.prefix, self.binaries / "lathed", "--data-dir", self.data, "--listen", listen,
                 "--metrics-listen", "127.0.0.1:0", "--port-file", self.ports_file, "--local-workers", str(self.workers), *self.flags],
                stdout=log, stderr=log)
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            if self.ports_file.exists() and self.ports_file.stat().st_size:
                ports = json.loads(self.ports_file.read_text())
                self.address, self.metrics_address = ports["listen"], ports["metrics_listen"]
                return self
            if self.process.poll() is not None:
                raise AssertionError(f"lathed ended with {self.process.returncode}:\n{self.log()}")
            time.sleep(0.02)
        raise AssertionError("lathed did not come up:\n" + self.log())

    def restart(self):
        """Starts it again on the same port, so that clients find it."""
        return self.start(listen=self.address)

    def kill(self, sig=signal.SIGKILL):
        self.process.send_signal(sig)
        return self.process.wait(timeout=60)

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(timeout=60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                raise AssertionError("lathed did not end on SIGTERM:\n" + self.log())
        return self.process.returncode if self.process else None

    def log(self):
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    def lathe(self, *args, check=True, env=None, timeout=300):
        """Runs the lathe command against this server; returns the CompletedProcess."""
        return lathe("--server", self.address, *self.client_flags, *args, check=check, env=env, timeout=timeout)

    def lathe_json(self, *args, **kwargs):
        return json.loads(self.lathe("--json", *args, **kwargs).stdout)

    def grpcurl(self, method, request, check=True):
        run = subprocess.run([GRPCURL, "-plaintext", "-max-msg-sz", str(64 << 20), "-d", "@", self.address, method],
                             input=json.dumps(request), capture_output=True, text=True, timeout=300)
        if check and run.returncode:
            raise AssertionError(f"grpcurl {method}: {run.stderr}")
        return json.loads(run.stdout) if not run.returncode else run.stderr

    def metrics(self):
        import urllib.request
        with urllib.request.urlopen(f"http://{self.metrics_address}/metrics", timeout=10) as answer:
            return answer.read().decode()

    def metric(self, name):
        """A metric's value, summed over its labels; 0 when it has none yet."""
        rows = [line.rsplit(" ", 1) for line in self.metrics().splitlines() if not line.startswith("#")]
        return sum(float(value) for key, value in rows if key.split("{")[0] == name)


class Worker:
    """A lathe-worker process that no server looks after."""

    def __init__(self, folder, server, name, flags=()):
        self.log_file = pathlib.Path(folder) / f"{name}.log"
        with open(self.log_file, "ab") as log:
            self.process = subprocess.Popen(
                [BIN / "lathe-worker", "--server", server, "--name", name, "--cache-dir",
                 pathlib.Path(folder) / f"{name}.cache", *flags], stdout=log, stderr=log)

    def log(self):
        return self.log_file.read_text(errors="replace")


def lathe(*args, check=True, env=None, timeout=300):
    run = subprocess.run([BIN / "lathe", *map(str, args)], capture_output=True, text=True, timeout=timeout,
                         env={**os.environ, **(env or {})})
    if check and run.returncode:
        raise AssertionError(f"lathe {' '.join(map(str, args))}: exit {run.returncode}\n{run.stderr}")
    return run


@pytest.fixture(scope="session")
def digits_model(tmp_path_factory):
    """A trained digits classifier (examples/train_digits.py)."""
    path = tmp_path_factory.mktemp("digits") / "digits.onnx"
    subprocess.run([sys.executable, ROOT / "examples" / "train_digits.py", "--output", path], check=True,
                   capture_output=True)
    return path


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A server with one local worker, shared by a file's tests."""
    started = Server(tmp_path_factory.mktemp("server")).start()
    yield started
    started.stop()


@pytest.fixture
def new_server(tmp_path):
    """Makes servers of one's own: new_server(workers=2, flags=[...]), not yet started."""
    made = []

    def make(**kwargs):
        folder = tmp_path / f"server{len(made)}"
        folder.mkdir()
        made.append(Server(folder, **kwargs))
        return made[-1]

    yield make
    for one in made:
        if one.process and one.process.poll() is None:
            one.process.kill()
            one.process.wait()


@pytest.fixture
def new_worker(tmp_path):
    """Starts workers that no server looks after: new_worker(server_address, name, flags=[...])."""
    made = []

    def make(*args, **kwargs):
        made.append(Worker(tmp_path, *args, **kwargs))
        return made[-1]

    yield make
    for one in made:
        if one.process.poll() is None:
            one.process.kill()
            one.process.wait()


def wait_for(condition, seconds=60, what="condition"):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.05)
    raise AssertionError(f"timed out waiting for {what}")


def job_processes(above):
    """Pids of lathe-job processes below a process."""
    out = subprocess.run(["ps", "-eo", "pid,ppid,comm"], capture_output=True, text=True, check=True).stdout
    children = {}
    for line in out.splitlines()[1:]:
        pid, ppid, comm = line.split(None, 2)
        children.setdefault(int(ppid), []).append((int(pid), comm.strip()))
    found, queue = [], [above]
    while queue:
        for pid, comm in children.get(queue.pop(), []):
            queue.append(pid)
            if comm == "lathe-job":
                found.append(pid)
    return found


def run_ort(path, feeds, outputs=None):
    """Outputs of a model in stock ONNX Runtime, default settings, by name."""
    import onnxruntime as ort
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = outputs or [o.name for o in session.get_outputs()]
    return dict(zip(names, session.run(names, feeds)))


def sqnr_db(reference, value):
    """Signal to quantization noise, 10 log10(sum x^2 / sum (x - y)^2)."""
    reference, value = np.asarray(reference, np.float64), np.asarray(value, np.float64)
    noise = np.sum((reference - value) ** 2)
    return float("inf") if noise == 0 else 10 * np.log10(np.sum(reference ** 2) / noise)
