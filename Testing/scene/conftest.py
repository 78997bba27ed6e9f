"""A scene for each test; without slicer-core the tests of this folder are skipped."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    import slicer

collect_ignore_glob = [] if importlib.util.find_spec("slicer") else ["test_*.py"]


@pytest.fixture
def scene() -> Iterator[slicer.vtkMRMLScene]:
    from EmphysemaScannerLib.scene.standalone import standalone_scene

    with standalone_scene() as new:
        yield new
