"""The library's rooms: each imports only from those before it, and only ``window`` knows Qt."""

from __future__ import annotations

import ast
import graphlib
from collections.abc import Iterator
from pathlib import Path

import pytest

LIBRARY = Path(__file__).parents[1] / "EmphysemaScanner/EmphysemaScannerLib"
ROOMS = (
    "base",
    "ct",
    "lungs",
    "models",
    "scan",
    "simulator",
    "cohort",
    "jobs",
    "scene",
    "report",
    "archive",
    "followup",
    "batch",
    "evaluation",
    "training",
    "commands",
    "window",
)
SLICERS = {"slicer", "vtk", "qt", "ctk"}
MAY_IMPORT = {"scene": {"slicer", "vtk"}, "window": SLICERS}


def imported(file: Path) -> Iterator[str]:
    """The full name of everything that a file imports, wherever in it; ``.`` before names of the library."""
    folder = file.relative_to(LIBRARY).parts[:-1]
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = folder[: len(folder) - node.level + 1] if node.level else ()
            names = [node.module] if node.module else []
            names += [".".join(filter(None, [node.module, alias.name])) for alias in node.names]
            yield from ("." * bool(node.level) + ".".join([*start, name]) for name in names)


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_from_those_before_it(room: str) -> None:
    files = sorted((LIBRARY / room).rglob("*.py"))
    assert files
    for file in files:
        for name in imported(file):
            if name.startswith(".") and (first := name.split(".")[1]) in ROOMS:
                assert ROOMS.index(first) <= ROOMS.index(room), f"{file.name} imports {name}"
            elif (first := name.partition(".")[0]) in SLICERS:
                assert first in MAY_IMPORT.get(room, ()), f"{file.name} imports {name}"


def test_every_folder_of_the_library_is_a_room() -> None:
    assert {path.parent.name for path in LIBRARY.glob("*/__init__.py")} == set(ROOMS)


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_says_in_one_sentence_what_it_is_for(room: str) -> None:
    text = ast.get_docstring(ast.parse((LIBRARY / room / "__init__.py").read_text(encoding="utf-8")))
    assert text
    assert len(text.splitlines()[0]) < 120


def test_no_file_imports_itself_by_a_detour() -> None:
    files = {".".join(path.relative_to(LIBRARY).with_suffix("").parts): path for path in LIBRARY.rglob("*.py")}
    graph = {name: {other[1:] for other in imported(path)} & set(files) for name, path in files.items()}
    graphlib.TopologicalSorter(graph).prepare()  # CycleError: names them
