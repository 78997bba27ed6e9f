"""The DICOM files that Slicer loaded a volume from, and what they state of its series."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import slicer

if TYPE_CHECKING:
    from ..core.provenance import Provenance

INSTANCES = "DICOM.instanceUIDs"


def files_of(volume: Any) -> list[Path]:
    """The files of a volume's slices; none of a volume from another kind of file, or if the database has lost one."""
    database = getattr(slicer, "dicomDatabase", None)
    instances = (volume.GetAttribute(INSTANCES) or "").split()
    if database is None or not database.isOpen:
        return []
    files = [Path(database.fileForInstance(uid) or "") for uid in instances]
    return files if all(file.is_file() for file in files) else []


def provenance_at_a_glance(volume: Any) -> Provenance | None:
    """What the first of a volume's files states of its series; None where nothing is known of it."""
    from ..core.loadedfiles import provenance_of  # here: it loads pydicom

    files = files_of(volume)
    provenance = provenance_of(files[:1])
    if provenance.series is None or len(files) < 2:
        return provenance if provenance.series else None
    return dataclasses.replace(provenance, series=dataclasses.replace(provenance.series, slices=len(files)))
