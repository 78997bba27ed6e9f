"""Work that is killed (SIGKILL) in a process of its own: at its n-th change of a file, or after some time.

The process that forks must have loaded the libraries and used no threads.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from watched import CHANGING, WRITING


def _killed_at(point: int, folder: Path, count: list[int]) -> None:
    """Kill this process before its ``point``-th change of a file in a folder, or at its end of being written."""

    def one_more(path: object) -> None:
        if isinstance(path, int) or str(folder) in os.fsdecode(path):  # type: ignore[arg-type]
            count[0] += 1
            if count[0] == point:
                os.kill(os.getpid(), signal.SIGKILL)

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        writing = event == "open" and isinstance(arguments[2], int) and arguments[2] & WRITING
        if (writing or event in CHANGING) and isinstance(arguments[0], (str, bytes)):
            one_more(arguments[0])

    sync = os.fsync

    def counted_sync(file: int) -> None:
        one_more(file)
        sync(file)

    os.fsync = counted_sync
    sys.addaudithook(hook)


def forked(work: Callable[[], None], folder: Path, point: int = 0, after_s: float | None = None) -> int:
    """Run work in a child; kill it at a change of a file in ``folder`` (from 1), or after a time.

    Returns:
        How many changes the child made; -1 if it was killed.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        status = 1
        try:
            os.close(reading)
            count = [0]
            _killed_at(point, folder, count)
            with Path(os.devnull).open("w") as nothing:
                os.dup2(nothing.fileno(), 1)
            work()
            os.write(writing, str(count[0]).encode())
            status = 0
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            os._exit(status)
    os.close(writing)
    if after_s is not None:
        time.sleep(after_s)
        os.kill(child, signal.SIGKILL)
    with os.fdopen(reading, "rb") as told:
        said = told.read()
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return -1
    assert os.WEXITSTATUS(status) == 0
    return int(said)
