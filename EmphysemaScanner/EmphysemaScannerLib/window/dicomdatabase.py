"""Slicer's DICOM database: a CT from it by its series, and DICOM objects of a result into it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import slicer

from ..base.errors import EmphysemaScannerError
from ..i18n import tr as _
from .dicomfiles import INSTANCES


class DatabaseError(EmphysemaScannerError):
    """Slicer's DICOM database is not open, does not hold what is asked for, or does not take a file."""


def ct_of(series: str) -> Any:
    """The volume node of a series; it is loaded as the DICOM module loads it, unless it is in the scene already.

    Args:
        series: SeriesInstanceUID.

    Raises:
        DatabaseError: the database is not open or does not hold the series, or the series makes no single volume.
    """
    database = _open_database()
    instances = set(database.instancesForSeries(series))
    if not instances:
        raise DatabaseError(
            _(
                "Slicer's DICOM database holds no series {series}; import it with the DICOM module, or check the"
                " SeriesInstanceUID."
            ).format(series=series)
        )
    return _in_scene(instances) or _loaded(series)


def add(folder: Path) -> int:
    """Copy the DICOM objects in a folder into the database, where they join their study; again is safe.

    Args:
        folder: with the objects, at any depth.

    Returns:
        How many there are.

    Raises:
        DatabaseError: the database is not open, or does not take one of them.
    """
    import pydicom

    database = _open_database()
    files = sorted(folder.rglob("*.dcm"))
    for file in files:
        database.insert(str(file), True)  # a copy: the folder may go
        if not database.fileForInstance(str(pydicom.dcmread(file, stop_before_pixels=True).SOPInstanceUID)):
            raise DatabaseError(
                _("Slicer's DICOM database did not take '{file}'; Slicer's error log says why.").format(file=file)
            )
    return len(files)


def _open_database() -> Any:
    database = getattr(slicer, "dicomDatabase", None)
    if database is None or not database.isOpen:
        raise DatabaseError(_("Slicer's DICOM database is not open; open the DICOM module once, which sets it up."))
    return database


def _in_scene(instances: set[str]) -> Any:
    """A volume that was loaded from all of these instances; None if there is none."""
    nodes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
    return next((node for node in nodes if set((node.GetAttribute(INSTANCES) or "").split()) == instances), None)


def _loaded(series: str) -> Any:
    from DICOMLib import DICOMUtils

    nodes = [slicer.mrmlScene.GetNodeByID(node) for node in DICOMUtils.loadSeriesByUID([series])]
    volumes = [node for node in nodes if node is not None and node.IsA("vtkMRMLScalarVolumeNode")]
    if len(volumes) == 1:
        return volumes[0]
    for node in nodes:
        slicer.mrmlScene.RemoveNode(node)
    raise DatabaseError(
        _("Slicer loads {count} volumes from the series {series}, not one; load the CT with the DICOM module.").format(
            count=len(volumes), series=series
        )
    )
