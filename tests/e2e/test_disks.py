"""Disks that are full: at the worker, in its cache and in its work folder. (The server's: test_faults.py.)"""

import contextlib
import os
import subprocess

import bad_models as bad
import pytest
from conftest import wait_for
from test_bad_input import INT8, PRUNE

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small tmpfs needs root")


@contextlib.contextmanager
def small_disk(server, folder, size):
    """Starts the server with a disk of its own, `size` large, at a folder of its data."""
    disk = server.data / folder
    disk.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", disk], check=True)
    try:
        yield server.start()
        server.stop()
    finally:
        if server.process and server.process.poll() is None:
            server.process.kill()
            server.process.wait()
        subprocess.run(["umount", "-l", disk], check=True)


@pytest.fixture
def small_worker(new_server):
    """A server whose local worker has a disk of 6 MiB."""
    server = new_server(workers=1, flags=["--max-attempts", "2", "--retry-seconds", "0"])
    with small_disk(server, "workers", "6m"):
        yield server


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
    server.lathe("compress", model(tmp_path / "m.onnx", 600, seed=1), "-o", tmp_path / "o.onnx", *PRUNE)
    server.lathe("compress", model(tmp_path / "m.onnx", 600, seed=2), "-o", tmp_path / "o.onnx", *INT8)
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


def test_a_result_that_the_server_has_no_room_for(new_server, tmp_path):
    server = new_server(workers=1, flags=["--max-attempts", "1"])
    with small_disk(server, "blobstore", "8m"):
        run = server.lathe("compress", model(tmp_path / "m.onnx", 1100), "-o", tmp_path / "o.onnx", *PRUNE, check=False)
        assert run.returncode == 3, run.stderr
        [job] = server.lathe_json("jobs")["jobs"]
        assert job["error"]["reason"] == "JOB_ERROR_REASON_DISK_FULL" and "space" in job["error"]["message"], job
        server.lathe("compress", model(tmp_path / "m.onnx", 200), "-o", tmp_path / "o.onnx", *PRUNE)


def test_a_result_larger_than_a_worker_may_write(new_server, new_worker, tmp_path):
    server = new_server(workers=0, flags=["--max-attempts", "1"]).start()
    new_worker(server.address, "small", flags=["--file-limit-mb", "1"])
    run = server.lathe("compress", model(tmp_path / "m.onnx", 1100), "-o", tmp_path / "o.onnx", *PRUNE, check=False)
    assert run.returncode == 3, run.stderr
    [job] = server.lathe_json("jobs")["jobs"]
    assert job["error"]["reason"] == "JOB_ERROR_REASON_DISK_FULL", job
    assert "m.onnx" in job["error"]["message"] and "--file-limit-mb" in job["error"]["message"], job
    server.lathe("compress", model(tmp_path / "m.onnx", 200), "-o", tmp_path / "o.onnx", *PRUNE)
