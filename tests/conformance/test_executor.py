"""The executor against ONNX's own node tests and against ONNX Runtime on real models."""

import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import ops_table  # noqa: E402
from onnx_cases import cases, run_cases  # noqa: E402

DOCUMENT = pathlib.Path(__file__).parents[2] / "docs" / "ops.md"


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    return run_cases(cases(), tmp_path_factory.mktemp("cases"))


def test_no_case_gives_a_wrong_answer_or_a_crash(outcomes):
    wrong = [outcome for outcome in outcomes if outcome.status == "fail" and outcome.name not in ops_table.KNOWN_FAILURES]
    assert not wrong, "\n".join(f"{outcome.name}: {outcome.detail}" for outcome in wrong)


def test_known_failures_still_fail(outcomes):
    passing = [o.name for o in outcomes if o.status == "pass" and o.name in ops_table.KNOWN_FAILURES]
    assert not passing, "these cases pass now: take them off the list"


def test_of_the_ops_that_common_models_use_95_percent_of_the_cases_pass(outcomes):
    common = [outcome for outcome in outcomes if outcome.op in ops_table.COMMON_OPS]
    assert len(common) > 600
    passed = sum(outcome.status == "pass" for outcome in common)
    assert passed >= 0.95 * len(common), [o for o in common if o.status != "pass"]


def test_the_document_says_what_was_seen(outcomes):
    assert DOCUMENT.read_text(encoding="utf-8") == ops_table.document(outcomes), (
        "docs/ops.md is out of date: run `.venv/bin/python tests/conformance/ops_table.py`")
