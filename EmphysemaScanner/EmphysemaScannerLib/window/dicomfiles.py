"""The DICOM files that Slicer loaded a volume from, and what they state of its series."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import slicer

from ..base.errors import UnreadableInputError
from ..i18n import tr as _

if TYPE_CHECKING:
    from ..ct.provenance import Provenance
    from ..ct.reading import CT
    from ..ct.series import Volume
    from ..scene.straighten import StraightImage

INSTANCES = "DICOM.instanceUIDs"


def files_of(volume: Any) -> list[Path]:
    """The files of a volume's slices; none of a volume from another kind of file, or if the database has lost one."""
    database = getattr(slicer, "dicomDatabase", None)
    instances = (volume.GetAttribute(INSTANCES) or "").split()
    if database is None or not database.isOpen:
        return []
    files = [Path(database.fileForInstance(uid) or "") for uid in instances]
    return files if all(file.is_file() for file in files) else []


def volume_of(files: Sequence[Path]) -> Volume | None:
    """The slices in files of one volume; None without files."""
    from ..ct import reading

    return reading.volume_of(files)


def single_volume_of(files: Sequence[Path]) -> Volume | None:
    """The slices in files; None without files, and where they make no single volume, which the CT's warnings state."""
    try:
        return volume_of(files)
    except UnreadableInputError:
        return None


def ct_of(straight: StraightImage, files: Sequence[Path]) -> CT:
    """A CT of the scene with what its files state."""
    from ..ct.reading import CT

    known = provenance_of(files)
    sheared = sheared_warnings(files, bool(straight.warnings))
    return CT(straight.image, dataclasses.replace(known, warnings=(*known.warnings, *straight.warnings, *sheared)))


def provenance_of(files: Sequence[Path]) -> Provenance:
    """What files state of their series; looked up once, as the window asks again and again."""
    return _provenance_of(tuple(files))


@lru_cache(maxsize=16)
def _provenance_of(files: tuple[Path, ...]) -> Provenance:
    from ..ct import reading

    return reading.provenance_of(files)


def sheared_warnings(files: Sequence[Path], resampled: bool) -> tuple[str, ...]:
    """That a volume shows staggered slices as if they lay straight, where it does.

    Slicer's DICOM module loads such a series without a transform if its acquisition geometry regularization is "none".

    Args:
        files: of the volume's slices.
        resampled: whether the volume was resampled for its slices' places: then it knows them.
    """
    from ..ct import reading

    staggered = 0.0 if resampled or not files else reading.staggered_mm(files)
    if staggered == 0.0:
        return ()
    sentence = _(
        "The slices are staggered by up to {distance} mm in their DICOM files (a tilted gantry, for instance), but not"
        " in this volume: its anatomy is sheared, unless it was resampled since. Let Slicer apply the acquisition"
        " geometry regularization (application settings, DICOM), and load the series again."
    )
    return (sentence.format(distance=f"{staggered:.0f}"),)
