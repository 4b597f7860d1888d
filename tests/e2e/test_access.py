"""Who gets in: TLS with a certificate made here, tokens; and a server whose user is nobody."""

import os
import secrets
import shutil
import subprocess
import tempfile
import pathlib

import pytest
from conftest import BIN, GRPCURL, Server, lathe, wait_for
from test_cli import INT8


@pytest.fixture(scope="module")
def secured(tmp_path_factory):
    """A folder with a certificate for 127.0.0.1 and localhost, its key, a token file and a wrong one."""
    folder = tmp_path_factory.mktemp("secrets")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=lathe test",
                    "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost", "-keyout", folder / "key.pem",
                    "-out", folder / "cert.pem"], check=True, capture_output=True)
    tokens = [secrets.token_hex(32), secrets.token_hex(32)]
    (folder / "tokens").write_text("# of the team\n" + "\n".join(tokens) + "\n")
    (folder / "wrong").write_text(secrets.token_hex(32) + "\n")
    return folder


def tokens_of(folder):
    return (folder / "tokens").read_text().split("\n")[1:3]


@pytest.fixture(params=["127.0.0.1", "0.0.0.0"])
def tls_server(request, secured, new_server):
    server = new_server(workers=1, flags=["--tls-cert", secured / "cert.pem", "--tls-key", secured / "key.pem",
                                          "--auth-token-file", secured / "tokens", "--log-level", "debug"],
                        client_flags=["--tls-ca", secured / "cert.pem", "--token-file", secured / "tokens"])
    server.start(listen=f"{request.param}:0")
    server.address = "127.0.0.1:" + server.address.rsplit(":", 1)[1]
    return server


def test_tls_and_tokens(tls_server, secured, new_worker, digits_model, tmp_path):
    server = tls_server
    # The local worker does a job, and so does one that comes by TLS.
    server.lathe("compress", digits_model, "-o", tmp_path / "o.onnx", *INT8)
    remote = new_worker(server.address, "remote", flags=["--tls-ca", secured / "cert.pem", "--token-file",
                                                         secured / "tokens", "--log-level", "debug"])
    wait_for(lambda: "synchronized with the server" in remote.log(), what="the worker to connect")
    model = server.lathe("upload", digits_model).stdout.strip()
    jobs = [server.lathe("submit", model, *INT8, "--seed", i + 1).stdout.strip() for i in range(12)]
    for job in jobs:
        assert server.lathe("wait", job).stdout.strip() == "SUCCEEDED"
    assert any(server.lathe_json("job", j)["worker"].startswith("workers/remote-") for j in jobs)

    # Every token of the file opens the door; no token and a wrong one do not.
    second = lathe("--server", server.address, "--tls-ca", secured / "cert.pem", "models",
                   env={"LATHE_TOKEN": tokens_of(secured)[1]})
    assert model in second.stdout
    for credentials, words in ([], ["bearer token", "--token-file"]), (["--token-file", secured / "wrong"],
                                                                       ["not one of this server's"]):
        run = lathe("--server", server.address, "--tls-ca", secured / "cert.pem", *credentials, "models", check=False,
                    env={"LATHE_TOKEN": ""})
        assert run.returncode == 5, run.stderr
        for word in words:
            assert word in run.stderr, run.stderr
    refused = subprocess.run([GRPCURL, "-cacert", secured / "cert.pem", "-H", "authorization: Bearer " + "0" * 64, "-d",
                              "{}", server.address, "lathe.v1.ModelService/ListModels"], capture_output=True, text=True)
    assert "Unauthenticated" in refused.stderr and "TOKEN_REFUSED" in refused.stderr, refused.stderr
    intruder = new_worker(server.address, "intruder", flags=["--tls-ca", secured / "cert.pem", "--token-file",
                                                             secured / "wrong"])
    assert intruder.process.wait(timeout=60) == 1 and "not one of this server's" in intruder.log()

    server.stop()
    for log in (server.log(), remote.log(), intruder.log()):
        for token in [*tokens_of(secured), (secured / "wrong").read_text().strip()]:
            assert token not in log


def test_a_client_without_the_authority_is_told_so(tls_server, secured, tmp_path):
    plain = lathe("--server", tls_server.address, "--connect-timeout", 0, "models", check=False)
    assert plain.returncode == 5 and "--tls-ca" in plain.stderr and tls_server.address in plain.stderr, plain.stderr
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=other", "-keyout",
                    tmp_path / "k", "-out", tmp_path / "other.pem"], check=True, capture_output=True)
    other = lathe("--server", tls_server.address, "--tls-ca", tmp_path / "other.pem", "--connect-timeout", 0, "models",
                  check=False)
    assert other.returncode == 5 and "vouches" in other.stderr and "other.pem" in other.stderr, other.stderr


def test_a_certificate_that_cannot_be_read_is_named(secured, tmp_path):
    for cert, key, word in (tmp_path / "none.pem", secured / "key.pem", "none.pem"), (
            secured / "cert.pem", secured / "tokens", "certificate"):
        run = subprocess.run([BIN / "lathed", "--data-dir", tmp_path / "d", "--listen", "127.0.0.1:0", "--metrics-listen",
                              "127.0.0.1:0", "--local-workers", "0", "--tls-cert", cert, "--tls-key", key],
                             capture_output=True, text=True, timeout=60)
        assert run.returncode == 1 and word in run.stderr, run.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become nobody")
def test_all_of_it_as_nobody(digits_model, tmp_path):
    """The job's sandbox without root: what the kernel refuses is told in the job's log, and the job is done."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="lathe-nobody-"))
    try:
        # Where nobody can reach them; a checkout need not be readable by others.
        for name in ("lathed", "lathe-worker", "lathe-job"):
            shutil.copy2(BIN / name, folder / name)
        home = folder / "home"
        home.mkdir()
        for path in (folder, home):
            path.chmod(0o755)
            os.chown(path, 65534, 65534)
        server = Server(home, workers=1, binaries=folder,
                        prefix=["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs"])
        server.start()
        try:
            status = pathlib.Path(f"/proc/{server.process.pid}/status").read_text()
            assert "Uid:\t65534\t65534" in status
            server.lathe("compress", digits_model, "-o", tmp_path / "o.onnx", *INT8)
            [job] = server.lathe_json("jobs")["jobs"]
            assert job["state"] == "JOB_STATE_SUCCEEDED" and job["attempt_count"] == 1
            log = server.lathe("logs", job["name"]).stdout
            assert "sandbox: rlimits" in log and "seccomp" in log, log
            assert ("landlock" in log) and ("netns" in log), log  # applied, or refused and said so
            bad = tmp_path / "bad.onnx"
            bad.write_bytes(b"no model")
            assert "INVALID_MODEL" in server.lathe("compress", bad, "-o", tmp_path / "b.onnx", *INT8, check=False).stderr
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder)
