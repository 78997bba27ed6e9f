"""Walk the window through its states by pressing its buttons, and take a picture of Slicer's window in each:

    Slicer --testing --additional-module-paths <repository>/EmphysemaScanner --python-script <this file> FOLDER

The batch and the training run on small made-up chests that are written into FOLDER.
"""

from __future__ import annotations

import sys
import time
import traceback
from pathlib import Path
from unittest import mock

import numpy as np
import qt
import slicer
from EmphysemaScannerLib.scene.charts import Chart
from EmphysemaScannerLib.scene.overlays import Drawing, Overlay
from EmphysemaScannerLib.scene.views import CTWindow
from EmphysemaScannerLib.window import samples

from EmphysemaScanner import phantomVolume

WIDTH, HEIGHT = 1280, 800
FOLDER = Path(sys.argv[-1]).absolute()


def settle(seconds: float = 0.6) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        slicer.app.processEvents()
        time.sleep(0.02)


def picture(name: str) -> None:
    settle()
    slicer.util.mainWindow().grab().save(str(FOLDER / f"{name}.png"))
    print("picture", name)


def scroll_to(widget) -> None:
    """Bring a part of the module panel into sight."""
    area = widget.parent()
    while area is not None and area.className() not in ("QScrollArea", "ctkScrollArea"):
        area = area.parent()
    if area is not None:
        settle(0.2)
        area.ensureWidgetVisible(widget)


def open_module() -> None:
    main = slicer.util.mainWindow()
    main.resize(WIDTH, HEIGHT)
    slicer.util.selectModule("EmphysemaScanner")
    main.resize(WIDTH, HEIGHT)
    picture("empty")


def later(milliseconds: int, name: str, widget=None) -> None:
    """Take a picture, of a part of the panel if one is given, while the next press of a button is at work."""

    def take() -> None:
        if widget is not None:
            scroll_to(widget)
        slicer.util.mainWindow().grab().save(str(FOLDER / f"{name}.png"))

    qt.QTimer.singleShot(milliseconds, take)


def scan_the_simulated_case(ui, window, simulated) -> None:
    with mock.patch("EmphysemaScannerLib.window.packages.torch_is_there", return_value=False):
        window.update()
        picture("missing-pytorch")
    window.update()
    simulated.trigger()
    picture("loaded")
    later(2500, "scanning")
    ui.scanButton.click()
    picture("result")
    window.answer._on_warnings()
    picture("warnings")
    window.answer._on_warnings()


def choose_what_is_shown(ui, node) -> None:
    node.overlayDrawing = Drawing.OUTLINE
    picture("outline")
    node.ctWindow = CTWindow.LOW
    picture("outline-low-density-window")
    node.overlayDrawing, node.ctWindow = Drawing.FILL, CTWindow.LUNG
    ui.resultTabs.currentIndex = 2
    picture("about")
    ui.resultTabs.currentIndex = 0
    for overlay in (Overlay.CLASS_ASC1, Overlay.EVIDENCE, Overlay.ASC1):
        node.overlay = overlay
        picture(f"overlay-{overlay.value}")
    node.overlay = Overlay.GRADIENT
    picture("gradient-offered")
    ui.attributeButton.click()
    picture("overlay-gradient")
    node.overlay = Overlay.DISEASE
    ui.overlay3DCheckBox.click()
    settle(2)
    picture("result-3d")
    ui.overlay3DCheckBox.click()
    ui.resultTabs.currentIndex = 1
    for chart in (Chart.LAA, Chart.ACTIVATION):
        node.chart = chart
        picture(f"chart-{chart.value}")
    node.chart = Chart.PROBABILITY
    ui.playButton.click()
    settle(3.5)
    picture("playing")
    ui.playButton.click()
    ui.resultTabs.currentIndex = 0


def save(ui) -> None:
    ui.saveCollapsibleButton.collapsed = False
    ui.saveFolderPathLineEdit.currentPath = str(FOLDER / "saved")
    ui.saveOverlaysCheckBox.checked = ui.saveSceneCheckBox.checked = True
    ui.saveButton.click()
    scroll_to(ui.saveButton)
    picture("saved")
    ui.saveCollapsibleButton.collapsed = True


def scan_doubtful_cts(ui, node, real) -> None:
    real.trigger()
    ui.scanButton.click()
    picture("second-ct")
    real_ct = node.inputVolume
    noisy = slicer.util.arrayFromVolume(real_ct).astype(np.float32)
    noisy += 90 * np.random.default_rng(1).standard_normal(noisy.shape, dtype=np.float32)
    volumes = slicer.modules.volumes.logic()
    with_noise = volumes.CloneVolume(slicer.mrmlScene, real_ct, "noisy copy")
    slicer.util.updateVolumeFromArray(with_noise, noisy.astype(np.int16))
    cut = volumes.CloneVolume(slicer.mrmlScene, real_ct, "without the apices")
    slicer.util.updateVolumeFromArray(cut, slicer.util.arrayFromVolume(real_ct)[:-14].copy())
    for volume, name in ((with_noise, "result-with-warnings"), (cut, "no-call")):
        node.inputVolume = volume
        ui.scanButton.click()
        picture(name)
    node.inputVolume = slicer.util.addVolumeFromArray(np.full((40, 64, 64), 100, np.int16), name="not a chest")
    ui.scanButton.click()
    picture("error")


def write_cohort(folder: Path) -> Path:
    """Eight made-up chests with a manifest, whose path is returned."""
    folder.mkdir(exist_ok=True)
    rows = ["volume,label,patient,split"]
    for k in range(8):
        volume = phantomVolume()
        slicer.util.saveNode(volume, str(folder / f"case{k}.nrrd"))
        slicer.mrmlScene.RemoveNode(volume)
        rows.append(f"case{k}.nrrd,{k % 2},p{k},{'train' if k < 4 else 'tune'}")
    manifest = folder / "cases.csv"
    manifest.write_text("\n".join(rows) + "\n")
    return manifest


def run_batch(ui, folder: Path) -> None:
    ui.batchCollapsibleButton.collapsed = False
    ui.batchSourcePathLineEdit.currentPath = str(folder)
    ui.batchOutputPathLineEdit.currentPath = str(FOLDER / "batch.csv")
    later(9000, "batch-running", ui.batchTable)
    ui.batchButton.click()
    scroll_to(ui.batchTable)
    picture("batch")
    ui.batchCollapsibleButton.collapsed = True


def train(ui, window, manifest: Path) -> None:
    ui.trainCollapsibleButton.collapsed = False
    ui.manifestPathLineEdit.currentPath = str(manifest)
    ui.trainFolderPathLineEdit.currentPath = str(FOLDER / "run")
    ui.epochsSpinBox.value = 3
    ui.trainButton.click()
    for _second in range(240):
        settle(1)
        if not window.training.running:
            break
        if ui.trainCurvesLabel.visible and not (FOLDER / "training.png").exists():
            scroll_to(ui.trainLog)
            picture("training")
    scroll_to(ui.trainLog)
    picture("trained")


def walk() -> None:
    open_module()
    widget = slicer.modules.EmphysemaScannerWidget
    ui, window, node = widget.ui, widget.window, widget.logic.getParameterNode()
    actions = {action.text: action for action in ui.loadButton.menu().actions()}
    real, simulated = (actions[name] for name in samples.names())
    scan_the_simulated_case(ui, window, simulated)
    choose_what_is_shown(ui, node)
    save(ui)
    scan_doubtful_cts(ui, node, real)
    manifest = write_cohort(FOLDER / "cohort")
    run_batch(ui, manifest.parent)
    train(ui, window, manifest)
    slicer.util.selectModule("Data")
    picture("left")


try:
    FOLDER.mkdir(parents=True, exist_ok=True)
    walk()
except BaseException:
    traceback.print_exc()
    slicer.util.exit(1)
else:
    print("All pictures are in", FOLDER)
    slicer.util.exit(0)
