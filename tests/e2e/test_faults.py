"""What the service promises when processes die: durability, recovery, leases, poison, drain, full disks."""

import concurrent.futures
import json
import os
import random
import signal
import subprocess
import time

import numpy as np
import pytest
from conftest import BIN, job_processes, wait_for
from test_cli import INT8, big_matmul_model

SLOW = ["--step", "low_rank:energy=0.5,algorithm=exact"]


def test_acknowledged_jobs_survive_kill_9(new_server, digits_model):
    server = new_server(workers=0).start()
    model = server.lathe("upload", digits_model).stdout.strip()
    rng = random.Random(7)
    acknowledged = {}
    for life in range(3):
        def submit(i):
            key = f"life{life}-{i}"
            run = server.lathe("--connect-timeout", 0, "submit", model, *INT8, "--seed", i, "--request-id", key, check=False)
            return key, run.stdout.strip() if run.returncode == 0 else None
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            futures = [pool.submit(submit, i) for i in range(40)]
            # Whatever the machine's pace, some are answered and some are under way.
            next(concurrent.futures.as_completed(futures)).result()
            time.sleep(rng.uniform(0, 0.3))
            server.kill()
            for future in futures:
                key, name = future.result()
                if name:
                    acknowledged[key] = name
        server.restart()
        listed = {j["name"] for j in server.lathe_json("jobs", "-n", 1000)["jobs"]}
        missing = set(acknowledged.values()) - listed
        assert not missing, missing
    assert acknowledged, "no job was acknowledged before the kill"
    for key, name in list(acknowledged.items())[:10]:
        seed = key.split("-")[1]
        assert server.lathe("submit", model, *INT8, "--seed", seed, "--request-id", key).stdout.strip() == name


def test_a_killed_job_process_costs_one_attempt_and_says_what_it_was(new_server, tmp_path):
    server = new_server(workers=1).start()
    model = server.lathe("upload", big_matmul_model(tmp_path / "m.onnx", layers=8, width=1024)).stdout.strip()
    job = server.lathe("submit", model, *SLOW).stdout.strip()
    os.kill(wait_for(lambda: job_processes(server.process.pid), what="a job process")[0], signal.SIGSEGV)
    assert server.lathe("wait", job, "--timeout", "180s").stdout.strip() == "SUCCEEDED"
    shown = server.lathe_json("job", job)
    assert shown["attempt_count"] == 2
    events = [json.loads(line) for line in server.lathe("--json", "watch", job).stdout.splitlines()]
    errors = [e["state_change"]["error"] for e in events if e.get("state_change", {}).get("error")]
    assert any(e["reason"] == "JOB_ERROR_REASON_WORKER_CRASHED" and "SIGSEGV" in e["message"] for e in errors), errors


def test_poison_stops_at_max_attempts_and_others_finish(new_server, tmp_path, digits_model):
    server = new_server(workers=1, flags=["--max-attempts", "2"]).start()
    model = server.lathe("upload", big_matmul_model(tmp_path / "m.onnx", layers=8, width=1024)).stdout.strip()
    poison = server.lathe("submit", model, *SLOW).stdout.strip()
    for _ in range(2):
        os.kill(wait_for(lambda: job_processes(server.process.pid), what="a job process")[0], signal.SIGKILL)
        wait_for(lambda: not job_processes(server.process.pid) or server.lathe_json("job", poison)["state"] != "JOB_STATE_RUNNING")
    run = server.lathe("wait", poison, "--timeout", "60s", check=False)
    assert run.returncode == 3
    error = server.lathe_json("job", poison)["error"]
    assert error["reason"] in ("JOB_ERROR_REASON_ATTEMPTS_EXHAUSTED", "JOB_ERROR_REASON_WORKER_OOM_KILLED",
                               "JOB_ERROR_REASON_WORKER_CRASHED"), error
    good = server.lathe("submit", server.lathe("upload", digits_model).stdout.strip(), *INT8).stdout.strip()
    assert server.lathe("wait", good).stdout.strip() == "SUCCEEDED"


def test_cancel_pending_and_running(new_server, tmp_path, digits_model):
    server = new_server(workers=1).start()
    slow = server.lathe("upload", big_matmul_model(tmp_path / "m.onnx", layers=20, width=1024)).stdout.strip()
    running = server.lathe("submit", slow, *SLOW).stdout.strip()
    pending = server.lathe("submit", slow, *SLOW, "--seed", 1).stdout.strip()
    wait_for(lambda: job_processes(server.process.pid), what="a job process")
    started = time.monotonic()
    assert server.lathe_json("cancel", pending)["state"] == "JOB_STATE_CANCELLED"
    assert time.monotonic() - started < 5
    server.lathe("cancel", running)
    assert server.lathe("wait", running, "--timeout", "30s", check=False).returncode == 4
    wait_for(lambda: not job_processes(server.process.pid), seconds=15, what="the job process to be gone")
    # No artifact remains: no result, no report, no model, nothing in the worker's folder.
    for job in (running, pending):
        assert not server.lathe_json("job", job).get("result")
        assert "NO_REPORT" in server.grpcurl("lathe.v1.JobService/GetReport", {"name": job}, check=False)
    assert [m["name"] for m in server.lathe_json("models")["models"]] == [slow]
    wait_for(lambda: not list(server.data.glob("workers/**/attempt-*")), what="the work folder to be gone")


def test_cancelling_a_hung_job_process_kills_it(new_server, tmp_path, digits_model):
    server = new_server(workers=1).start()
    slow = server.lathe("upload", big_matmul_model(tmp_path / "m.onnx", layers=20, width=1024)).stdout.strip()
    job = server.lathe("submit", slow, *SLOW).stdout.strip()
    [process] = wait_for(lambda: job_processes(server.process.pid), what="a job process")
    os.kill(process, signal.SIGSTOP)  # deaf to SIGTERM
    server.lathe("cancel", job)
    assert server.lathe("wait", job, "--timeout", "60s", check=False).returncode == 4
    wait_for(lambda: not os.path.exists(f"/proc/{process}"), what="the job process to be gone")
    server.lathe("compress", digits_model, "-o", tmp_path / "o.onnx", *INT8)


def test_sigterm_drains_and_the_interrupted_attempt_does_not_count(new_server, tmp_path):
    server = new_server(workers=1, flags=["--drain-seconds", "1"]).start()
    model = server.lathe("upload", big_matmul_model(tmp_path / "m.onnx", layers=20, width=1024)).stdout.strip()
    job = server.lathe("submit", model, *SLOW).stdout.strip()
    wait_for(lambda: job_processes(server.process.pid), what="a job process")
    assert server.stop() == 0
    server.workers = 0
    server.restart()
    shown = server.lathe_json("job", job)
    assert shown["state"] == "JOB_STATE_PENDING" and shown["attempt_count"] == 0, shown


def test_two_servers_on_one_data_dir(new_server):
    first = new_server(workers=0).start()
    run = subprocess.run([BIN / "lathed", "--data-dir", first.data, "--listen", "127.0.0.1:0", "--metrics-listen",
                          "127.0.0.1:0", "--local-workers", "0"], capture_output=True, text=True, timeout=30)
    assert run.returncode == 1
    assert str(first.process.pid) in run.stderr and str(first.data) in run.stderr
    assert first.lathe("models").returncode == 0  # the first goes on
    first.kill()
    first.restart()  # and a dead one leaves nothing that would keep the next out


def test_beyond_loopback_needs_a_token_and_tls(tmp_path):
    run = subprocess.run([BIN / "lathed", "--data-dir", tmp_path / "d", "--listen", "0.0.0.0:0", "--local-workers", "0"],
                         capture_output=True, text=True, timeout=30)
    assert run.returncode == 2
    assert "token" in run.stderr and "tls" in run.stderr.lower()


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small tmpfs needs root")
def test_a_full_disk_is_a_clear_error_and_loses_nothing(new_server, tmp_path, digits_model):
    server = new_server(workers=0)
    server.data.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", server.data], check=True)
    try:
        server.start()
        model = server.lathe("upload", digits_model).stdout.strip()
        big = tmp_path / "big.onnx"
        big.write_bytes(np.random.default_rng(0).bytes(20 << 20))
        run = server.lathe("upload", big, check=False)
        assert run.returncode == 1
        assert "space" in run.stderr.lower() or "full" in run.stderr.lower(), run.stderr
        assert server.process.poll() is None
        assert server.lathe("submit", model, *INT8).stdout.startswith("jobs/")
        assert model in server.lathe("models").stdout
        server.kill()
        server.restart()
        assert model in server.lathe("models").stdout and len(server.lathe_json("jobs")["jobs"]) == 1
        again = tmp_path / "small.onnx"
        again.write_bytes(np.random.default_rng(1).bytes(1 << 20))
        assert server.lathe("upload", again).stdout.startswith("models/")  # what did not fit took no room
        server.stop()
    finally:
        server.process.kill()
        server.process.wait()
        subprocess.run(["umount", "-l", server.data], check=True)


def test_fifty_trivial_jobs_all_finish(new_server, digits_model):
    server = new_server(workers=2).start()
    model = server.lathe("upload", digits_model).stdout.strip()
    jobs = [server.lathe("submit", model, *INT8, "--seed", i).stdout.strip() for i in range(50)]
    for job in jobs:
        assert server.lathe("wait", job).stdout.strip() == "SUCCEEDED"
    digests = {server.lathe_json("job", j)["result"]["files"][0]["digest"] for j in jobs}
    assert len(digests) == 1  # the seed changes nothing here, and nothing else does
