"""The DICOM files in a folder and below it, or beside a file."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ..base.parallel import in_threads
from .acquisitions import SAME_PLACE_MM, positions_mm
from .dicomheader import Other, Slice, is_dicom, slices_in

_NOT_COUNTED = re.compile(r"\._.*|\.ds_store|thumbs\.db|desktop\.ini", re.IGNORECASE)
_NOT_DICOM = "not DICOM"
_PROBED = 5  # files of a folder beside
_FARTHEST, _MISSES = 50, 2  # folders beside, on either side
_LOOKED_THROUGH = 2000  # files of a folder beside, which may be anybody's, before its series are known


@dataclass(frozen=True)
class Contents:
    """What some files are: slices of any modality, and files that are none."""

    slices: tuple[Slice, ...]
    others: tuple[Other, ...]


def contents(paths: Iterable[Path]) -> Contents:
    """Look into files, once into each that several links lead to; exact copies of slices are among the others."""
    slices: list[Slice] = []
    others: list[Other] = []
    for found in in_threads(_look, _each_once(paths)):  # while one waits for its file, another reads its header
        if isinstance(found, Other):
            others.append(found)
        else:
            slices += found
    slices, copies = _without_copies(slices)
    return Contents(tuple(slices), tuple(others + copies))


def _none(folder: Path, files: Sequence[str]) -> bool:
    return False


def files_below(top: Path, passed_over: Callable[[Path, Sequence[str]], bool] = _none) -> Iterator[Path]:
    """The files in a folder at any depth, sorted; links are followed, into each folder once, and none that leads up.

    Args:
        top: the folder.
        passed_over: whether a folder below, given with the names of its files, is left out with all that is in it.
    """
    seen = {str(up) for up in Path(os.path.realpath(top)).parents}
    for name, folders, files in os.walk(top, followlinks=True):
        here = os.path.realpath(name)
        if here in seen or passed_over(Path(name), files):
            folders.clear()
            continue
        seen.add(here)
        links = {folder for folder in folders if (Path(name) / folder).is_symlink()}
        folders.sort(key=lambda folder: (folder in links, folder))
        yield from (Path(name) / file for file in sorted(files))


def contents_beside(path: Path, series: str) -> Contents:
    """What is in a file's folder and below it, and in the folders around that go on with its series, as on CDs.

    The folder above and those beside are looked into, and the same one level up; those beside one after the other in
    the order of their names, until two have nothing to add. What covers the same space as the file's own folder is
    another copy of the series.
    """
    folder = path.absolute().parent
    files = list(files_below(folder))
    found = contents(files)
    own = [s for s in found.slices if s.header.uid == series]
    for one in (folder, folder.parent):
        for neighbours in ([one.parent], *_beside(one)):
            misses = 0
            for neighbour in neighbours[:_FARTHEST]:
                above = neighbour == one.parent
                some = _files_in(neighbour) if above else list(islice(files_below(neighbour), _LOOKED_THROUGH))
                if _goes_on(own, _of_series(_spread(some), series)):
                    more = some if above else list(files_below(neighbour))
                    files += more
                    own += _of_series(more, series)
                    misses = 0
                elif (misses := misses + 1) == _MISSES:
                    break
    return found if len(own) == len([s for s in found.slices if s.header.uid == series]) else contents(files)


def _files_in(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.is_file())
    except OSError:
        return []


def _goes_on(own: Sequence[Slice], more: Sequence[Slice]) -> bool:
    """Whether slices of the same series lie beyond those that are known."""
    if not own or not more:
        return False
    along, normal = positions_mm(own), own[0].normal
    beyond = [float(s.position @ normal) for s in more]
    return all(not along.min() - SAME_PLACE_MM <= mm <= along.max() + SAME_PLACE_MM for mm in beyond)


def _beside(folder: Path) -> tuple[list[Path], list[Path]]:
    """The folders after and before one, the nearest first."""
    try:
        names = sorted(p for p in folder.parent.iterdir() if p.is_dir() and not p.name.startswith("."))
    except OSError:
        return [], []
    return [p for p in names if p > folder], [p for p in names if p < folder][::-1]


def _spread(files: Sequence[Path]) -> list[Path]:
    """A few of them, from the first to the last."""
    places = np.linspace(0, len(files) - 1, min(_PROBED, len(files))).round().astype(int)
    return [files[k] for k in places]


def _of_series(paths: Iterable[Path], series: str) -> list[Slice]:
    return [s for one in in_threads(_look, paths) if not isinstance(one, Other) for s in one if s.header.uid == series]


def may_be_slices(others: Iterable[Other], slices: Sequence[Slice]) -> list[Other]:
    """Files that cannot be read and may be slices of a series: by their UIDs, or called like one of its files."""
    uids, instances = {s.header.uid for s in slices}, {s.instance for s in slices}
    names = {_pattern(s.path) for s in slices}
    return [
        o
        for o in others
        if o.instance not in instances - {""}
        and (o.is_damaged or o.reason == _NOT_DICOM)
        and (o.series in uids if o.series else _pattern(o.path) in names)
    ]


def _pattern(path: Path) -> tuple[Path, str]:
    return path.parent, re.sub(r"\d+", "0", path.name)


def _each_once(paths: Iterable[Path]) -> Iterator[Path]:
    seen: set[object] = set()
    for path in sorted(paths):
        if _NOT_COUNTED.fullmatch(path.name):
            continue
        try:
            found = path.stat()
        except OSError:  # a link to nothing, which is told of where it is looked into
            yield path
            continue
        file = (found.st_dev, found.st_ino) if found.st_ino else path
        if file not in seen:
            seen.add(file)
            yield path


def _look(path: Path) -> Sequence[Slice] | Other:
    try:
        if not is_dicom(path):
            return Other(path, "other file", _NOT_DICOM)
    except IsADirectoryError:
        return []
    except FileNotFoundError:
        return Other(path, "link", "a link to a file that is not there", is_damaged=True)
    except OSError as error:
        return Other(path, "file", f"it cannot be opened ({error.strerror})", is_damaged=True)
    return slices_in(path)


def _without_copies(slices: list[Slice]) -> tuple[list[Slice], list[Other]]:
    """Slices without those that are stored twice; the same UID at another place, or with other pixels, is no copy."""
    by_instance: dict[tuple[str, str, int], list[Slice]] = defaultdict(list)
    for s in slices:
        by_instance[(s.header.uid, s.instance, s.frame)].append(s)
    dropped: dict[int, Other] = {}
    for (_, instance, _), alike in by_instance.items():
        for k, s in enumerate(alike):
            earlier = [other for other in alike[:k] if id(other) not in dropped and _is_at(s, other)]
            if instance and earlier:
                dropped.update(_doubles(s, earlier[0]))
    return [s for s in slices if id(s) not in dropped], list(dropped.values())


def _is_at(s: Slice, other: Slice) -> bool:
    return s.path != other.path and bool(np.abs(s.position - other.position).max() <= SAME_PLACE_MM)


def _doubles(s: Slice, earlier: Slice) -> dict[int, Other]:
    """Which of two slices of one UID and place is superfluous: a copy, or one that is damaged."""
    if s.path.stat().st_size == earlier.path.stat().st_size and s.path.read_bytes() == earlier.path.read_bytes():
        return {id(s): _copy(s)}
    mine, theirs = _stored(s.path), _stored(earlier.path)
    if not mine or not theirs:
        bad = earlier if mine else s
        reason = "damaged, and there is a sound copy"
        return {id(bad): Other(bad.path, "damaged file", reason, bad.header.uid, bad.instance, is_damaged=True)}
    return {id(s): _copy(s)} if mine == theirs else {}


def _copy(s: Slice) -> Other:
    return Other(s.path, "copy of a slice", "exact copies", s.header.uid, s.instance)


def _stored(path: Path) -> bytes:
    """The pixels of a file as bytes; none if they cannot be read."""
    try:
        image = sitk.ReadImage(str(path), imageIO="GDCMImageIO")
    except (RuntimeError, UnicodeError):
        return b""
    return bytes(sitk.GetArrayViewFromImage(image).tobytes())
