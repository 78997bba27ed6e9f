"""A file that is there whole or not at all, whatever happens while it is written."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

PART_SUFFIX = ".part"


def write_whole(path: Path, data: bytes | memoryview) -> None:
    """Write a file, or replace one, in its folder, which must be there; several processes may do so at once.

    Raises:
        OSError: it cannot be written; nothing is left of it, and what was there before is as it was.
    """
    partial = path.with_name(f".{path.name}-{os.getpid()}-{uuid.uuid4().hex[:8]}{PART_SUFFIX}")
    try:
        with partial.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
