"""What leaks from one split to another: a patient, an exam or a volume that is in both, under whatever name."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pydicom
from pydicom.errors import InvalidDicomError

from ..base.errors import EmphysemaScannerError
from ..base.progress import Progress, silent
from .manifest import CohortRow, suspected_patients

_READERS = 8  # mostly waiting for the disk
_BLOCK_BYTES = 2**20


class LeakError(EmphysemaScannerError):
    """A cohort's splits are not separate."""


def find_leaks(rows: Sequence[CohortRow], *, contents: bool = True, progress: Progress = silent) -> list[str]:
    """A sentence for each thing that two splits or two patients share and must not, and for patients who may be one.

    Args:
        rows: of one manifest, or of several that are used together. Their volumes exist.
        contents: whether to read every volume and compare what is in it: the pixels of DICOM files, whatever their
            headers and names are; the bytes of other files.
        progress: told the share of volumes read.
    """
    leaks = [
        *_shared(rows, "patient", lambda row: row.patient, lambda row: row.split or "none", "splits"),
        *_shared(rows, "anatomy", lambda row: row.extra.get("anatomy", ""), lambda row: row.split or "none", "splits"),
        *_shared(rows, "exam", lambda row: row.study, lambda row: row.split or "none", "splits"),
        *_shared(rows, "series", lambda row: row.series, lambda row: row.split or "none", "splits"),
        *_shared(rows, "exam", lambda row: row.study, lambda row: row.patient, "patients"),
        *_shared(rows, "series", lambda row: row.series, lambda row: row.patient, "patients"),
        *suspected_patients(rows),
        *_twice(rows, "the same file or folder", [row.volume.resolve() for row in rows]),
    ]
    if contents:
        leaks += _twice(rows, "the same content", _contents([row.volume for row in rows], progress))
    return leaks


def _shared(
    rows: Iterable[CohortRow],
    title: str,
    name: Callable[[CohortRow], str],
    home: Callable[[CohortRow], str],
    homes: str,
) -> list[str]:
    found: defaultdict[str, dict[str, CohortRow]] = defaultdict(dict)
    for row in rows:
        if name(row):
            found[name(row)].setdefault(home(row), row)
    return [
        f"The {title} '{shared}' is in {len(places)} {homes}: "
        + ", ".join(f"'{place}' ({row.where})" for place, row in places.items())
        + "."
        for shared, places in found.items()
        if len(places) > 1
    ]


def _twice(rows: Sequence[CohortRow], title: str, keys: Iterable[Hashable]) -> list[str]:
    found: defaultdict[Hashable, list[CohortRow]] = defaultdict(list)
    for row, key in zip(rows, keys, strict=True):
        found[key].append(row)
    return [
        f"{len(same)} volumes are {title}: "
        + ", ".join(f"'{row.volume.name}' of patient '{row.patient}' ({row.where})" for row in same)
        + "."
        for same in found.values()
        if len(same) > 1
    ]


def _contents(volumes: Sequence[Path], progress: Progress) -> list[str]:
    """A hash of what each volume holds."""
    hashes = []
    with ThreadPoolExecutor(_READERS) as readers:
        for done, found in enumerate(readers.map(_content, volumes), 1):
            hashes.append(found)
            progress(done / len(volumes), "")
    return hashes


def _content(volume: Path) -> str:
    """Of a folder: of its files' contents, in whatever order and under whatever names they are there."""
    files = [path for path in volume.rglob("*") if path.is_file()] if volume.is_dir() else [volume]
    return hashlib.sha256("".join(sorted(map(_file_content, files))).encode()).hexdigest()


def _file_content(path: Path) -> str:
    try:
        pixels = pydicom.dcmread(path, specific_tags=["PixelData"]).get("PixelData", b"")
    except InvalidDicomError:
        found = hashlib.sha256()
        with path.open("rb") as file:
            while block := file.read(_BLOCK_BYTES):
                found.update(block)
        return found.hexdigest()
    return hashlib.sha256(pixels).hexdigest()
