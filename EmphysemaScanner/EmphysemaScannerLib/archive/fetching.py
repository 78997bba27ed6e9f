"""A CT copied from a DICOM archive by DICOMweb (QIDO-RS, WADO-RS; DICOM PS3.18), whole or not at all."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from pydicom.dataset import Dataset

from ..base.errors import NotAChestCTError, UnreadableInputError
from ..base.progress import Progress, silent
from ..ct.provenance import LeftOut
from ..ct.reading import CT, read_ct
from ..ct.series import ONE_FILE
from ..i18n import tr as _
from .source import ArchiveError
from .webaddress import WebAddress, is_web_address
from .webclient import WebArchiveError, connected, everything, instances_of, study_in

if TYPE_CHECKING:
    from dicomweb_client import DICOMwebClient

_AS_STORED = (("application/dicom", "*"),)
_UID = re.compile(r"[0-9.]{1,64}")


@dataclass(frozen=True)
class Listed:
    """A series as an archive lists it.

    Attributes:
        series: SeriesInstanceUID.
        modality: "" where the archive does not state it.
        instances: the SOPInstanceUIDs; none where they were not asked for.
    """

    series: str
    modality: str
    instances: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Fetched:
    """What was copied from an archive.

    Attributes:
        address: from where.
        folder: with the files, a folder for each series.
        series: what was copied.
        others: series of the study that were not, because they are no CT.
    """

    address: WebAddress
    folder: Path
    series: tuple[Listed, ...]
    others: tuple[Listed, ...]

    def read(self, series: str = "") -> CT:
        """The CT that the rule for folders gives, or the series that is named, as ``read_ct`` reads it.

        Raises:
            EmphysemaScannerError: as ``read_ct``, with the address in the place of the folder.
        """
        try:
            ct = read_ct(self.folder, series)
        except (UnreadableInputError, NotAChestCTError) as error:
            said = str(error).replace(str(self.folder), self.address.text)
            raise type(error)(said.replace(ONE_FILE, _("add /series/ and its UID to the address"))) from error
        there = tuple(
            LeftOut(f"modality {one.modality}", len(one.instances), "another modality, not copied")
            for one in self.others
        )
        known = dataclasses.replace(ct.provenance, left_out=(*ct.provenance.left_out, *there))
        return dataclasses.replace(ct, provenance=known)


@contextmanager
def fetched(address: WebAddress, progress: Progress = silent) -> Iterator[Fetched]:
    """The CT series at an address in a temporary folder, which is removed when the block ends.

    Args:
        address: of a study or a series.
        progress: told the share done and how many slices; what it raises ends the copying.

    Raises:
        ArchiveError: as ``fetch``.
    """
    with TemporaryDirectory(prefix="emphysema-scanner-") as folder:
        yield fetch(address, Path(folder), progress)


@contextmanager
def ct_at(place: str, series: str = "", progress: Progress = silent) -> Iterator[tuple[CT, Fetched | None]]:
    """A CT from a path or an archive, whose files stay while the block runs.

    Args:
        place: as for ``read_ct``, or an archive's address.
        series: as for ``read_ct``.
        progress: as for ``fetched``; told nothing of files that are here.

    Returns:
        The CT, and what was copied from the archive; None for a path.

    Raises:
        EmphysemaScannerError: as ``read_ct`` and ``fetch``.
    """
    if not is_web_address(place):
        yield read_ct(Path(place), series), None
        return
    with fetched(WebAddress.parse(place), progress) as copied:
        yield copied.read(series), copied


def fetch(address: WebAddress, folder: Path, progress: Progress = silent) -> Fetched:
    """Copy the CT series at an address, each into a folder ``series/UID``.

    Args:
        address: of a study or a series.
        folder: an empty one.
        progress: as for ``fetched``.

    Raises:
        ArchiveError: the address names no study; the archive refuses, breaks off, or gives something else than it
            lists: fewer slices, or some of another study, series or patient.
        MissingPackageError: dicomweb-client is not installed.
    """
    if not address.study:
        raise ArchiveError(
            _("'{text}' names an archive but no study; add /studies/ and its UID.").format(text=address.text)
        )
    progress(0.0, _("Asking the archive"))
    with connected(address) as client:
        series, others = _listed(client, address)
        study = study_in(client, address.study)
        patient = "" if study is None else str(study.get("PatientID") or "")
        wanted = sum(len(one.instances) for one in series)
        done = 0
        for one in series:
            own = folder / "series" / one.series
            own.mkdir(parents=True)
            missing = set(one.instances)
            for slice_ in client.iter_series(address.study, one.series, media_types=_AS_STORED):
                _check_wanted(slice_, address, one, missing)
                _check_patient(slice_, address, patient)
                done += 1
                slice_.save_as(own / f"{done:05}.dcm", enforce_file_format=True)
                said = _("Copying from the archive: {done} of {wanted} slices")
                progress(done / wanted, said.format(done=done, wanted=wanted))
            if missing:
                raise _broken_off(address, len(one.instances) - len(missing), len(one.instances))
    return Fetched(address, folder, series, others)


def check_unchanged(copied: Fetched) -> None:
    """That the archive still lists what was copied from it.

    Raises:
        ArchiveError: it lists another series, other slices, or refuses.
    """
    with connected(copied.address) as client:
        series, _others = _listed(client, copied.address)
    if set(series) != set(copied.series):
        raise ArchiveError(
            _("The CT in the archive at {where} changed since it was copied for the scan; scan it again.").format(
                where=copied.address.archive
            )
        )


def _listed(client: DICOMwebClient, address: WebAddress) -> tuple[tuple[Listed, ...], tuple[Listed, ...]]:
    """The study's series that may be CTs, with their slices, and the others."""
    search = partial(client.search_for_series, address.study)
    stated = everything(search, "SeriesInstanceUID")
    if address.series:
        stated = [one for one in stated if str(one.SeriesInstanceUID) == address.series]
    if not stated:
        raise WebArchiveError(
            _("The archive at {where} holds no such {what}; check the UID in '{text}'.").format(
                where=address.archive, what=_("series") if address.series else _("study"), text=address.text
            )
        )
    found: tuple[list[Listed], list[Listed]] = ([], [])
    for one in stated:
        uid, modality = str(one.SeriesInstanceUID), str(one.get("Modality") or "")
        if not _UID.fullmatch(uid):
            raise ValueError(f"SeriesInstanceUID {uid}")
        is_ct = modality in ("", "CT")
        found[0 if is_ct else 1].append(Listed(uid, modality, instances_of(client, address.study, uid)))
    if not found[0]:
        modalities = ", ".join(sorted({one.modality for one in found[1]}))
        raise NotAChestCTError(
            _("'{text}' is of modality {modalities}; name a study or series with a chest CT.").format(
                text=address.text, modalities=modalities
            )
        )
    if not any(one.instances for one in found[0]):
        raise _broken_off(address, 0, 0)
    return tuple(found[0]), tuple(found[1])


def _check_wanted(slice_: Dataset, address: WebAddress, series: Listed, missing: set[str]) -> None:
    """That an object is one of those that are still expected, and whole; it is then no longer missing."""
    uids = tuple(str(slice_.get(name)) for name in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"))
    if uids[:2] != (address.study, series.series) or uids[2] not in missing:
        raise WebArchiveError(
            _(
                "The archive at {where} sent an object of another study or series than it was asked for, or one twice;"
                " nothing of it was used."
            ).format(where=address.archive)
        )
    if not _is_whole(slice_):
        raise _broken_off(address, len(series.instances) - len(missing), len(series.instances))
    missing.remove(uids[2])


def _check_patient(slice_: Dataset, address: WebAddress, patient: str) -> None:
    stated = str(slice_.get("PatientID") or "")
    if patient and stated and stated != patient:
        raise WebArchiveError(
            _(
                "The archive at {where} sent slices of another patient than the one to whom it assigns the study;"
                " nothing of it was used. Ask whoever runs it."
            ).format(where=address.archive)
        )


def _is_whole(slice_: Dataset) -> bool:
    """Whether uncompressed pixels are all there; compressed ones are checked by their reader."""
    if "PixelData" not in slice_ or slice_.file_meta.TransferSyntaxUID.is_compressed:
        return True
    bits = int(slice_.Rows) * int(slice_.Columns) * int(slice_.get("SamplesPerPixel", 1)) * int(slice_.BitsAllocated)
    return len(slice_.PixelData) * 8 >= bits * int(slice_.get("NumberOfFrames") or 1)


def _broken_off(address: WebAddress, got: int, listed: int) -> WebArchiveError:
    said = _(
        "The archive at {where} sent {got} of the {listed} slices that it lists of the series, so nothing was scanned;"
        " try again, and ask whoever runs it if this stays."
    )
    return WebArchiveError(said.format(where=address.archive, got=got, listed=listed))
