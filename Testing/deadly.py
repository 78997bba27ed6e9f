"""Stands in for scanning a CT in a worker process: some CTs end their worker, always or the first time."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from EmphysemaScannerLib.batch.row import DONE, BatchRow


def scan(source: Path) -> BatchRow:
    """A CT named "deadly" ends whatever process scans it; one named "unlucky" does when no file ``.tried`` is there."""
    tried = source.with_suffix(".tried")
    if source.name.startswith("deadly") or (source.name.startswith("unlucky") and not tried.exists()):
        tried.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return BatchRow(str(source), DONE, probability=0.5)
