"""Output that one process writes at a time. The system lifts the lock when that process ends, however it ends."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from .errors import EmphysemaScannerError

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

_HELD_BY_ANOTHER = (errno.EACCES, errno.EAGAIN, errno.EDEADLK)

_held: set[Path] = set()  # by this process, for which POSIX's locks are no obstacle


def lock_beside(path: Path) -> Path:
    """The lock of a file."""
    return path.with_name(f".{path.name}.lock")


@contextmanager
def held(lock: Path, busy: EmphysemaScannerError) -> Iterator[None]:
    """Hold a lock while the block runs, or refuse at once.

    The lock is the system's, on an empty file that is removed at the end; one that a killed process left behind locks
    nothing. On POSIX it is a record lock (``lockf``): NFS has it too, and processes that were forked meanwhile and
    outlive their parent do not keep it. A file system without locks is written to without one, and a warning is logged.

    Args:
        lock: a file in a folder that is there.
        busy: raised if another process, or another block of this one, holds it.

    Raises:
        EmphysemaScannerError: ``busy``.
        OSError: the file cannot be made.
    """
    lock = lock.resolve()
    if lock in _held:
        raise busy
    _held.add(lock)
    try:
        file = _locked(lock, busy)
        try:
            yield
        finally:
            if sys.platform == "win32":  # where an open file cannot be removed, also not one that another just opened
                file.close()
            with contextlib.suppress(OSError):
                lock.unlink()
            file.close()
    finally:
        _held.discard(lock)


def _locked(lock: Path, busy: EmphysemaScannerError) -> IO[bytes]:
    while True:
        file = lock.open("ab")
        try:
            if sys.platform == "win32":
                msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
            else:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in _HELD_BY_ANOTHER:
                file.close()
                raise busy from error
            logging.getLogger(__name__).warning(
                "The file system of '%s' has no locks; see to it that nothing else writes there.", lock.parent
            )
            return file
        if os.fstat(file.fileno()).st_nlink:
            return file
        file.close()  # its holder removed it between our opening and locking it
