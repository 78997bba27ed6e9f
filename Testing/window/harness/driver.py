"""What the tests do with the window: press its buttons, and act while it works."""

from __future__ import annotations

import importlib
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import slicer
from PySide6 import QtCore

from . import application, widgets
from .pythonqt import plain

WAIT_S = 60.0  # for something that must come; a test that waits this long has failed


class Driver:
    """The module's window in the harness.

    Args:
        model: a model file that is quick to run.
    """

    def __init__(self, model: Path) -> None:
        self.model = model
        self.panel = application.new_panel()

    @property
    def ui(self) -> Any:
        """The widgets by name, those of a reloaded module after a reload."""
        return application.panel().ui

    @property
    def parameters(self) -> Any:
        """The scene's parameter node."""
        return application.panel().logic.getParameterNode()

    def module(self, name: str) -> Any:
        """A module of the library as it is loaded now."""
        return importlib.import_module(f"EmphysemaScannerLib.{name}")

    def add_ct(self, name: str = "Phantom") -> Any:
        """A made-up chest, chosen in the window, with the quick model."""
        ct = sys.modules[application.MODULE].phantomVolume()
        ct.SetName(name)
        self.choose(ct)
        self.parameters.modelPath = self.model
        return ct

    def choose(self, ct: Any) -> None:
        """Choose a CT in the window's list."""
        self.ui.inputSelector.setCurrentNode(ct)
        settle()

    def press(self, button: str) -> None:
        """Press a button that can be pressed; the section that it is in is opened."""
        widget = getattr(self.ui, button)
        section = widget.parent()
        while section is not None:
            if isinstance(section, widgets.ctkCollapsibleButton):
                section.collapsed = False
            section = section.parent()
        assert widget.enabled, f"{button} cannot be pressed"
        widget.click()
        settle()

    def scan(self) -> None:
        """Press Scan and wait for the answer."""
        self.press("scanButton")

    def load(self, text: str) -> None:
        """Choose an entry of the menu that loads a CT."""
        actions = {action.text: action for action in self.ui.loadButton.menu().actions()}
        actions[text].trigger()
        settle()

    def shown(self, name: str) -> bool:
        """Whether a widget is not hidden, by itself or with what it lies in."""
        widget = getattr(self.ui, name)
        return bool(widget.isVisibleTo(self.ui.EmphysemaScanner))

    def node_ids(self) -> list[str]:
        """Every node of the scene but views and their logic."""
        nodes = [slicer.mrmlScene.GetNthNode(i) for i in range(slicer.mrmlScene.GetNumberOfNodes())]
        return [node.GetID() for node in nodes if not is_of_views(node)]

    @contextmanager
    def at(self, share: float, act: Callable[[], None]) -> Iterator[None]:
        """While the block scans: when this share is done, the scan waits while the window handles ``act``."""
        device = self.module("scan.device")
        reached, acted = threading.Event(), threading.Event()
        original = device.scan_on

        def scan_on(chosen: Any, image: Any, model: Any, report: Callable[[float, str], None], *more: Any, **kw: Any):
            def stopping(fraction: float, stage: str) -> None:
                report(fraction, stage)
                if fraction >= share and not reached.is_set():
                    reached.set()
                    acted.wait(WAIT_S)
                    report(fraction, stage)

            return original(chosen, image, model, stopping, *more, **kw)

        def delivered() -> bool:  # what was reported last may still be on its way to the window
            job = self.module("jobs.worker").shared_worker()._current
            return job is None or job._reports.empty()

        def look() -> None:
            if reached.is_set() and delivered() and not acted.is_set():
                timer.stop()
                try:
                    act()
                finally:
                    acted.set()

        timer = QtCore.QTimer()
        timer.timeout.connect(look)
        timer.start(5)
        with mock.patch.object(device, "scan_on", scan_on):
            yield
        timer.stop()
        assert acted.is_set(), "the scan never came that far"


def is_of_views(node: Any) -> bool:
    """Whether a node belongs to the views and not to the data."""
    kinds = ("AbstractViewNode", "SliceCompositeNode", "SliceDisplayNode", "LayoutNode", "CameraNode", "ModelNode")
    return any(node.IsA(f"vtkMRML{kind}") for kind in kinds)


def write(node: slicer.vtkMRMLScalarVolumeNode, path: Path) -> None:
    """Write a volume as Slicer does."""
    storage = slicer.vtkMRMLNRRDStorageNode()
    storage.SetFileName(str(path))
    assert storage.WriteData(node)


def settle() -> None:
    """Let the window handle what is due."""
    for _ in range(3):
        slicer.app.processEvents()


def wait_until(there: Callable[[], bool], what: str) -> None:
    """Let the window live until something has come."""
    timer = QtCore.QElapsedTimer()
    timer.start()
    while not there():
        assert timer.elapsed() < 1000 * WAIT_S, f"{what} never came"
        slicer.app.processEvents(QtCore.QEventLoop.ProcessEventsFlag.AllEvents, 20)


def bad_ct(kind: str) -> Any:
    """A volume that cannot be scanned.

    Args:
        kind: "constant", "eight bits", "one slice" or "too small".
    """
    rng = np.random.default_rng(0)
    arrays = {
        "constant": np.full((40, 64, 64), 100, np.int16),
        "eight bits": rng.integers(0, 256, (40, 64, 64)).astype(np.uint8),
        "one slice": rng.integers(-1000, 100, (1, 64, 64)).astype(np.int16),
        "too small": rng.integers(-1000, 100, (3, 4, 4)).astype(np.int16),
    }
    return slicer.util.addVolumeFromArray(arrays[kind], name=kind)


def message_boxes() -> list[str]:
    """What message boxes have said since the last call."""
    said, widgets.ctkMessageBox.said[:] = list(widgets.ctkMessageBox.said), []
    return said


def picture(widget: Any, path: Path) -> None:
    """Write a picture of a widget."""
    path.parent.mkdir(parents=True, exist_ok=True)
    plain(widget, "grab")().save(str(path))
