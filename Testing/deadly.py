"""Stands in for scanning a CT in a worker process: some CTs end their worker, always or the first time."""

from __future__ import annotations

import os
import signal

from EmphysemaScannerLib.batch.row import DONE, BatchRow
from EmphysemaScannerLib.batch.source import Source


def scan(source: Source) -> BatchRow:
    """A CT named "deadly" ends whatever process scans it; one named "unlucky" does when no file ``.tried`` is there."""
    path = source.path
    tried = path.with_suffix(".tried")
    if path.name.startswith("deadly") or (path.name.startswith("unlucky") and not tried.exists()):
        tried.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return BatchRow(str(path), DONE, probability=0.5)
