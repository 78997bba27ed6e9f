"""Whether a CT's files are still those that were read: told by their names, sizes and times of modification."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

import pydicom

from ..core.reading import IMAGE_SUFFIXES
from .outputfolder import FILE_LIST

_HEADER_SUFFIXES = (".nhdr", ".mhd")  # their voxels are in files of their own
_HEADER_BYTES = 1 << 20
_NO_PART_OF_A_CT = (".csv", ".tsv", ".txt", ".log")  # lists and results, which are often kept beside the CTs

Stated = tuple[str, int, int]  # a file's name, size in bytes and time of modification in ns


def state_of(ct: Path) -> str:
    """A checksum that changes when a CT's files do; nothing of their contents is read but headers.

    Args:
        ct: as ``batch.find_cts`` names CTs: an image file, with the files that its header names; a folder, with all
            that is below it but tables, hidden files and results of ours; or a DICOM file, with those of its series in
            its folder.

    Returns:
        16 hexadecimal digits, or "" where there is no file that can be looked at.
    """
    of_kind = _below if ct.is_dir() else _image if ct.name.lower().endswith(IMAGE_SUFFIXES) else _series
    try:
        stated = sorted(of_kind(ct))
    except OSError:
        return ""
    if not stated:
        return ""
    return hashlib.sha256(repr(stated).encode()).hexdigest()[:16]


def _stated(files: Iterable[Path], folder: Path) -> Iterator[Stated]:
    """Those of some files that are there."""
    for file in files:
        with suppress(FileNotFoundError):  # a broken link
            found = file.stat()
            yield os.path.relpath(file, folder), found.st_size, found.st_mtime_ns


def _of_a_ct(name: str) -> bool:
    return not name.startswith(".") and not name.lower().endswith(_NO_PART_OF_A_CT)


def _below(top: Path) -> Iterator[Stated]:
    seen = set()
    for name, folders, files in os.walk(top, followlinks=True):
        there = os.path.realpath(name)
        if there in seen or FILE_LIST in files:  # a link back, or results of ours
            folders.clear()
            continue
        seen.add(there)
        folders[:] = [folder for folder in folders if not folder.startswith(".")]
        yield from _stated((Path(name, file) for file in files if _of_a_ct(file)), top)


def _image(path: Path) -> Iterator[Stated]:
    return _stated([path, *_detached(path)], path.parent)


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
    folder = path.parent
    beside = tuple(
        _stated((file for file in sorted(folder.iterdir()) if file == path or _may_be_a_slice(file)), folder)
    )
    series = _series_of_files(folder, beside)
    own = series.get(path.name)
    return [one for one in beside if series[one[0]] in (own, "")] if own is not None else []


def _may_be_a_slice(file: Path) -> bool:
    return _of_a_ct(file.name) and not file.name.lower().endswith(IMAGE_SUFFIXES) and file.is_file()


@lru_cache(maxsize=1)  # of CTs in one folder, which are asked for one after the other
def _series_of_files(folder: Path, files: tuple[Stated, ...]) -> dict[str, str]:
    """SeriesInstanceUID by name; "" for a file that cannot be read as DICOM, which may belong to any series."""
    return {name: _series_uid(folder / name) for name, _, _ in files}


def _series_uid(path: Path) -> str:
    try:
        header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["SeriesInstanceUID"])
        return str(header.get("SeriesInstanceUID") or "")
    except Exception:  # of any kind, as pydicom reads a damaged header value by value
        return ""
