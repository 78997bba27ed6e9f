"""Another process that holds a lock, as a second run does."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from childprocess import ENVIRONMENT

_HOLD = """
import os, sys, time
from pathlib import Path
from EmphysemaScannerLib.base.errors import EmphysemaScannerError
from EmphysemaScannerLib.base.lock import held
with held(Path(sys.argv[1]), EmphysemaScannerError("busy")):
    {meanwhile}
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def holding(lock: Path, meanwhile: str = "pass") -> Iterator[subprocess.Popen[str]]:
    """A process that holds the lock while the block runs, and first does what a line of Python says."""
    process = subprocess.Popen(
        [sys.executable, "-c", _HOLD.format(meanwhile=meanwhile), str(lock)],
        env=ENVIRONMENT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.stdin.close()
        process.wait(60)
        process.stdout.close()
