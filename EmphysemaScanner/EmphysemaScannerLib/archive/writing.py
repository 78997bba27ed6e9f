"""All DICOM objects of a result, written into a folder whole or not at all."""

from __future__ import annotations

import dataclasses
import importlib.util
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ..base.errors import MissingPackageError, reason
from ..base.progress import Progress, silent
from ..ct.series import Volume
from ..i18n import tr as _
from ..lungs.dicomperson import person_of
from ..lungs.reference import NOBODY, Person
from ..report.contents import Case, pseudonym, without_names
from ..report.outputfolder import whole_or_nothing
from ..scan.result import ScanResult
from .kinds import ObjectKind
from .source import ArchiveError, Source, check_is_dicom, source_of

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from .frame import Frame

EVERYTHING = frozenset(ObjectKind)


def check_can_write(volume: Volume | None) -> Volume:
    """The CT's slices, if DICOM objects can be made of a result of theirs; call it before the long work.

    Raises:
        ArchiveError: as ``source.check_is_dicom``.
        MissingPackageError: highdicom is not installed.
    """
    check_packages()
    return check_is_dicom(volume)


def check_packages() -> None:
    """Refuse to go on without highdicom.

    Raises:
        MissingPackageError: it is not installed.
    """
    if importlib.util.find_spec("highdicom") is None:
        raise MissingPackageError(_("DICOM objects need highdicom; install it with: pip install highdicom."))


def write_objects(
    result: ScanResult,
    volume: Volume,
    folder: Path,
    kinds: frozenset[ObjectKind] = EVERYTHING,
    *,
    progress: Progress = silent,
    person: Person = NOBODY,
) -> list[Path]:
    """Write a result's DICOM objects into a folder: new series of the CT's study.

    Args:
        result: of the scan.
        volume: the DICOM slices that the CT was read from.
        folder: a new or empty one, or one with earlier results of ours, which are replaced.
        kinds: what to write. A segmentation is written with the measurements in any case, as they refer to it.
        progress: told the share done and the object; whatever it raises leaves the folder as it was.
        person: what was given of the patient, for published figures; the CT's header states the rest.

    Returns:
        The files.

    Raises:
        ArchiveError: the CT's files changed since the scan, or do not allow it; nothing is written.
        OutputFolderError: the folder holds something else, or nothing can be written there.
        MissingPackageError: highdicom is not installed.
    """
    check_can_write(volume)
    progress(0.0, _("Reading the CT's DICOM files again"))
    source = source_of(volume, result)
    names = []
    with whole_or_nothing(folder) as working, _one_sentence():
        for name, made in _objects(result, source, kinds, progress, person):
            made.save_as(working / name, enforce_file_format=True)
            names.append(name)
    progress(1.0, "")
    return [folder / name for name in names]


@contextmanager
def _one_sentence() -> Iterator[None]:
    """Make one sentence of the errors with which highdicom and pydicom refuse what breaks the standard."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of values that are copied from the CT as they are
            yield
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise ArchiveError(
            _(
                "The CT's DICOM files hold values that break the standard ({why}), so no DICOM objects were written;"
                " export the series again from where it is kept."
            ).format(why=reason(error))
        ) from error


def _objects(
    result: ScanResult, source: Source, kinds: frozenset[ObjectKind], progress: Progress, person: Person
) -> Iterator[tuple[str, Dataset]]:
    """The objects with the names of their files."""
    from .documents import encapsulated_pdf, pages
    from .frame import Frame
    from .maps import maps_of, parametric_map
    from .measurements import measurements
    from .segmentation import regions, segmentation

    frame = Frame(source, _without_neighbours(without_names(result)))
    if kinds & {ObjectKind.SEGMENTATION, ObjectKind.MEASUREMENTS}:
        progress(0.1, ObjectKind.SEGMENTATION.label())
        found = regions(result, source)
        segments = segmentation(frame, found)
        yield "segmentation.dcm", segments
        if ObjectKind.MEASUREMENTS in kinds:
            progress(0.4, ObjectKind.MEASUREMENTS.label())
            yield "measurements.dcm", measurements(frame, found, segments)
    if ObjectKind.MAPS in kinds:
        progress(0.5, ObjectKind.MAPS.label())
        for shown in maps_of(result):
            yield f"{shown.series.name.replace(' ', '_')}.dcm", parametric_map(frame, shown)
    case = _case(frame, person)
    if ObjectKind.PDF in kinds:
        progress(0.6, ObjectKind.PDF.label())
        yield "report.dcm", encapsulated_pdf(frame, case)
    if ObjectKind.PAGES in kinds:
        progress(0.8, ObjectKind.PAGES.label())
        for number, page in enumerate(pages(frame, case), start=1):
            yield f"report_page_{number}.dcm", page


def _without_neighbours(result: ScanResult) -> ScanResult:
    """The result without what lay beside the CT: that is in the study, and these objects will be a part of it."""
    return dataclasses.replace(result, provenance=dataclasses.replace(result.provenance, left_out=()))


def _case(frame: Frame, person: Person) -> Case:
    """A report that names no patient, as the object's header does, and nothing that changes when it is made again."""
    image = frame.source.image
    date = str(frame.source.first.StudyDate or "")
    shown = f"{date[:4]}-{date[4:6]}-{date[6:]}" if len(date) == 8 else _("without a date")
    return Case(
        image,
        dataclasses.replace(frame.result, source=pseudonym(image)),
        study=_("Study {date}").format(date=shown),
        person=person,
        in_header=person_of(frame.source.first),
    )
