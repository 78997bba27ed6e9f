"""Scan one CT many times through the window and print how the scene and the memory grow:

    Slicer --testing --additional-module-paths <repository>/EmphysemaScanner --python-script <this file> [COUNT]

A small model with random weights answers; nodes, overlays, tables, charts and views are the real ones.
"""

import os
import sys
import traceback
from pathlib import Path

import slicer

sys.path.insert(0, str(Path(__file__).parent))
import selftestdata

from EmphysemaScanner import phantomVolume

COUNT = int(sys.argv[-1]) if sys.argv[-1].isdigit() else 200


def memoryMiB() -> float:
    """Resident memory of this process (Linux)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def scanMany() -> None:
    slicer.util.selectModule("EmphysemaScanner")
    widget = slicer.modules.EmphysemaScannerWidget
    node = widget.logic.getParameterNode()
    node.inputVolume = phantomVolume()
    node.modelPath = selftestdata.modelPath()
    for k in range(1, COUNT + 1):
        widget.ui.scanButton.click()
        slicer.app.processEvents()
        if k in (1, 2, 5) or k % 20 == 0:
            print(f"scan {k}: {slicer.mrmlScene.GetNumberOfNodes()} nodes, {memoryMiB():.0f} MiB", flush=True)


if __name__ == "__main__":
    try:
        scanMany()
    except BaseException:
        traceback.print_exc()
        slicer.util.exit(1)
    else:
        slicer.util.exit(0)
