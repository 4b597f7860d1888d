"""Disks that are full: at the worker, in its cache and in its work folder. (The server's: test_faults.py.)"""

import os
import subprocess

import bad_models as bad
import pytest
from conftest import wait_for
from test_bad_input import INT8, PRUNE

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small tmpfs needs root")


@pytest.fixture
def small_worker(new_server):
    """A server whose local worker has a disk of 6 MiB."""
    server = new_server(workers=1, flags=["--max-attempts", "2", "--retry-seconds", "0"])
    disk = server.data / "workers"
    disk.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", disk], check=True)
    try:
        yield server.start()
        server.stop()
    finally:
        if server.process and server.process.poll() is None:
            server.process.kill()
            server.process.wait()
        subprocess.run(["umount", "-l", disk], check=True)


def model(path, width, seed=0):
    path.write_bytes(bad.model_of([bad.matmul("fc1")], [bad.weight("w", (width, width), seed)], width=width)
                     .SerializeToString())
    return path


@pytest.mark.parametrize("width, words", [
    (1500, ["No space left", "cache", "free space"]),  # 9 MB: cannot even be fetched
    (1100, ["No space left", "m.onnx", "free space"]),  # 4.8 MB: its result has no room beside it
])
def test_a_full_disk_at_the_worker_is_named_and_passes(small_worker, tmp_path, width, words):
    server = small_worker
    run = server.lathe("compress", model(tmp_path / "m.onnx", width), "-o", tmp_path / "o.onnx", *PRUNE, check=False)
    assert run.returncode == 3, run.stderr
    [job] = server.lathe_json("jobs")["jobs"]
    # Another try may find room, so there is one; each says what it was.
    assert job["attempt_count"] == 2 and job["error"]["reason"] == "JOB_ERROR_REASON_ATTEMPTS_EXHAUSTED"
    assert "DISK_FULL" in job["error"]["message"]
    for word in words:
        assert word in job["error"]["message"], job["error"]
    # What it left behind does not stop the next: one that fits only an empty disk.
    server.lathe("compress", model(tmp_path / "m.onnx", 800, seed=1), "-o", tmp_path / "o.onnx", *PRUNE)
    server.lathe("compress", model(tmp_path / "m.onnx", 800, seed=2), "-o", tmp_path / "o.onnx", *INT8)
    wait_for(lambda: not list(server.data.glob("workers/**/attempt-*")), what="the work folder to be gone")
    assert "local worker ended" not in server.log()


def test_a_full_disk_at_the_only_attempt_is_its_own_reason(small_worker, tmp_path):
    small_worker.stop()
    small_worker.flags[1] = "1"
    small_worker.restart()
    run = small_worker.lathe("compress", model(tmp_path / "m.onnx", 1500), "-o", tmp_path / "o.onnx", *PRUNE, check=False)
    assert run.returncode == 3 and "DISK_FULL" in run.stderr and "No space left" in run.stderr, run.stderr
    [job] = small_worker.lathe_json("jobs")["jobs"]
    assert job["error"]["reason"] == "JOB_ERROR_REASON_DISK_FULL"
