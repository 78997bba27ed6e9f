"""Texts are translated by Slicer where it runs, and stay as they are elsewhere; translators' tools can collect them."""

from __future__ import annotations

import ast
import importlib
import sys
import types
from pathlib import Path

import pytest
from EmphysemaScannerLib import i18n

LIBRARY = Path(i18n.__file__).parent


@pytest.fixture
def fresh() -> object:
    yield None
    importlib.reload(i18n)


def test_the_application_translates(fresh: object, monkeypatch: pytest.MonkeyPatch) -> None:
    application = types.ModuleType("slicer.i18n")
    application.tr = str.upper
    monkeypatch.setitem(sys.modules, "slicer", types.ModuleType("slicer"))
    monkeypatch.setitem(sys.modules, "slicer.i18n", application)
    assert importlib.reload(i18n).tr is application.tr
    monkeypatch.undo()


@pytest.mark.parametrize("loaded", [True, False], ids=["Slicer's core alone", "no Slicer"])
def test_without_the_application_texts_stay_as_they_are(
    fresh: object, monkeypatch: pytest.MonkeyPatch, loaded: bool
) -> None:
    monkeypatch.delitem(sys.modules, "slicer", raising=False)
    monkeypatch.delitem(sys.modules, "slicer.i18n", raising=False)
    if loaded:
        monkeypatch.setitem(sys.modules, "slicer", types.ModuleType("slicer"))
    assert importlib.reload(i18n).tr("Both lungs") == "Both lungs"
    assert ("slicer" in sys.modules) is loaded
    monkeypatch.undo()


def test_texts_for_translation_are_plain_strings() -> None:
    calls = [
        (path.name, node)
        for path in LIBRARY.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "_"
    ]
    for name, call in calls:
        text = call.args[0]
        assert isinstance(text, ast.Constant), f"{name}: {ast.unparse(call)}"
        assert isinstance(text.value, str), f"{name}: {ast.unparse(call)}"
