"""Stands in for scanning a CT in a worker process: some CTs end their worker, always or the first time, some wait."""

from __future__ import annotations

import os
import signal
import time

from EmphysemaScannerLib.batch.row import DONE, BatchRow
from EmphysemaScannerLib.batch.source import Source


def scan(source: Source) -> BatchRow:
    """A CT named "deadly" ends whatever process scans it; one named "unlucky" does when no file ``.tried`` is there.

    Two named "pair" with the same number end together, so that two processes scan them. The row's model is the number
    of the process.
    """
    path = source.path
    tried = path.with_suffix(".tried")
    if path.name.startswith("deadly") or (path.name.startswith("unlucky") and not tried.exists()):
        tried.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    if path.name.startswith("pair"):
        tried.touch()
        until = time.monotonic() + 60
        while len(list(path.parent.glob(f"{path.name[:6]}*.tried"))) < 2 and time.monotonic() < until:
            time.sleep(0.02)
    return BatchRow(str(path), DONE, probability=0.5, model=os.environ["LOCAL_RANK"])
