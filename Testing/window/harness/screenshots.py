"""Pictures of the module's panel in each of its states, in a light and a dark theme:

.venv/bin/python -m window.harness.screenshots FOLDER        (with Testing and EmphysemaScanner on PYTHONPATH)
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

from PySide6 import QtGui, QtWidgets

if __name__ == "__main__":
    os.environ["QT_QPA_PLATFORM"] = "offscreen"
    if sys.platform == "linux" and not os.environ.get("DISPLAY"):
        os.environ.setdefault("VTK_DEFAULT_OPENGL_WINDOW", "vtkEGLRenderWindow")

import slicer
from window.harness import application, widgets
from window.harness.driver import Driver, bad_ct, picture, settle, wait_until
from window.harness.pythonqt import plain

SCROLL_BAR = 14  # pixels that a panel as high as these has less than its place


def dark_palette() -> QtGui.QPalette:
    """A dark theme, as Slicer's."""
    role, colour = QtGui.QPalette.ColorRole, QtGui.QColor
    palette = QtGui.QPalette(colour("#323232"))
    for name, value in (
        (role.Window, "#323232"), (role.Base, "#242424"), (role.AlternateBase, "#2c2c2c"), (role.Button, "#3c3c3c"),
        (role.WindowText, "#f0f0f0"), (role.Text, "#f0f0f0"), (role.ButtonText, "#f0f0f0"), (role.Mid, "#202020"),
        (role.ToolTipBase, "#3c3c3c"), (role.ToolTipText, "#f0f0f0"), (role.PlaceholderText, "#9a9a9a"),
        (role.Highlight, "#2a82da"), (role.HighlightedText, "#ffffff"), (role.Link, "#6ab0ff"),
    ):  # fmt: skip
        palette.setColor(name, colour(value))
    for name in (role.WindowText, role.Text, role.ButtonText):
        palette.setColor(QtGui.QPalette.ColorGroup.Disabled, name, colour("#808080"))
    return palette


def take(name: str, folder: Path, draw: Callable[[], None] = settle) -> None:
    """Take the panel as it is now, whole, in both themes; ``draw`` is called in each of them first."""
    panel = slicer.modules.emphysemascanner.widgetRepresentation()
    light = QtWidgets.QApplication.palette()
    for theme, palette in (("light", light), ("dark", dark_palette())):
        _use(palette)
        draw()
        whole = plain(panel, "sizeHint")().height()
        width = application.PANEL_WIDTH - SCROLL_BAR
        whole = max(whole, plain(panel, "heightForWidth")(width))
        plain(panel, "resize")(width, whole)
        settle()
        picture(panel, folder / f"{name}-{theme}.png")
    _use(light)


def _use(palette: QtGui.QPalette) -> None:
    QtWidgets.QApplication.setPalette(palette)
    for widget in QtWidgets.QApplication.allWidgets():
        style = plain(widget, "styleSheet")()
        if style:  # these took their colours when the style sheet was set
            plain(widget, "setStyleSheet")("")
            plain(widget, "setStyleSheet")(style)
    settle()


def sections(window: Driver, *opened: str) -> None:
    """Open these sections and close all others."""
    for name, widget in vars(window.ui).items():
        if isinstance(widget, widgets.ctkCollapsibleButton):
            widget.collapsed = name.removesuffix("CollapsibleButton") not in opened
    settle()


def main(folder: Path) -> None:
    """Walk through the states."""
    with tempfile.TemporaryDirectory() as made:
        files = Path(made)
        application.start(files)
        window = Driver(files)
        take("empty", folder)
        with mock.patch.object(window.module("window.packages"), "torch_is_there", return_value=False):
            window.panel.window.update()
            take("missing-pytorch", folder)
        window.panel.window.update()
        _scans(window, folder)
        _further_panels(window, folder, files)
        application.stop()
    print("All pictures are in", folder)


def _scans(window: Driver, folder: Path) -> None:
    real, simulated = window.module("window.samples").names()
    window.load(simulated)
    take("loaded", folder)
    with window.at(0.4, lambda: take("scanning", folder)):
        window.scan()
    sections(window)
    take("result", folder)
    for index, name in ((1, "slices"), (2, "about")):
        window.ui.resultTabs.currentIndex = index
        take(name, folder)
    window.ui.resultTabs.currentIndex = 0
    window.ui.overlayComboBox.currentIndex = window.ui.overlayComboBox.count - 1
    settle()
    take("gradient-offered", folder)
    window.ui.overlayComboBox.currentIndex = 0
    window.press("playButton")
    wait_until(lambda: "12 of" in window.ui.verdictLabel.text, "the twelfth slice")
    take("playing", folder)
    window.press("playButton")
    window.load(real)
    window.scan()
    take("second-ct", folder)
    window.choose(bad_ct("constant"))
    window.scan()
    take("refused", folder)


def _further_panels(window: Driver, folder: Path, files: Path) -> None:
    ui = window.ui
    first = next(node for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode") if node.GetImageData())
    window.choose(first)
    ui.saveFolderPathLineEdit.currentPath = str(files / "results")
    window.press("saveButton")
    sections(window, "save")
    take("saved", folder)
    sections(window, "settings")
    take("settings", folder)
    cohort = files / "cohort"
    cohort.mkdir()
    for name in ("case-1", "case-2"):
        _write(window.add_ct(name), cohort / f"{name}.nrrd")
    _write(bad_ct("eight bits"), cohort / "not-a-chest.nrrd")
    window.parameters.modelPath = window.module("models.modelfolder").default_model_path()
    ui.batchSourcePathLineEdit.currentPath = str(cohort)
    ui.batchOutputPathLineEdit.currentPath = str(files / "batch.csv")
    window.press("batchButton")
    sections(window, "batch")
    take("batch", folder)
    sections(window, "train")
    window.press("trainButton")
    take("training-asks", folder)
    for epoch in range(1, 7):
        ui.trainLog.appendPlainText(f"epoch {epoch} of 50")
    take("training", folder, lambda: _show_curves(window))


def _show_curves(window: Driver) -> None:
    """The panel as it is in the middle of a training, with made-up curves."""
    watch = window.module("training.runfolder")
    curves = watch.TrainingCurves(
        epochs=50,
        epoch=6,
        train_loss=(0.70, 0.66, 0.61, 0.55, 0.52, 0.49),
        val_loss=(0.69, 0.67, 0.63, 0.60, 0.59, 0.58),
        val_auc=(0.52, 0.57, 0.63, 0.68, 0.71, 0.72),
    )
    training = window.panel.window.training
    with mock.patch.object(watch, "read_training", return_value=curves):
        training._drawn = None
        training._draw()


def _write(node: Any, path: Path) -> None:
    storage = slicer.vtkMRMLNRRDStorageNode()
    storage.SetFileName(str(path))
    storage.WriteData(node)


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute())
