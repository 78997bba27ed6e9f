"""The window in the harness: the tests of ``harness/``, in a process of their own.

There, stand-ins take the places of Slicer's Python modules, which no other test may meet. To work on one of them:
``.venv/bin/pytest Testing/window/harness/test_scanning.py``.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

HARNESS = Path(__file__).parent / "harness"
FILES = sorted(path.name for path in HARNESS.glob("test_*.py"))
NEEDED = ("slicer", "PySide6")
MISSING = [name for name in NEEDED if importlib.util.find_spec(name) is None]

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")]


@pytest.fixture(scope="session")
def harness_report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[ET.Element]]:
    """The test cases of each file, from one run of all."""
    works = subprocess.run(
        [sys.executable, "-c", "import PySide6.QtWidgets"], capture_output=True, text=True, check=False
    )
    if works.returncode:
        pytest.skip(f"Qt lacks a library of the system: {works.stderr.strip().splitlines()[-1]}")
    report = tmp_path_factory.mktemp("harness") / "report.xml"
    command = [sys.executable, "-m", "pytest", str(HARNESS), "-q", "-p", "no:cacheprovider", f"--junitxml={report}"]
    done = subprocess.run(command, cwd=HARNESS.parents[2], capture_output=True, text=True, check=False)
    if not report.exists():
        pytest.fail(f"the harness ended without a report: {done.stdout[-4000:]}{done.stderr[-4000:]}")
    found: dict[str, list[ET.Element]] = {name: [] for name in FILES}
    for case in ET.parse(report).getroot().iter("testcase"):
        found[case.attrib["classname"].rpartition(".")[2] + ".py"].append(case)
    return found


@pytest.mark.parametrize("file", FILES)
def test_the_tests_in_the_harness_pass(file: str, harness_report: dict[str, list[ET.Element]]) -> None:
    cases = harness_report[file]
    assert cases, "not one of its tests was run"
    bad = [case for case in cases if case.find("failure") is not None or case.find("error") is not None]
    texts = [f"{case.attrib['name']}\n{problem.text}" for case in bad for problem in case if problem.text]
    assert not bad, "\n".join(texts)


def test_the_harness_has_tests() -> None:
    assert len(FILES) > 3
