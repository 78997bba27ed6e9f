"""The DICOM files that Slicer loaded a volume from, and what they state of its series."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import slicer

if TYPE_CHECKING:
    from ..ct.provenance import Provenance

INSTANCES = "DICOM.instanceUIDs"


def files_of(volume: Any) -> list[Path]:
    """The files of a volume's slices; none of a volume from another kind of file, or if the database has lost one."""
    database = getattr(slicer, "dicomDatabase", None)
    instances = (volume.GetAttribute(INSTANCES) or "").split()
    if database is None or not database.isOpen:
        return []
    files = [Path(database.fileForInstance(uid) or "") for uid in instances]
    return files if all(file.is_file() for file in files) else []


def provenance_of(files: Sequence[Path]) -> Provenance:
    """What files state of their series; looked up once, as the window asks again and again."""
    return _provenance_of(tuple(files))


@lru_cache(maxsize=16)
def _provenance_of(files: tuple[Path, ...]) -> Provenance:
    from ..ct import reading

    return reading.provenance_of(files)
