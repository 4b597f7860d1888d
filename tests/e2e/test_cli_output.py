"""What a person sees: progress, results and real trouble, and no log lines unless asked for."""

import re

from conftest import lathe

STEP = ["--step", "quantize_weights:bits=8"]
PRIVATE = {"LATHE_SERVER": ""}


def kept_log(stderr):
    return re.search(r"^lathe: the private server's log is in (\S+)$", stderr, re.MULTILINE)


def test_a_compression_that_works_shows_progress_and_nothing_else(digits_model, tmp_path):
    run = lathe("compress", digits_model, "-o", tmp_path / "s.onnx", *STEP, env={**PRIVATE, "TMPDIR": str(tmp_path)})
    for line in run.stderr.splitlines():
        assert re.match(r"(upload|job|download): ", line), run.stderr
    assert "sandbox" not in run.stderr and "info" not in run.stderr
    quiet = lathe("--quiet", "compress", digits_model, "-o", tmp_path / "s.onnx", *STEP,
                  env={**PRIVATE, "TMPDIR": str(tmp_path)})
    assert quiet.stderr == ""
    assert [p.name for p in tmp_path.iterdir()] == ["s.onnx"]


def test_verbose_shows_the_jobs_log_and_keeps_the_servers(digits_model, tmp_path):
    run = lathe("--verbose", "compress", digits_model, "-o", tmp_path / "s.onnx", *STEP,
                env={**PRIVATE, "TMPDIR": str(tmp_path)})
    assert "log: sandbox: " in run.stderr
    log = open(kept_log(run.stderr)[1]).read()
    assert "serving" in log and "sandbox: " in log


def test_a_failure_tells_where_the_log_is(tmp_path):
    garbage = tmp_path / "garbage.onnx"
    garbage.write_bytes(b"\x00\x01 this is no model" * 50)
    run = lathe("compress", garbage, "-o", tmp_path / "s.onnx", *STEP, check=False,
                env={**PRIVATE, "TMPDIR": str(tmp_path)})
    assert run.returncode == 3 and "INVALID_MODEL" in run.stderr
    assert "attempt failed" in open(kept_log(run.stderr)[1]).read()


def test_wrong_usage_starts_no_server_and_leaves_no_log(digits_model, tmp_path):
    run = lathe("compress", digits_model, "-o", tmp_path / "s.onnx", "--step", "quantize_weights:bits=9", check=False,
                env={**PRIVATE, "TMPDIR": str(tmp_path)})
    assert run.returncode == 2 and kept_log(run.stderr) is None
    assert list(tmp_path.iterdir()) == []


def test_an_output_that_cannot_be_written_is_no_matter_of_credentials(server, digits_model, tmp_path):
    (tmp_path / "file").write_text("")
    run = server.lathe("compress", digits_model, "-o", tmp_path / "file" / "s.onnx", *STEP, check=False)
    assert run.returncode == 1 and "cannot write" in run.stderr
