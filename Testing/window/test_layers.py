"""The library's layers: each imports only from those before it, and only ``window`` knows Qt."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

LIBRARY = Path(__file__).parents[2] / "EmphysemaScanner/EmphysemaScannerLib"
LAYERS = ("core", "engine", "jobs", "scene", "window")
SLICERS = {"slicer", "vtk", "qt", "ctk"}
MAY_IMPORT = {"core": set(), "engine": set(), "jobs": set(), "scene": {"slicer", "vtk"}, "window": SLICERS}
# The command line draws pictures with the scene layer where slicer-core is installed.
EXCEPTIONS = {("engine", "scene")}


def imports(file: Path) -> Iterator[tuple[int, str]]:
    """(level, name) of everything that a file imports, wherever in it; level 0 is absolute."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((0, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            names = [alias.name for alias in node.names] if node.module is None else [node.module]
            yield from ((node.level, name) for name in names)


@pytest.mark.parametrize("layer", LAYERS)
def test_a_layer_imports_only_from_those_before_it(layer: str) -> None:
    files = sorted((LIBRARY / layer).rglob("*.py"))
    assert files
    for file in files:
        for level, name in imports(file):
            first = name.partition(".")[0]
            if level == 2 and first in LAYERS and (layer, first) not in EXCEPTIONS:
                assert LAYERS.index(first) <= LAYERS.index(layer), f"{file.name} imports {name}"
            if level == 0 and first in SLICERS:
                assert first in MAY_IMPORT[layer], f"{file.name} imports {name}"


def test_every_folder_of_the_library_is_a_layer() -> None:
    assert {path.parent.name for path in LIBRARY.glob("*/__init__.py")} == set(LAYERS)
