"""Scan one CT many times through the window and print how the scene, memory, threads and files grow:

    Slicer --additional-module-paths <repository>/EmphysemaScanner --python-script <this file> [COUNT]

A small model with random weights answers; nodes, overlays, tables, charts and views are the real ones.
Each scan is begun by the event loop itself, as by a hand: inside one long call Qt deletes no widget of Slicer's tree of
data (and with --testing Slicer would leave before the first).
"""

import os
import sys
import traceback
from pathlib import Path

import qt
import slicer

sys.path.insert(0, str(Path(__file__).parent))
import selftestdata

from EmphysemaScanner import phantomVolume

COUNT = int(sys.argv[-1]) if sys.argv[-1].isdigit() else 200


def memoryMiB() -> float:
    """Resident memory of this process (Linux)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def scanOnce(number: int) -> None:
    try:
        slicer.modules.EmphysemaScannerWidget.ui.scanButton.click()
        slicer.app.processEvents()
        if number in (1, 2, 5) or number % 50 == 0:
            threads, files = (len(list(Path(f"/proc/self/{kind}").iterdir())) for kind in ("task", "fd"))
            nodes = slicer.mrmlScene.GetNumberOfNodes()
            print(f"scan {number}: {memoryMiB():.0f} MiB, {nodes} nodes, {threads} threads, {files} files", flush=True)
        if number == COUNT:
            slicer.util.exit(0)
        else:
            qt.QTimer.singleShot(0, lambda: scanOnce(number + 1))
    except BaseException:
        traceback.print_exc()
        slicer.util.exit(1)


slicer.util.selectModule("EmphysemaScanner")
parameters = slicer.modules.EmphysemaScannerWidget.logic.getParameterNode()
parameters.inputVolume = phantomVolume()
parameters.modelPath = selftestdata.modelPath()
qt.QTimer.singleShot(0, lambda: scanOnce(1))
