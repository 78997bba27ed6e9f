"""A file that is there whole or not at all, whatever happens while it is written."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

PART_SUFFIX = ".part"


def write_whole(path: Path, data: bytes | memoryview) -> None:
    """Write a file, or replace one, as ``writing_whole`` does."""
    with writing_whole(path) as file:
        file.write(data)


@contextmanager
def writing_whole(path: Path) -> Iterator[IO[bytes]]:
    """A file to write in the block, which then takes its place in its folder; several processes may do so at once.

    Args:
        path: of the file; its folder must be there.

    Raises:
        OSError: it cannot be written; nothing is left of it, and what was there before is as it was, whatever the block
            raises.
    """
    partial = path.with_name(f".{path.name}-{os.getpid()}-{uuid.uuid4().hex[:8]}{PART_SUFFIX}")
    try:
        with partial.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
