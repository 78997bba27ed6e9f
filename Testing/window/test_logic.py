"""The self-tests of the module's logic, on slicer-core instead of the application."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

STANDIN = Path(__file__).parent / "slicer_core_standin.py"


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("slicer") is None, reason="slicer-core is not installed")
def test_the_self_tests_of_the_logic_pass_on_slicer_core(tmp_path: Path) -> None:
    # In a process of its own: the stand-ins must not be met by other tests.
    done = subprocess.run(
        [sys.executable, str(STANDIN), str(tmp_path)], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    assert "OK" in done.stdout
