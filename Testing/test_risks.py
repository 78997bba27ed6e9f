"""docs/risks.md: every hazard has a control, and every test that it names is there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

TESTING = Path(__file__).parent
RISKS = TESTING.parent / "docs/risks.md"
HEADER = "hazard | control | test"


def rows() -> list[list[str]]:
    """The cells of all tables' rows."""
    lines = [line.strip("| ") for line in RISKS.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.split(" | ")] for line in lines if line != HEADER and ":---" not in line]


def test_every_hazard_has_a_control_and_a_test() -> None:
    assert len(rows()) > 20
    for row in rows():
        assert len(row) == 3, row
        assert all(row), row
        assert re.fullmatch(r"`test_\w+`(, `test_\w+`)*", row[2]), row[0]


def test_every_test_that_is_named_exists_and_is_not_one_of_the_long_ones() -> None:
    named = {name for row in rows() for name in re.findall(r"test_\w+", row[2])}
    found = {}
    for path in TESTING.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and node.name in named:
                found[node.name] = [ast.unparse(mark) for mark in node.decorator_list]
    assert named == set(found)
    assert not [name for name, marks in found.items() if "pytest.mark.soak" in marks]
