"""DICOM objects sent to an archive by DICOMweb (STOW-RS, DICOM PS3.18 10.5): sent is what the archive confirmed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pydicom
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from ..base.progress import Progress, silent
from ..ct.dicomheader import patient_of
from ..i18n import tr as _
from .kinds import MANUFACTURER, PRODUCT
from .source import ArchiveError
from .webaddress import WebAddress
from .webclient import (
    WebArchiveError,
    connected,
    failure_reasons,
    instances_of,
    one_sentence,
    study_in,
    without_pieces,
)

if TYPE_CHECKING:
    from dicomweb_client import DICOMwebClient

_CONFLICT = 409


@dataclass(frozen=True)
class Sent:
    """What an archive has confirmed; ``str`` makes a sentence of it.

    Attributes:
        objects: how many, each confirmed.
        address: of the archive.
        passed_over: files that are not objects of EmphysemaScanner and were therefore not sent.
    """

    objects: int
    address: WebAddress
    passed_over: int = 0

    def __str__(self) -> str:
        sentence = _("Sent {count} DICOM objects to {where}, which confirmed each of them.")
        others = " " + _("{others} files are not objects of EmphysemaScanner and were not sent.")
        return (sentence + (others if self.passed_over else "")).format(
            count=self.objects, where=self.address.archive, others=self.passed_over
        )


def send(top: Path, address: WebAddress, progress: Progress = silent) -> Sent:
    """Send the DICOM objects in a folder, at any depth, to an archive, one after the other.

    What the archive has already is sent again, which changes nothing, since the same object has the same UID and the
    same content.

    Args:
        top: a folder with DICOM objects of ours; other files in it are passed over.
        address: of the archive; a study that it names must be that of the objects.
        progress: told the share done and the object; what it raises ends the sending.

    Raises:
        ArchiveError: there is no object; the archive refuses, or does not confirm one; or it has the study under
            another patient, or lacks slices that the objects refer to.
        MissingPackageError: dicomweb-client is not installed.
    """
    objects, passed_over = _ours(top)
    studies: dict[str, list[Path]] = defaultdict(list)
    for path, header in objects.items():
        studies[str(header.StudyInstanceUID)].append(path)
    if address.study and set(studies) != {address.study}:
        raise ArchiveError(
            _("The DICOM objects in '{top}' are not of the study that '{text}' names; name the archive only.").format(
                top=top, text=address.text
            )
        )
    done = 0
    with connected(address) as client:
        without_pieces(client)
        for study, paths in studies.items():
            progress(done / len(objects), _("Asking the archive"))
            _check_study(client, address, study, [objects[path] for path in paths])
        for study, paths in studies.items():
            for path in paths:
                said = _("Sending object {number} of {count}")
                progress(done / len(objects), said.format(number=done + 1, count=len(objects)))
                with _counted(address, done, len(objects)):
                    _store(client, address, study, path)
                done += 1
    progress(1.0, "")
    return Sent(done, address, passed_over)


def _ours(top: Path) -> tuple[dict[Path, Dataset], int]:
    """The objects below a folder with their headers, and how many other files are there."""
    found: dict[Path, Dataset] = {}
    others = 0
    for path in sorted(path for path in top.rglob("*") if path.is_file() and not path.name.startswith(".")):
        try:
            header = pydicom.dcmread(path, defer_size="1 MB")
        except (InvalidDicomError, EOFError):
            others += path.suffix == ".dcm"
            continue
        if (header.get("Manufacturer"), header.get("ManufacturerModelName")) == (MANUFACTURER, PRODUCT):
            found[path] = header
        else:
            others += 1
    if not found:
        raise ArchiveError(
            _("There are no DICOM objects of EmphysemaScanner in '{top}'; write them with --dicom-out.").format(top=top)
        )
    return found, others


def _check_study(client: DICOMwebClient, address: WebAddress, study: str, objects: Sequence[Dataset]) -> None:
    """That the archive has the study, if at all, of the same patient and with all slices that the objects refer to."""
    listed = study_in(client, study)
    if listed is None:
        return
    if any(patient_of(one).is_other_than(patient_of(listed)) for one in objects):
        raise ArchiveError(
            _(
                "The archive at {where} has this study under another patient, so nothing was sent; scan the CT again"
                " as the archive has it now."
            ).format(where=address.archive)
        )
    sent = {str(one.SOPInstanceUID) for one in objects}
    for series, instances in _references(objects).items():
        there = instances_of(client, study, series)
        lost = instances - sent - there
        if there and lost:
            raise ArchiveError(
                _(
                    "The CT changed in the archive at {where} since it was scanned: {lost} of {count} slices to which"
                    " the DICOM objects refer are not there, so nothing was sent; scan it again."
                ).format(where=address.archive, lost=len(lost), count=len(instances))
            )


def _references(objects: Iterable[Dataset]) -> dict[str, set[str]]:
    """The SOPInstanceUIDs that objects refer to, by SeriesInstanceUID (in images, and in the evidence of reports)."""
    found: dict[str, set[str]] = defaultdict(set)
    for one in objects:
        studies = [*one.get("CurrentRequestedProcedureEvidenceSequence", ()), one]
        for series in (item for study in studies for item in study.get("ReferencedSeriesSequence", ())):
            named = [*series.get("ReferencedSOPSequence", ()), *series.get("ReferencedInstanceSequence", ())]
            found[str(series.SeriesInstanceUID)] |= {str(item.ReferencedSOPInstanceUID) for item in named}
    return found


@contextmanager
def _counted(address: WebAddress, confirmed: int, count: int) -> Iterator[None]:
    """Add to a refusal how many objects the archive had confirmed before it."""
    try:
        with one_sentence(address):
            yield
    except WebArchiveError as error:
        if not confirmed:
            raise
        sentence = _("{why} Only {confirmed} of {count} objects were sent before; sending all of them again is safe.")
        raise WebArchiveError(sentence.format(why=error, confirmed=confirmed, count=count)) from error


def _store(client: DICOMwebClient, address: WebAddress, study: str, path: Path) -> None:
    """Store one object.

    Raises:
        WebArchiveError: the archive does not confirm it.
    """
    import requests

    made = pydicom.dcmread(path)
    try:
        answer = client.store_instances([made], study)
    except requests.HTTPError as error:
        if error.response.status_code == _CONFLICT and _is_there(client, study, made):
            return
        raise
    confirmed = {str(item.get("ReferencedSOPInstanceUID")) for item in answer.get("ReferencedSOPSequence", ())}
    if str(made.SOPInstanceUID) in confirmed or _is_there(client, study, made):
        return
    why = ", ".join(failure_reasons(answer)) or _("it states no reason")
    said = _("The archive at {where} did not confirm that it stored '{name}' ({why}); ask whoever runs it.")
    raise WebArchiveError(said.format(where=address.archive, name=path.name, why=why))


def _is_there(client: DICOMwebClient, study: str, made: Dataset) -> bool:
    """Whether the archive gives the object back as it is, as one that refuses to take it twice does."""
    import requests

    try:
        kept = client.retrieve_instance(study, made.SeriesInstanceUID, made.SOPInstanceUID)
    except requests.HTTPError:
        return False
    return bool(kept == made)
