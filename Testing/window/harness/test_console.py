"""The examples of docs/console.md run as they stand, but for those that say why not."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path

import pytest
import slicer

DOCUMENT = Path(__file__).parents[3] / "docs/console.md"
BLOCKS = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
NOT_RUN = ("# takes long", "# needs a window", "# needs a cohort")


@pytest.mark.usefixtures("window")
def test_the_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    names: dict[str, object] = {"slicer": slicer}
    run = [block for block in BLOCKS if not block.startswith(NOT_RUN)]
    assert len(run) > 5
    for block in run:
        exec(compile(block, str(DOCUMENT), "exec"), names)
    said = capsys.readouterr().out
    assert "True" in said  # what is read back from the scene is the same
    assert "Cancelled" in said
    assert (tmp_path / "emphysema-results/one/report.html").is_file()
    assert (tmp_path / "emphysema-results/batch.csv").read_text().count("\n") == 2


@pytest.mark.usefixtures("window")
def test_every_call_of_the_logic_names_parameters_that_there_are() -> None:
    logic, checked = slicer.util.getModuleLogic("EmphysemaScanner"), 0
    for call in [node for block in BLOCKS for node in ast.walk(ast.parse(block)) if isinstance(node, ast.Call)]:
        if ast.unparse(call.func).startswith("logic."):
            method = getattr(logic, ast.unparse(call.func).partition(".")[2])
            keywords = {keyword.arg: None for keyword in call.keywords}
            inspect.signature(method).bind(*call.args, **keywords)
            checked += 1
    assert checked > 10
