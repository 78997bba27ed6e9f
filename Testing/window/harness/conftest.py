"""The module's window for each test. These tests run in a process of their own; see ../test_window.py."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import pytest

os.environ["QT_QPA_PLATFORM"] = "offscreen"
if sys.platform == "linux" and not os.environ.get("DISPLAY"):
    os.environ.setdefault("VTK_DEFAULT_OPENGL_WINDOW", "vtkEGLRenderWindow")

SELF_TESTS = Path(__file__).parents[2] / "selftests"
swallowed: list[str] = []


def pytest_configure(config: pytest.Config) -> None:
    # PythonQt knows Qt 5's overload for numbers, PySide6 wants a flag.
    config.addinivalue_line("filterwarnings", "ignore:Function. 'QTableWidgetItem.setTextAlignment:DeprecationWarning")


def _remember(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    swallowed.append("".join(traceback.format_exception(kind, error, trace)))


@pytest.fixture(scope="session")
def application(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Slicer's stand-in, started once as Slicer is."""
    from window.harness import application as standin

    sys.excepthook = _remember  # what a slot or an observer raises ends here, in Slicer as well
    sys.path.insert(0, str(SELF_TESTS))
    standin.start(tmp_path_factory.mktemp("Slicer"))
    yield
    standin.stop()
    sys.excepthook = sys.__excepthook__


@pytest.fixture(scope="session")
def quick_model(application: None) -> Path:
    """A small model with random weights."""
    import selftestdata

    return Path(selftestdata.modelPath())


@pytest.fixture
def window(application: None, quick_model: Path) -> Iterator[object]:
    """The window, made anew in an empty scene; nothing may have been swallowed or said in a message box at the end."""
    from window.harness.driver import Driver, message_boxes, settle

    swallowed.clear()
    message_boxes()
    yield Driver(quick_model)
    settle()
    assert not swallowed, "\n".join(swallowed)
    assert message_boxes() == []


@pytest.fixture
def errors(window: object) -> list[str]:
    """The tracebacks of what slots and observers raised; the test takes out those that it expects."""
    return swallowed
