"""Whether a CT's files are still those that were read: told by their names, sizes and times of modification."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

import pydicom

from ..ct.dicomfolder import files_below
from ..ct.reading import IMAGE_SUFFIXES
from ..report.outputfolder import FILE_LIST

_HEADER_SUFFIXES = (".nhdr", ".mhd")  # their voxels are in files of their own
_HEADER_BYTES = 1 << 20
_NO_PART_OF_A_CT = (".csv", ".tsv", ".txt", ".log")  # lists and results, which are often kept beside the CTs
_PROBED, _MISSES = 5, 2  # files of a folder beside; folders that have nothing of a series, before the search ends

Stated = tuple[str, int, int]  # a file's path, size in bytes and time of modification in ns


def state_of(ct: Path) -> str:
    """A checksum that changes when a CT's files do; nothing of their contents is read but headers.

    Args:
        ct: as ``batch.find_cts`` names CTs: an image file, with the files that its header names; a folder, with all
            that is below it but tables, hidden files and results of ours; or a DICOM file, with those of its series in
            its folder, below it, and in the folders beside it that go on with the series.

    Returns:
        16 hexadecimal digits, or "" where there is no file that can be looked at.
    """
    try:
        of_kind = _below if ct.is_dir() else _image if ct.name.lower().endswith(IMAGE_SUFFIXES) else _series
        stated = sorted((os.path.relpath(path, ct.parent), size, time) for path, size, time in of_kind(ct))
    except OSError:
        return ""
    if not stated:
        return ""
    return hashlib.sha256(repr(stated).encode()).hexdigest()[:16]


def _stated(files: Iterable[Path]) -> Iterator[Stated]:
    """Those of some files that are there."""
    for file in files:
        with suppress(FileNotFoundError):  # a broken link
            found = file.stat()
            yield str(file), found.st_size, found.st_mtime_ns


def visible_files(top: Path) -> Iterator[Path]:
    """The files in a folder at any depth, without hidden ones and folders with results of ours."""

    def passed_over(folder: Path, files: Sequence[str]) -> bool:
        return FILE_LIST in files or (folder != top and folder.name.startswith("."))

    return (file for file in files_below(top, passed_over) if not file.name.startswith("."))


def _below(top: Path) -> Iterator[Stated]:
    return _stated(file for file in visible_files(top) if not file.name.lower().endswith(_NO_PART_OF_A_CT))


def _image(path: Path) -> Iterator[Stated]:
    return _stated([path, *_detached(path)])


def _detached(path: Path) -> Iterator[Path]:
    """The files that a header without voxels names."""
    if not path.name.lower().endswith(_HEADER_SUFFIXES):
        return
    with path.open("rb") as file:
        header = os.fsdecode(file.read(_HEADER_BYTES))
    for line in header.splitlines():
        # "ElementDataFile = a.raw", "data file: a.raw.gz", or below a LIST the name alone
        named = re.split(r"[=:]\s*", line, maxsplit=1)[-1].strip()
        if os.path.isfile(path.parent / named):  # noqa: PTH113 - no error for what can be no name
            yield path.parent / named


def _series(path: Path) -> list[Stated]:
    """The files of a DICOM file's series, with those near it that cannot be read and may belong to it."""
    own = next(_stated([path]), None)
    if own is None:
        return []
    series = _series_uid(*own)
    found = {own, *(one for one in _slices(_below(path.parent)) if _series_uid(*one) in (series, ""))}
    for beside in _beside(path.parent) if series else ():
        misses = 0
        for folder in beside:
            files = list(_slices(_stated(file for file in sorted(folder.iterdir()) if file.is_file())))
            if any(_series_uid(*one) == series for one in files[:: max(1, len(files) // _PROBED)]):
                found |= {one for one in files if _series_uid(*one) == series}
                misses = 0
            elif (misses := misses + 1) == _MISSES:
                break
    return list(found)


def _slices(files: Iterable[Stated]) -> Iterator[Stated]:
    return (one for one in files if not one[0].lower().endswith((*IMAGE_SUFFIXES, *_NO_PART_OF_A_CT)))


def _beside(folder: Path) -> tuple[list[Path], list[Path]]:
    """The folders after and before one, the nearest first."""
    folders = sorted(one for one in folder.parent.iterdir() if not one.name.startswith(".") and one.is_dir())
    return [one for one in folders if one > folder], [one for one in reversed(folders) if one < folder]


@lru_cache(maxsize=100_000)  # one for each file of some hundred CTs that lie in one folder
def _series_uid(path: str, size: int, modified_ns: int) -> str:
    """SeriesInstanceUID; "" of a file that cannot be read as DICOM. Size and time tell when it must be read again."""
    try:
        header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["SeriesInstanceUID"])
        return str(header.get("SeriesInstanceUID") or "")
    except Exception:  # of any kind, as pydicom reads a damaged header value by value
        return ""
