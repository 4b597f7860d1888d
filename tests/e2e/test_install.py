"""`cmake --install` gives binaries, headers and a CMake package that another project can build with."""

import pathlib
import subprocess

import pytest

from conftest import BIN

CONSUMER = pathlib.Path(__file__).parent / "install_consumer"


def run(*command):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, f"{command}:\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def prefix(tmp_path_factory):
    folder = tmp_path_factory.mktemp("prefix")
    run("cmake", "--install", BIN.parent, "--prefix", folder)
    return folder


@pytest.fixture(scope="module")
def consumer(prefix, tmp_path_factory):
    build = tmp_path_factory.mktemp("consumer")
    run("cmake", "-S", CONSUMER, "-B", build, "-DCMAKE_BUILD_TYPE=Release", f"-DCMAKE_PREFIX_PATH={prefix}")
    run("cmake", "--build", build)
    return build


@pytest.mark.parametrize("program", ["lathed", "lathe-worker", "lathe"])
def test_installed_programs_run(prefix, program):
    assert "0.1" in run(prefix / "bin" / program, "--version")


def test_job_program_is_beside_the_worker(prefix):
    assert (prefix / "bin" / "lathe-job").is_file()


def test_client_package_talks_to_a_server(consumer, server):
    assert "quantize_weights" in run(consumer / "use_client", server.address).split()


def test_engine_package_compresses(consumer, digits_model, tmp_path):
    ratio = float(run(consumer / "use_engine", digits_model.parent, digits_model.name, tmp_path))
    assert ratio > 2
    small = tmp_path / digits_model.name
    assert small.stat().st_size * 2 < digits_model.stat().st_size
    assert small.read_bytes() != digits_model.read_bytes()
