"""CI does not pass over a test that it could have run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = """
import pytest

def test_allowed():
    pytest.skip("no test data at /shared")

def test_forgotten():
    pytest.skip("lung1_image.nrrd was not fetched (make setup)")

@pytest.mark.skipif(True, reason="not installed: PySide6")
def test_marked():
    pass

@pytest.mark.xfail
def test_known_to_fail():
    assert False
"""


def outcome(folder: Path, tests: str, ci: str) -> tuple[int, str]:
    (folder / "test_it.py").write_text(tests)
    environment = {**os.environ, "CI": ci, "PYTHONPATH": str(Path(__file__).parent)}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "skips", "-p", "no:cacheprovider", "--rootdir", ".", "."]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout


@pytest.mark.parametrize("ci", ["", "0", "false"])
def test_elsewhere_a_skip_is_a_skip(tmp_path: Path, ci: str) -> None:
    code, said = outcome(tmp_path, TESTS, ci)
    assert code == 0, said
    assert "3 skipped, 1 xfailed" in said


@pytest.mark.parametrize("ci", ["true", "1"])
def test_under_ci_a_skip_that_is_not_listed_is_a_failure(tmp_path: Path, ci: str) -> None:
    code, said = outcome(tmp_path, TESTS, ci)
    assert code == 1
    assert "1 failed, 1 skipped, 1 xfailed, 1 error" in said  # what a mark skips ends before its test
    assert "lung1_image.nrrd was not fetched" in said


def test_under_ci_a_file_of_tests_that_is_skipped_is_a_failure_too(tmp_path: Path) -> None:
    code, said = outcome(tmp_path, "import pytest\npytest.importorskip('no_such_package')", "true")
    assert code != 0
    assert "could not import 'no_such_package'" in said
