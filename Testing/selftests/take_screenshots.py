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


def walk() -> None:
    main = slicer.util.mainWindow()
    main.resize(WIDTH, HEIGHT)
    slicer.util.selectModule("EmphysemaScanner")
    widget = slicer.modules.EmphysemaScannerWidget
    ui, window = widget.ui, widget.window
    main.resize(WIDTH, HEIGHT)
    picture("empty")

    with mock.patch("EmphysemaScannerLib.window.packages.torch_is_there", return_value=False):
        window.update()
        picture("missing-pytorch")
    window.update()

    from EmphysemaScannerLib.window import samples

    actions = {action.text: action for action in ui.loadButton.menu().actions()}
    real, simulated = (actions[name] for name in samples.names())
    simulated.trigger()
    picture("loaded")

    timer = qt.QTimer()
    timer.singleShot(2500, lambda: main.grab().save(str(FOLDER / "scanning.png")))
    ui.scanButton.click()
    picture("result")
    node = widget.logic.getParameterNode()
    window.answer._on_warnings()
    picture("warnings")
    window.answer._on_warnings()
    node.overlayDrawing = Drawing.OUTLINE
    picture("outline")
    node.ctWindow = CTWindow.LOW
    picture("outline-low-density-window")
    node.overlayDrawing, node.ctWindow = Drawing.FILL, CTWindow.LUNG
    ui.resultTabs.currentIndex = 2
    picture("about")
    ui.resultTabs.currentIndex = 0
    for overlay in (Overlay.ASC1, Overlay.DESC2):
        node.overlay = overlay
        picture(f"overlay-{overlay.value}")
    node.overlay = Overlay.GRADIENT
    picture("gradient-offered")
    ui.attributeButton.click()
    picture("overlay-gradient")
    node.overlay = Overlay.EVIDENCE
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

    ui.saveCollapsibleButton.collapsed = False
    ui.saveFolderPathLineEdit.currentPath = str(FOLDER / "saved")
    ui.saveOverlaysCheckBox.checked = ui.saveSceneCheckBox.checked = True
    ui.saveButton.click()
    scroll_to(ui.saveButton)
    picture("saved")
    ui.saveCollapsibleButton.collapsed = True

    real.trigger()
    ui.scanButton.click()
    picture("second-ct")
    real_ct = node.inputVolume
    noisy = slicer.util.arrayFromVolume(node.inputVolume).astype(np.float32)
    noisy += 90 * np.random.default_rng(1).standard_normal(noisy.shape, dtype=np.float32)
    with_noise = slicer.modules.volumes.logic().CloneVolume(slicer.mrmlScene, node.inputVolume, "noisy copy")
    slicer.util.updateVolumeFromArray(with_noise, noisy.astype(np.int16))
    node.inputVolume = with_noise
    ui.scanButton.click()
    picture("result-with-warnings")
    cut = slicer.modules.volumes.logic().CloneVolume(slicer.mrmlScene, real_ct, "without the apices")
    slicer.util.updateVolumeFromArray(cut, slicer.util.arrayFromVolume(real_ct)[:-14].copy())
    node.inputVolume = cut
    ui.scanButton.click()
    picture("no-call")
    node.inputVolume = slicer.util.addVolumeFromArray(np.full((40, 64, 64), 100, np.int16), name="not a chest")
    ui.scanButton.click()
    picture("error")

    cohort = FOLDER / "cohort"
    cohort.mkdir(exist_ok=True)
    rows = ["volume,label,patient,split"]
    for k in range(8):
        volume = phantomVolume()
        slicer.util.saveNode(volume, str(cohort / f"case{k}.nrrd"))
        slicer.mrmlScene.RemoveNode(volume)
        rows.append(f"case{k}.nrrd,{k % 2},p{k},{'train' if k < 4 else 'tune'}")
    (cohort / "cases.csv").write_text("\n".join(rows) + "\n")
    ui.batchCollapsibleButton.collapsed = False
    ui.batchSourcePathLineEdit.currentPath = str(cohort)
    ui.batchOutputPathLineEdit.currentPath = str(FOLDER / "batch.csv")
    timer.singleShot(9000, lambda: (scroll_to(ui.batchTable), main.grab().save(str(FOLDER / "batch-running.png"))))
    ui.batchButton.click()
    scroll_to(ui.batchTable)
    picture("batch")
    ui.batchCollapsibleButton.collapsed = True

    ui.trainCollapsibleButton.collapsed = False
    ui.manifestPathLineEdit.currentPath = str(cohort / "cases.csv")
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
