"""The CT's DICOM files at the moment of writing: whether they are still those that were scanned, and their headers."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
import SimpleITK as sitk
from pydicom.dataset import Dataset

from ..base.errors import EmphysemaScannerError, GeometryError, UnreadableInputError
from ..ct.grid import Grid, canonical_view, voxels_sha256
from ..ct.reading import read_files
from ..ct.series import Volume
from ..i18n import tr as _
from ..scan.result import ScanResult

_SAME_PLACE_MM = 0.01
# Type 2 of the modules that are copied (DICOM PS3.3 C.7.1.1, C.7.2.1): a file that lacks one gets it empty.
_MAY_BE_EMPTY = (
    "PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID", "StudyDate",
    "StudyTime", "ReferringPhysicianName", "SeriesNumber",
)  # fmt: skip


class ArchiveError(EmphysemaScannerError):
    """DICOM objects cannot be written for this CT."""


@dataclass(frozen=True, eq=False)
class Source:
    """The series that a result is of, as its files are now.

    Attributes:
        image: the CT in HU, as it was scanned.
        volume: its slices, in the order of their positions along their normal.
        headers: the data set of each file without its pixels, in that order; one for a file with several frames.
    """

    image: sitk.Image
    volume: Volume
    headers: tuple[Dataset, ...]

    @property
    def first(self) -> Dataset:
        """What the files state of patient, study and series."""
        return self.headers[0]


def check_is_dicom(volume: Volume | None) -> Volume:
    """The volume; call it before the long work.

    Raises:
        ArchiveError: the CT came from another kind of file, or its files lack what no DICOM object can do without.
    """
    if volume is None:
        raise ArchiveError(
            _(
                "DICOM objects can be written only for a CT that was read from DICOM files, whose patient and study"
                " they name; scan the DICOM series that this file was made from, or leave the DICOM objects out."
            )
        )
    if any(slice_.frame for slice_ in volume.slices):
        raise ArchiveError(
            _(
                "DICOM objects cannot be written yet for an enhanced CT, which has all slices in one file; convert the"
                " series to one file for each slice and scan that, or leave the DICOM objects out."
            )
        )
    return volume


def source_of(volume: Volume, result: ScanResult) -> Source:
    """The series of a result, read again.

    Args:
        volume: the series as it was when it was scanned, or as the window knows it.
        result: of the scan.

    Raises:
        ArchiveError: the files changed since, or are of another patient, study or CT than the result.
    """
    check_is_dicom(volume)
    paths = sorted({s.path for s in volume.slices})
    try:
        now = read_files(paths)
    except (UnreadableInputError, GeometryError) as error:
        raise _changed(str(error)) from error
    assert now.volume is not None
    _check_same_series(volume, now.volume)
    if result.run is None:
        raise ArchiveError(
            _("The result was made by an earlier version, which did not record its CT; scan the CT again.")
        )
    hu, grid = canonical_view(now.image)
    if not _is_same_place(grid, result.lung_mask.grid):
        raise _changed(_("the slices lie elsewhere than those that were scanned"))
    if voxels_sha256(hu) != result.run.input_sha256:
        raise _changed(_("the voxels are not those that were scanned"))
    return Source(now.image, now.volume, _headers(now.volume))


def _check_same_series(before: Volume, now: Volume) -> None:
    then, header = before.first.header, now.first.header
    if header.patient.is_other_than(then.patient):
        raise _changed(_("they name another patient than when the CT was scanned"))
    if (header.study, header.uid) != (then.study, then.uid):
        raise _changed(_("they are of another study or series than when the CT was scanned"))
    if [s.instance for s in now.slices] != [s.instance for s in before.slices]:
        raise _changed(_("they hold other slices than when the CT was scanned"))


def _changed(why: str) -> ArchiveError:
    return ArchiveError(
        _(
            "The CT's DICOM files are not those that were scanned ({why}), so no DICOM objects were written; scan the"
            " CT again."
        ).format(why=why.rstrip("."))
    )


def _is_same_place(one: Grid, other: Grid) -> bool:
    if one.shape != other.shape:
        return False
    corners = np.array([[0, 0, 0], *np.diag(np.array(one.shape) - 1)])
    return bool(np.abs(one.position_lps(corners) - other.position_lps(corners)).max() <= _SAME_PLACE_MM)


def _headers(volume: Volume) -> tuple[Dataset, ...]:
    headers = [_header(s.path) for s in volume.slices]
    for name in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
        stated = {str(header.get(name) or "") for header in headers}
        if len(stated) > 1 or "" in stated:
            raise ArchiveError(
                _(
                    "The CT's DICOM files state no single {name}, so that no DICOM object can refer to them; export the"
                    " series again from where it is kept."
                ).format(name=name)
            )
    instances = [str(header.get("SOPInstanceUID") or "") for header in headers]
    if "" in instances or len(set(instances)) < len(instances):
        raise ArchiveError(
            _("Slices of the CT have no SOPInstanceUID of their own; export the series again from where it is kept.")
        )
    return tuple(headers)


def _header(path: Path) -> Dataset:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # values that break the standard, which are copied as they are
        header = pydicom.dcmread(path, stop_before_pixels=True)
        header.decode()
    header.SpecificCharacterSet = "ISO_IR 192"  # of what is copied: our own texts need it
    for name in _MAY_BE_EMPTY:
        if name not in header:
            setattr(header, name, None)
    return header


def latest(headers: Sequence[Dataset]) -> tuple[str, str]:
    """Date (YYYYMMDD) and time of a series' last image, "" and "" where nothing is stated.

    Args:
        headers: of its files.
    """
    for kind in ("Content", "Acquisition", "Series", "Study"):
        stated = [(str(h.get(f"{kind}Date") or ""), str(h.get(f"{kind}Time") or "")) for h in headers]
        if all(date for date, _time in stated):
            return max(stated)
    return "", ""
