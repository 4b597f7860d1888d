"""The compose deployment, driven for real: first job, health, metrics in Prometheus, restarts, drain."""

import json
import re
import time

import numpy as np
from conftest import ROOT, poll


def run_ort(path, image):
    import onnxruntime as ort
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: image})[0]


def compress(deployment, model, output, *more):
    return json.loads(deployment.lathe("--json", "compress", model, "-o", output,
                                       "--step", "quantize_weights:bits=8", *more).stdout)


def test_a_first_job(deployment, digits_model, tmp_path):
    compress(deployment, digits_model, tmp_path / "small.onnx")
    image = np.random.default_rng(1).uniform(0, 16, (1, 64)).astype(np.float32)
    assert (tmp_path / "small.onnx").stat().st_size < 0.5 * digits_model.stat().st_size
    before, after = run_ort(digits_model, image), run_ort(tmp_path / "small.onnx", image)
    assert np.argmax(before) == np.argmax(after)


def test_nobody_in_without_the_token(deployment, tmp_path):
    wrong = tmp_path / "token"
    wrong.write_text("0123456789abcdef0123456789abcdef")
    refused = deployment.lathe("jobs", check=False, token=wrong)
    assert refused.returncode == 5 and "token" in refused.stderr, refused.stderr


def test_all_run_as_an_ordinary_user(deployment, engine):
    for service in ("lathed", "worker"):
        for name in deployment.containers(service):
            assert engine.podman("exec", name, "id", "-u").stdout.strip() == "10001"
    for name in deployment.containers("prometheus"):
        assert engine.podman("exec", name, "id", "-u").stdout.strip() != "0"


def test_health_checks_pass(deployment, engine):
    services = {"lathed": 1, "worker": 2, "prometheus": 1}
    for service, count in services.items():
        names = deployment.containers(service)
        assert len(names) == count, f"{service}: {names}"
        for name in names:
            poll(f"{name} healthy", lambda name=name: engine.podman("healthcheck", "run", name, check=False).returncode == 0)


def test_the_job_sandbox_of_an_ordinary_user(deployment, digits_model, tmp_path):
    """A container may forbid parts of the sandbox; the job's log says which it had, and the job runs either way."""
    job = compress(deployment, digits_model, tmp_path / "small.onnx", "--step", "prune_weights:sparsity=0.1")["job"]["name"]
    (said,) = [line for line in deployment.lathe("logs", job).stdout.splitlines() if "sandbox: " in line]
    assert "seccomp" in said and "limits" in said, said


def test_prometheus_scrapes_server_and_workers(deployment, digits_model, tmp_path):
    compress(deployment, digits_model, tmp_path / "small.onnx")

    def all_up():
        up = {(labels["job"], labels["instance"]): value for labels, value in deployment.query("up")}
        return sorted(job for job, _ in up) == ["lathe-worker", "lathe-worker", "lathed"] and set(up.values()) == {1.0}

    poll("three targets up", all_up)
    poll("a job counted", lambda: sum(v for _, v in deployment.query('lathe_jobs_completed_total{outcome="succeeded"}')) >= 1)
    assert sum(v for _, v in deployment.query('lathe_workers{state="ready"}')) == 2


def test_alert_rules_are_valid_and_name_metrics_that_exist(deployment, engine):
    (prometheus,) = deployment.containers("prometheus")
    engine.podman("exec", prometheus, "promtool", "check", "config", "/etc/lathe/prometheus.yml")
    (lathed,) = deployment.containers("lathed")
    metrics = engine.podman("exec", lathed, "bash", "-c",
                            "exec 3<>/dev/tcp/127.0.0.1/9464; printf 'GET /metrics HTTP/1.0\\r\\n\\r\\n' >&3; cat <&3").stdout
    rules = (ROOT / "deploy" / "prometheus" / "alerts.yml").read_text()
    named = set(re.findall(r"\blathe_\w+", rules))
    assert named
    for name in named:
        assert f"# TYPE {name} " in metrics, name
    poll("every rule evaluated, none firing", lambda: [rule["name"] for rule in deployment.rules()] and
         all((rule["health"], rule["state"]) == ("ok", "inactive") for rule in deployment.rules()))


def test_jobs_and_files_outlive_the_server_container(deployment, engine, digits_model, tmp_path):
    job = compress(deployment, digits_model, tmp_path / "a.onnx", "--step", "fp16")["job"]["name"]
    (lathed,) = deployment.containers("lathed")
    engine.podman("restart", "-t", "40", lathed)
    poll("the server again", lambda: deployment.lathe("job", job, check=False).returncode == 0)
    deployment.lathe("download", job, "-o", tmp_path / "b.onnx")
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()
    poll("workers again", lambda: len(deployment.workers()) >= 2)
    compress(deployment, digits_model, tmp_path / "c.onnx", "--step", "prune_weights:sparsity=0.5")


def test_sigterm_drains_a_worker_and_the_server(deployment, engine, digits_model, tmp_path):
    worker = deployment.containers("worker")[0]
    started = time.monotonic()
    engine.podman("stop", "-t", "40", worker)
    assert engine.podman("inspect", "--format", "{{.State.ExitCode}}", worker).stdout.strip() == "0"
    assert time.monotonic() - started < 40, "killed, not drained"
    compress(deployment, digits_model, tmp_path / "small.onnx", "--step", "prune_weights:sparsity=0.3")
    (lathed,) = deployment.containers("lathed")
    engine.podman("stop", "-t", "40", lathed)
    assert engine.podman("inspect", "--format", "{{.State.ExitCode}}", lathed).stdout.strip() == "0"
