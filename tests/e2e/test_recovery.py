"""Dead and frozen workers, dead servers, late results: every job ends once, in one state."""

import json
import os
import signal
import socket
import subprocess

from conftest import BIN, job_processes, wait_for
from test_cli import INT8, big_matmul_model
from test_faults import SLOW

TERMINAL = ("JOB_STATE_SUCCEEDED", "JOB_STATE_FAILED", "JOB_STATE_CANCELLED")


def events(server, job):
    return [json.loads(line) for line in server.lathe("--json", "watch", job).stdout.splitlines()]


def states(server, job):
    return [e["state_change"]["state"] for e in events(server, job) if e.get("state_change")]


def slow_model(server, tmp_path, layers=6, width=1024):
    return server.lathe("upload", big_matmul_model(tmp_path / "slow.onnx", layers=layers, width=width)).stdout.strip()


def test_50_pending_and_5_running_jobs_survive_kill_9(new_server, new_worker, tmp_path, digits_model):
    server = new_server(workers=2, flags=["--lease-seconds", "5", "--retry-seconds", "0.2"]).start()
    # Two local workers die with the server; three slots elsewhere outlive it and keep their leases.
    new_worker(server.address, "elsewhere", flags=["--slots", "3"])
    slow = slow_model(server, tmp_path, layers=4, width=768)
    quick = server.lathe("upload", digits_model).stdout.strip()
    jobs = [server.lathe("submit", slow, *SLOW, "--seed", i, "--priority", 1).stdout.strip() for i in range(5)]
    jobs += [server.lathe("submit", quick, *INT8, "--seed", i).stdout.strip() for i in range(50)]
    wait_for(lambda: len(server.lathe_json("jobs", "--state", "running")["jobs"]) == 5 or
             server.lathe_json("jobs", "--state", "succeeded")["jobs"], what="five running jobs")
    server.kill()
    server.restart()
    for job in jobs:
        server.lathe("wait", job, "--timeout", "240s", timeout=260)
        seen = states(server, job)
        assert seen[-1] == "JOB_STATE_SUCCEEDED" and sum(s in TERMINAL for s in seen) == 1, (job, seen)
    assert len(server.lathe_json("jobs", "-n", 1000)["jobs"]) == len(jobs)


def test_a_local_workers_death_is_known_at_once(new_server, tmp_path):
    """Not after a whole lease: its parent sees it die."""
    server = new_server(workers=1, flags=["--lease-seconds", "3000", "--retry-seconds", "0.2"]).start()
    job = server.lathe("submit", slow_model(server, tmp_path), *SLOW).stdout.strip()
    wait_for(lambda: job_processes(server.process.pid), what="a job process")
    [worker] = subprocess.run(["pgrep", "-P", str(server.process.pid)], capture_output=True, text=True).stdout.split()
    first = server.lathe_json("job", job)["worker"]
    os.kill(int(worker), signal.SIGKILL)
    assert server.lathe("wait", job, "--timeout", "240s", timeout=260).stdout.strip() == "SUCCEEDED"
    shown = server.lathe_json("job", job)
    assert shown["attempt_count"] == 2 and shown["worker"] != first
    errors = [e["state_change"]["error"] for e in events(server, job) if e.get("state_change", {}).get("error")]
    assert any(e["reason"] == "JOB_ERROR_REASON_WORKER_CRASHED" and first in e["message"] and "signal 9" in e["message"]
               for e in errors), errors
    assert server.metric("lathe_lease_expirations_total") == 0
    lost = {w["name"]: w["state"] for w in server.lathe_json("workers")["workers"]}
    assert lost[first] == "WORKER_STATE_LOST", lost


def test_a_worker_that_dies_elsewhere_loses_its_lease(new_server, new_worker, tmp_path):
    server = new_server(workers=0, flags=["--lease-seconds", "3", "--retry-seconds", "0.2"]).start()
    job = server.lathe("submit", slow_model(server, tmp_path), *SLOW).stdout.strip()
    first = new_worker(server.address, "first")
    [process] = wait_for(lambda: job_processes(first.process.pid), what="a job process")
    first.process.kill()
    wait_for(lambda: not os.path.exists(f"/proc/{process}"), what="the job process to die with its worker")
    new_worker(server.address, "second")
    assert server.lathe("wait", job, "--timeout", "240s", timeout=260).stdout.strip() == "SUCCEEDED"
    assert server.lathe_json("job", job)["worker"].startswith("workers/second-")
    assert server.metric("lathe_lease_expirations_total") == 1


def test_a_frozen_workers_late_result_changes_nothing(new_server, new_worker, tmp_path):
    server = new_server(workers=0, flags=["--lease-seconds", "2", "--retry-seconds", "0.2"]).start()
    job = server.lathe("submit", slow_model(server, tmp_path), *SLOW).stdout.strip()
    frozen = new_worker(server.address, "frozen")
    wait_for(lambda: job_processes(frozen.process.pid), what="a job process")
    frozen.process.send_signal(signal.SIGSTOP)  # its job process works on, and has a result when it wakes
    wait_for(lambda: server.lathe_json("job", job)["state"] == "JOB_STATE_PENDING", what="the lease to be lost")
    new_worker(server.address, "other")
    assert server.lathe("wait", job, "--timeout", "240s", timeout=260).stdout.strip() == "SUCCEEDED"
    done = server.lathe_json("job", job)
    assert done["worker"].startswith("workers/other-") and done["attempt_count"] == 2
    frozen.process.send_signal(signal.SIGCONT)
    # Either it notices by itself that its lease is gone, or the server tells it.
    wait_for(lambda: "its lease is lost" in frozen.log() or "result thrown away" in frozen.log(), what="the late end")
    assert server.lathe_json("job", job) == done
    assert sum(s in TERMINAL for s in states(server, job)) == 1
    assert len([m for m in server.lathe_json("models")["models"] if m["source_job"] == job]) == 1
    assert frozen.process.poll() is None  # and it works on


def test_a_late_completion_is_rejected_and_counted(new_server, new_worker, digits_model):
    """The same where nothing is left to chance: a worker made of RPCs."""
    server = new_server(workers=0, flags=["--lease-seconds", "1", "--retry-seconds", "0"]).start()
    job = server.lathe("submit", server.lathe("upload", digits_model).stdout.strip(), *INT8).stdout.strip()
    lease = server.grpcurl("lathe.v1.WorkerService/Synchronize", {"worker_id": "sleepy", "slots": 1})["start"][0]
    token = lease.get("lease_token", lease.get("leaseToken"))
    wait_for(lambda: server.lathe_json("job", job)["state"] == "JOB_STATE_PENDING", what="the lease to be lost")
    failure = {"worker_id": "sleepy", "job": job, "lease_token": token,
               "failure": {"reason": "JOB_ERROR_REASON_INTERNAL", "message": "late"}}
    rejected = server.grpcurl("lathe.v1.WorkerService/CompleteAttempt", failure, check=False)
    assert isinstance(rejected, str) and "Aborted" in rejected and "STALE_LEASE" in rejected, rejected
    new_worker(server.address, "other")
    server.lathe("wait", job)
    done = server.lathe_json("job", job)
    assert done["state"] == "JOB_STATE_SUCCEEDED"
    files = [{"path": f["path"], "digest": f["digest"]} for f in done["result"]["files"]]
    success = {"worker_id": "sleepy", "job": job, "lease_token": token,
               "success": {"files": files, "main_file": files[0]["path"], "report_digest": files[0]["digest"]}}
    rejected = server.grpcurl("lathe.v1.WorkerService/CompleteAttempt", success, check=False)
    assert isinstance(rejected, str) and "Aborted" in rejected and "STALE_LEASE" in rejected, rejected
    assert server.lathe_json("job", job) == done
    assert server.metric("lathe_stale_completions_rejected_total") == 2


def test_a_client_finds_a_server_that_starts_after_it(new_server):
    """gRPC looks at a connection being made only while somebody waits for it: retries that merely slept saw each attempt
    end at its own deadline of 5 s, which this client does not have."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    client = subprocess.Popen([BIN / "lathe", "--server", address, "--connect-timeout", "4.5", "workers"],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert "trying again" in client.stderr.readline()
    new_server().start(listen=address)
    _, errors = client.communicate(timeout=60)
    assert client.returncode == 0, errors
